import type { Clock } from './clock.js';
import type { SessionIdSigner } from './session-id-signer.interface.js';
import { placesOf, standingOf } from './session-draft.js';
import { lastAccessOf, type SessionLifetime } from './session-lifetime.js';
import type { SessionNews } from './session-news.js';
import type { ReportingNearCache } from './near-cache-figures.js';
import type { RejectionListener } from './rejection.js';
import type { SessionBinding } from './session-binding.js';
import type { LiveRecord, RetiredRecord } from './session-record.js';
import type { SessionRecords } from './session-records.js';
import { asShared } from './shared-record.js';
import { SessionStoreUnavailableError } from './session.errors.js';
import type { SessionState } from './session-state.js';
import {
  isIndexed,
  type LoadedValue,
  type NearRead,
  type SessionStore,
  type StoredValue,
} from './session-store.interface.js';
import type { Tally } from './outage-counters.js';
import type { StoreFailurePolicy } from './store-failure.js';

/** What reading needs. */
export interface SessionReaderParts {
  readonly store: SessionStore;
  readonly records: SessionRecords;
  readonly signer: SessionIdSigner;
  readonly lifetime: SessionLifetime;
  readonly clock: Clock;
  /** Largest session in the store, in bytes. */
  readonly maxBytes: number;
  /** Name of these sessions, if the application has several kinds. */
  readonly realm?: string | undefined;
  /** Keeps copies on this node, in front of the store; `undefined`: nobody does. */
  readonly nearCache?: ReportingNearCache | undefined;
  /** What becomes of a request while the store does not answer. @default 'reject' */
  readonly onStoreFailure?: StoreFailurePolicy | undefined;
  readonly tally?: Tally | undefined;
  /** Says what is told; `undefined`: nothing is. */
  readonly news?: SessionNews | undefined;
  /** Told of what was refused; never gets an id. */
  readonly onRejected?: RejectionListener | undefined;
  /** What a client must have in common with all of its requests. */
  readonly binding?: SessionBinding | undefined;
  /** Ends what another client than its own has brought. */
  readonly onMismatch?: ((handle: string) => Promise<unknown>) | undefined;
  /** An id was used that was given up long ago: two have it, and one of them has stolen it. */
  readonly onReplayed?: ((handle: string) => Promise<unknown>) | undefined;
}

/** Renewals that one request follows. */
const MAX_HOPS = 5;
/** Renewals that a connection follows which was silent meanwhile. */
const MAX_HOPS_CONNECTED = 32;
/** A record that is so many times larger than any may be was not written here, nor before the limit was lowered. */
const FAR_TOO_LARGE = 16;

/** Finds out what the store has for a session, and extends it on the way where that is due. */
export class SessionReader {
  constructor(private readonly parts: SessionReaderParts) {}

  /** Loads a session; whoever asks while that is under way shares it. */
  load(state: SessionState): Promise<void> {
    return (state.loading ??= this.#loadAnew(state));
  }

  /** Loads a session again; what was changed and not saved is given up. */
  reload(state: SessionState): Promise<void> {
    state.reset();
    return this.load(state);
  }

  async #loadAnew(state: SessionState): Promise<void> {
    try {
      const now = this.parts.clock.now();
      let hops = 0;
      while (!(await this.#loadOnce(state, now))) {
        if (++hops < (state.client?.connected ? MAX_HOPS_CONNECTED : MAX_HOPS)) continue;
        this.#meetNothing(state, state.storedHandle);
        break;
      }
      state.loaded = true;
    } catch (error) {
      const isOutage = error instanceof SessionStoreUnavailableError;
      if (isOutage && this.#goesOn(state)) return;
      // The next one asks again: an outage is not an answer.
      state.loading = undefined;
      state.unavailable ||= isOutage;
      throw error;
    }
  }

  /** Whether the request goes on although its session could not be read; nothing of it is written then. */
  #goesOn(state: SessionState): boolean {
    const { tally } = this.parts;
    if (state.onStoreFailure === 'anonymous') {
      if (tally) tally.wentOnAnonymous++;
      state.goOn('anonymous');
      return true;
    }
    const record =
      state.onStoreFailure === 'stale'
        ? this.#recent(state.storedHandle, state.storedId)
        : undefined;
    if (!record) return false;
    this.#compare(state, record);
    if (state.mismatches.length > 0 && this.parts.onMismatch) return false;
    if (tally) tally.servedStale++;
    state.goOn('stale', record);
    return true;
  }

  /** A session as this node has seen it lately, if it still lives as far as that tells. */
  #recent(handle: string, id: string | undefined): LiveRecord | undefined {
    const { lifetime, clock, realm } = this.parts;
    const now = clock.now();
    const value = lifetime.recent?.get(handle, now);
    const touched = lifetime.lastTouch(handle);
    if (touched !== undefined && now - touched >= lifetime.idleTimeout(handle)) return undefined;
    const record = value === undefined ? undefined : this.decode(value, handle, id);
    if (record?.kind !== 'live' || record.header.realm !== realm) return undefined;
    return record.header.absoluteEnd > now ? record : undefined;
  }

  /** The session was read before it was known that its client uses it: makes up for that. */
  async use(state: SessionState): Promise<void> {
    state.passive = false;
    const { record, outage } = state;
    if (!record || outage) return;
    const { lifetime, clock } = this.parts;
    const isDue = record.header.renew || lifetime.isRenewalDue(record.header, clock.now());
    if (isDue) state.renewUnasked();
    else if (!state.copies.served) await this.touch(state);
    // Who is served from a copy waits for nothing.
    else void this.touch(state).catch(() => undefined);
  }

  /** Starts the idle window anew, if that is due. */
  async touch(state: SessionState): Promise<void> {
    const { lifetime, clock, store } = this.parts;
    const now = clock.now();
    if (!state.presented || state.destroyed || state.ended || state.outage) return;
    if (state.loaded && !state.record) return;
    const handle = state.storedHandle;
    if (!lifetime.isTouchDue(handle, now)) return;
    const ttl = lifetime.timeToLive(now, state.record ? state.absoluteEnd : Infinity, handle);
    if (await store.touch(handle, ttl)) this.touched(state, handle, now);
  }

  /** The record of a handle, without counting as activity. */
  async read(handle: string, id?: string): Promise<LiveRecord | undefined> {
    const loaded = await this.parts.store.load(handle);
    const record = loaded && this.decode(loaded.value, handle, id);
    if (record?.kind !== 'live' || record.header.realm !== this.parts.realm) return undefined;
    return record.header.absoluteEnd > this.parts.clock.now() ? record : undefined;
  }

  /**
   * A stored value as a record; a damaged one counts as absent, and is reported.
   *
   * @param id if it is known: contents may be sealed with it
   */
  decode(value: StoredValue, handle: string, id?: string): LiveRecord | RetiredRecord | undefined {
    const { records, onRejected, maxBytes } = this.parts;
    // Taking it apart would hold up everybody else.
    if (value.length > maxBytes * FAR_TOO_LARGE) {
      onRejected?.('damaged', handle);
      return undefined;
    }
    const record = records.decode(value, { handle, id });
    if (!record) onRejected?.(records.sealed ? 'undecryptable' : 'damaged', handle);
    return record;
  }

  /** The id that a renewed one leads to; only who has the old id can read it. */
  successorOf(state: SessionState, record: RetiredRecord): string | undefined {
    const id = state.storedId;
    const { records, signer } = this.parts;
    return id === undefined ? undefined : records.openSuccessor(signer, id, record);
  }

  /** The idle window was moved. */
  touched(state: SessionState, handle: string, now: number): void {
    this.parts.lifetime.touched(handle, now);
    state.idleEnd = now + this.parts.lifetime.idleTimeout(handle);
    state.lastAccessedAt = now;
  }

  /** `false` if the id leads on to a successor. */
  async #loadOnce(state: SessionState, now: number): Promise<boolean> {
    const { store, lifetime } = this.parts;
    const handle = state.storedHandle;
    const due = !state.passive && lifetime.isTouchDue(handle, now);
    const touch = due ? lifetime.windowOf(handle, now) : undefined;
    const loaded = await store.load(handle, {
      touch,
      remaining: state.passive,
      near: this.#nearRead(state, handle),
    });
    const record = loaded && this.#shared(loaded, state, handle);
    state.copies.served = loaded?.served === true;
    if (record?.kind === 'retired') return this.#meetRetired(state, record, now);
    if (!record || record.header.absoluteEnd <= now) {
      if (record) {
        const news = this.parts.news?.end('expired');
        await store.delete(handle, placesOf(record.header), { news });
      }
      this.#meetNothing(state, handle);
      return true;
    }
    if (record.header.realm !== this.parts.realm) {
      // Somebody else's: it is left as it is.
      this.parts.onRejected?.('malformed', handle);
      this.#meetNothing(state, handle);
      return true;
    }
    const { connected } = state.client ?? {};
    if (connected && connected.principal !== record.header.identity?.principal) {
      this.#meetNothing(state, handle);
      return true;
    }
    state.adopt(record);
    if (await this.#isAnothers(state)) return true;
    if (lifetime.isRenewalDue(record.header, now)) state.renewUnasked();
    // A copy is older than its use.
    if (!state.copies.served) lifetime.recent?.seen(handle, (loaded as LoadedValue).value, now);
    loaded?.moving?.catch(() => lifetime.forgetTouch(handle));
    if (touch) await this.#extended(state, handle, now, touch, loaded as LoadedValue);
    else this.#seen(state, handle, now, loaded?.remaining);
    return true;
  }

  /** What a request makes of copies; who asks outside of requests gets none, and makes none. */
  #nearRead(state: SessionState, handle: string): NearRead | undefined {
    if (!this.parts.nearCache || state.storedId === undefined) return undefined;
    return {
      strong: state.copies.consistency === 'strong' || state.client?.connected !== undefined,
      atLeast: handle === state.presentedHandle ? state.copies.seen : undefined,
      until: this.parts.lifetime.knownIdleEnd(handle),
    };
  }

  /** The record; of a copy it is decoded once for all who share it. */
  #shared(loaded: LoadedValue, state: SessionState, handle: string) {
    const { value, copy } = loaded;
    if (!copy) return this.decode(value, handle, state.storedId);
    copy.record ??= asShared(this.decode(value, handle, state.storedId));
    return copy.record as LiveRecord | RetiredRecord | undefined;
  }

  /** What was served from a copy is read from the store; what was changed is changed again on that. */
  async confirm(state: SessionState): Promise<void> {
    if (!state.copies.served || !state.loaded || state.ended || state.destroyed) return;
    state.copies.consistency = 'strong';
    state.copies.served = false;
    // What a copy shows to have ended has ended.
    if (state.storedId !== undefined) await (state.loading = this.#loadAnew(state));
  }

  /**
   * The window was started anew before the absolute end was known: beyond that a session would count where
   * sessions are counted. From then on this node knows it.
   */
  async #extended(
    state: SessionState,
    handle: string,
    now: number,
    window: number,
    { moving }: LoadedValue,
  ): Promise<void> {
    const isTooLong = window > state.absoluteEnd - now;
    if (isTooLong) this.parts.lifetime.endsAt(handle, state.absoluteEnd);
    this.touched(state, handle, now);
    const { record } = state;
    const complete = async () => record && this.#complete(handle, record, now, isTooLong);
    if (!state.copies.served) await complete();
    // Who is served from a copy waits for nothing; who goes along with another one's read leaves it to that one.
    else moving?.then(complete).catch(() => undefined);
  }

  /** Does what is left to do where a window was started anew. Whatever becomes of it, the session is read. */
  async #complete(handle: string, { header, version }: LiveRecord, now: number, cut: boolean) {
    const { store } = this.parts;
    const standing = standingOf(header, now);
    // The record has the last word: the session is not longer if this fails.
    if (cut) await store.touch(handle, standing.life).catch(() => undefined);
    if (isIndexed(store)) await store.settle?.(handle, version, standing).catch(() => undefined);
  }

  /** Whether the session was brought by another client, and so has ended. */
  async #isAnothers(state: SessionState): Promise<boolean> {
    const { onMismatch } = this.parts;
    this.#compare(state, state.record);
    if (state.mismatches.length === 0 || !onMismatch) return false;
    const handle = state.storedHandle;
    await onMismatch(handle);
    this.#meetNothing(state, handle);
    return true;
  }

  /** Finds out in what a client differs from the one that the session began with. */
  #compare(state: SessionState, record: LiveRecord | undefined): void {
    const { binding, onRejected } = this.parts;
    const { bound } = record?.header ?? {};
    const client = bound && binding && state.bind?.();
    if (!client) return;
    state.mismatches = binding.mismatches(bound, client);
    if (state.mismatches.length > 0) onRejected?.('mismatch', state.storedHandle);
  }

  #meetNothing(state: SessionState, handle: string): void {
    this.parts.lifetime.forget(handle);
    state.tokenChange = 'clear';
    state.startNew();
  }

  async #meetRetired(state: SessionState, record: RetiredRecord, now: number): Promise<boolean> {
    const successor = this.successorOf(state, record);
    const { connected, arrivedAt = now } = state.client ?? {};
    // A request that came before the end of the grace is in flight, however long its body takes.
    if (!successor || (record.until <= arrivedAt && !connected)) {
      const handle = state.storedHandle;
      // Who knows a handle alone has no id that could be stolen.
      if (state.storedId !== undefined) this.parts.onRejected?.('replayed', handle);
      state.replayed = true;
      if (successor) await this.parts.onReplayed?.(handle);
      this.#meetNothing(state, handle);
      return true;
    }
    if (record.privileged && !(connected && record.ofPrincipal)) {
      state.supersede(successor, record.ofPrincipal);
      return true;
    }
    state.moveTo(successor);
    return false;
  }

  /** Loaded without moving the idle window: where that stands is told or remembered. */
  #seen(state: SessionState, handle: string, now: number, remaining: number | undefined): void {
    const idleTimeout = this.parts.lifetime.idleTimeout(handle);
    const touched = this.parts.lifetime.lastTouch(handle) ?? now;
    state.idleEnd = remaining === undefined ? touched + idleTimeout : now + remaining;
    const header = { savedAt: now, ...state.record?.header, absoluteEnd: state.absoluteEnd };
    state.lastAccessedAt = state.passive ? lastAccessOf(header, state.idleEnd, idleTimeout) : now;
  }
}
