import type { Clock } from './clock.js';
import type { CommitPlan } from './commit-plan.js';
import { LiveSession, type SessionKeeper } from './live-session.js';
import type { EncodedContents } from './session-changes.js';
import type { SessionCodec } from './session-codec.interface.js';
import { handleOf, isHandle, isSessionId } from './session-id.js';
import type { SessionIdSigner, VerifiedToken } from './session-id-signer.interface.js';
import type { SessionLifetime } from './session-lifetime.js';
import {
  decodeRecord,
  encodeLive,
  encodeRetired,
  nextVersion,
  type LiveRecord,
  type RetiredRecord,
} from './session-record.js';
import { SessionState } from './session-state.js';
import type { SessionStore, StoredValue } from './session-store.interface.js';
import {
  SessionConflictError,
  SessionStoreUnavailableError,
  SessionTooLargeError,
} from './session.errors.js';
import type { SaveSessionOptions, Session } from './session.js';

/** Why something that came as a session was refused. */
export type RejectionReason = 'malformed' | 'ambiguous' | 'damaged' | 'replayed';

/** What the manager works with; all of it given from outside. */
export interface SessionManagerParts {
  readonly store: SessionStore;
  readonly codec: SessionCodec;
  readonly signer: SessionIdSigner;
  readonly lifetime: SessionLifetime;
  readonly clock: Clock;
  /** Largest stored value, in bytes. */
  readonly maxBytes: number;
  /** For how long a renewed id leads to its successor, in milliseconds. */
  readonly grace: number;
  /** Rejects data that violates the application's schema. */
  readonly validate?: ((data: Record<string, unknown>) => void | Promise<void>) | undefined;
  /** Told of what was refused; never gets an id. */
  readonly onRejected?: ((reason: RejectionReason, handle?: string) => void) | undefined;
}

/** Rounds of a commit before it gives up; each lost round means that somebody else's commit won. */
const COMMIT_ROUNDS = 20;
/** Renewals that one request follows. */
const MAX_HOPS = 5;

/**
 * Opens, loads and commits sessions: the only caller of a store's writing verbs. Every write is
 * judged by the version it was made on, so that a late or repeated one does no harm.
 */
export class SessionManager implements SessionKeeper {
  /** Commits of a session that met a conflict here take turns, instead of racing for rounds. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(private readonly parts: SessionManagerParts) {}

  /** The session of a request, from the tokens that came with it. No I/O. */
  open(tokens: readonly string[]): LiveSession {
    const verified = tokens.length === 0 ? undefined : this.#verify(tokens);
    const state = this.#newState(verified?.id === undefined ? {} : { id: verified.id });
    state.staleToken = verified?.stale ?? false;
    return new LiveSession(state, this);
  }

  /** A session by its id; `undefined` if there is none. Does not count as activity. */
  async openById(id: string): Promise<Session | undefined> {
    return isSessionId(id) ? this.#openStored({ id }) : undefined;
  }

  /** A session by its handle; `undefined` if there is none. Does not count as activity. */
  async openByHandle(handle: string): Promise<Session | undefined> {
    return isHandle(handle) ? this.#openStored({ handle }) : undefined;
  }

  /** The token of a session id, for the transport. */
  tokenOf(id: string): string {
    return this.parts.signer.sign(id);
  }

  /** Stores a session now, also one without any contents. */
  async store(session: LiveSession): Promise<void> {
    const state = LiveSession.stateOf(session);
    state.required = true;
    await this.commit(state);
  }

  ping(): Promise<void> {
    return this.parts.store.ping();
  }

  /** Ends the session of a handle; `false` if there was none. */
  async revoke(handle: string): Promise<boolean> {
    if (!isHandle(handle)) return false;
    this.parts.lifetime.forget(handle);
    const value = await this.parts.store.delete(handle);
    return value !== undefined && decodeRecord(value)?.kind === 'live';
  }

  /** Starts the idle window of a handle anew; `false` if there is no such session. */
  async touchHandle(handle: string): Promise<boolean> {
    return isHandle(handle) && this.parts.store.touch(handle, this.parts.lifetime.idleTimeout);
  }

  count(): Promise<number> {
    return this.parts.store.count();
  }

  load(state: SessionState): Promise<void> {
    return (state.loading ??= this.#load(state));
  }

  async touch(state: SessionState): Promise<void> {
    const { lifetime, clock, store } = this.parts;
    const now = clock.now();
    if (!state.presented || state.destroyed || state.ended) return;
    if (state.loaded && !state.record) return;
    const handle = state.storedHandle;
    if (!lifetime.isTouchDue(handle, now)) return;
    const ttl = lifetime.timeToLive(now, state.record ? state.absoluteEnd : Infinity);
    if (await store.touch(handle, ttl)) this.#touched(state, handle, now);
  }

  async commit(state: SessionState, options: SaveSessionOptions = {}): Promise<boolean> {
    // A save that was not awaited and the end of the request: one after the other.
    while (state.committing) await state.committing.catch(() => undefined);
    const plan = this.#planned(state);
    if (plan === 'nothing') return !state.ended;
    state.abandoned = false;
    state.committing = this.#commit(state, plan, options);
    try {
      await state.committing;
    } catch (error) {
      state.abandoned = true;
      throw error;
    } finally {
      state.committing = undefined;
    }
    return !state.ended;
  }

  #newState(origin: { id?: string; handle?: string }): SessionState {
    const now = this.parts.clock.now();
    const { lifetime, codec } = this.parts;
    const state = new SessionState(codec, now, lifetime.absoluteEnd(now), origin);
    state.idleEnd = now + lifetime.idleTimeout;
    return state;
  }

  async #openStored(origin: { id: string } | { handle: string }): Promise<Session | undefined> {
    const state = this.#newState(origin);
    state.passive = true;
    await this.load(state);
    return state.record && new LiveSession(state, this);
  }

  /** Of several tokens only a single id may prove right; which of two was meant is not guessed. */
  #verify(tokens: readonly string[]): VerifiedToken | undefined {
    let found: VerifiedToken | undefined;
    for (const token of tokens) {
      const verified = this.parts.signer.verify(token);
      if (!verified) continue;
      if (found && found.id !== verified.id) {
        this.parts.onRejected?.('ambiguous');
        return undefined;
      }
      found = verified;
    }
    if (!found) this.parts.onRejected?.('malformed');
    return found;
  }

  async #load(state: SessionState): Promise<void> {
    try {
      const now = this.parts.clock.now();
      for (let hop = 0; hop < MAX_HOPS; hop++) {
        if (await this.#loadOnce(state, now)) break;
      }
      state.loaded = true;
    } catch (error) {
      // The next one asks again: an outage is not an answer.
      state.loading = undefined;
      throw error;
    }
  }

  /** `false` if the id leads on to a successor. */
  async #loadOnce(state: SessionState, now: number): Promise<boolean> {
    const { store, lifetime } = this.parts;
    const handle = state.storedHandle;
    const touch = !state.passive && lifetime.isTouchDue(handle, now);
    const loaded = await store.load(handle, {
      ...(touch && { touch: lifetime.idleTimeout }),
      ...(state.passive && { remaining: true }),
    });
    const record = loaded && this.#decode(loaded.value, handle);
    if (record?.kind === 'retired') return this.#meetRetired(state, record, now);
    if (!record || record.header.absoluteEnd <= now) {
      if (record) await store.delete(handle);
      this.#meetNothing(state, handle);
      return true;
    }
    state.adopt(record);
    if (touch) this.#touched(state, handle, now);
    else this.#seen(state, handle, now, loaded?.remaining);
    return true;
  }

  #meetNothing(state: SessionState, handle: string): void {
    this.parts.lifetime.forget(handle);
    state.tokenChange = 'clear';
    state.startNew();
  }

  #meetRetired(state: SessionState, record: RetiredRecord, now: number): boolean {
    const successor = this.#successorOf(state, record);
    if (!successor || record.until <= now) {
      this.parts.onRejected?.('replayed', state.storedHandle);
      this.#meetNothing(state, state.storedHandle);
      return true;
    }
    if (record.privileged) {
      state.supersede(successor);
      return true;
    }
    state.moveTo(successor);
    return false;
  }

  #successorOf(state: SessionState, record: RetiredRecord): string | undefined {
    const id = state.storedId;
    return id === undefined ? undefined : this.parts.signer.openSuccessor(id, record.sealed);
  }

  #touched(state: SessionState, handle: string, now: number): void {
    this.parts.lifetime.touched(handle, now);
    state.idleEnd = now + this.parts.lifetime.idleTimeout;
    state.lastAccessedAt = now;
  }

  /** Loaded without moving the idle window: where that stands is told or remembered. */
  #seen(state: SessionState, handle: string, now: number, remaining: number | undefined): void {
    const { idleTimeout } = this.parts.lifetime;
    const touched = this.parts.lifetime.lastTouch(handle) ?? now;
    state.idleEnd = remaining === undefined ? touched + idleTimeout : now + remaining;
    const capped = state.idleEnd >= state.absoluteEnd;
    const savedAt = state.record?.header.savedAt ?? now;
    if (!state.passive) state.lastAccessedAt = now;
    else state.lastAccessedAt = capped ? savedAt : Math.max(savedAt, state.idleEnd - idleTimeout);
  }

  #decode(value: StoredValue, handle: string): LiveRecord | RetiredRecord | undefined {
    const record = decodeRecord(value);
    if (!record) this.parts.onRejected?.('damaged', handle);
    return record;
  }

  async #commit(state: SessionState, plan: CommitPlan, options: SaveSessionOptions) {
    if (await this.#round(state, plan, options)) return;
    await this.#inTurn(state.handle, async () => {
      for (let round = 1; round < COMMIT_ROUNDS; round++) {
        if (await this.#round(state, state.plan(), options)) return;
        await pause(round);
      }
      throw new SessionConflictError();
    });
  }

  /** Data that cannot be encoded is found here: that, too, is a save that failed. */
  #planned(state: SessionState): CommitPlan {
    try {
      return state.plan();
    } catch (error) {
      state.abandoned = true;
      throw error;
    }
  }

  /** One attempt to write; `false` if it must be tried again on the state that it found. */
  async #round(
    state: SessionState,
    plan: CommitPlan,
    options: SaveSessionOptions,
  ): Promise<boolean> {
    switch (plan) {
      case 'nothing':
        return true;
      case 'refuse':
        throw new SessionConflictError();
      case 'delete':
        await this.#delete(state);
        return true;
      case 'save':
        return this.#save(state, options);
      case 'create':
        if (await this.#join(state)) return false;
        return this.#create(state);
      case 'replace':
        return this.#replace(state, options);
    }
  }

  async #create(state: SessionState): Promise<boolean> {
    const { id, handle } = state;
    const written = await this.#writable(state);
    if (!(await this.parts.store.create(handle, written.value, { ttl: written.ttl }))) {
      state.takeOtherId();
      return false;
    }
    state.moveTo(id as string);
    this.#wrote(state, written);
    return true;
  }

  async #save(state: SessionState, options: SaveSessionOptions): Promise<boolean> {
    const expected = state.record!.version;
    const written = await this.#writable(state);
    const outcome = await this.parts.store.save(state.storedHandle, written.value, {
      expected,
      ...(!state.passive && { ttl: written.ttl }),
    });
    if (outcome.status === 'saved') {
      this.#wrote(state, written);
      return true;
    }
    if (outcome.status === 'conflict') return this.#meetConflict(state, outcome.current, options);
    return this.#meetGone(state);
  }

  /** The new one first, then the old: whatever fails in between, the user has a session. */
  async #replace(state: SessionState, options: SaveSessionOptions): Promise<boolean> {
    const { store, signer, clock, grace } = this.parts;
    const old = { id: state.storedId as string, version: state.record!.version };
    const { nextId } = state;
    const written = await this.#writable(state);
    const nextHandle = handleOf(nextId);
    if (!(await store.create(nextHandle, written.value, { ttl: written.ttl }))) {
      state.takeOtherId();
      return false;
    }
    const retired = encodeRetired({
      version: nextVersion(old.version),
      until: clock.now() + grace,
      sealed: signer.sealSuccessor(old.id, nextId),
      privileged: state.renewal?.kind !== 'regenerate',
    });
    const outcome = await store.save(state.storedHandle, retired, {
      expected: old.version,
      ttl: grace,
    });
    if (outcome.status === 'saved') {
      this.parts.lifetime.forget(state.storedHandle);
      state.moveTo(nextId);
      this.#wrote(state, written);
      return true;
    }
    await store.delete(nextHandle);
    if (outcome.status === 'conflict') return this.#meetConflict(state, outcome.current, options);
    return this.#meetGone(state);
  }

  async #delete(state: SessionState): Promise<void> {
    const known = state.record !== undefined || state.supersededBy !== undefined;
    let id = state.storedId;
    let handle = known ? state.storedHandle : undefined;
    for (let hop = 0; handle !== undefined && hop < MAX_HOPS; hop++) {
      this.parts.lifetime.forget(handle);
      const value = await this.parts.store.delete(handle);
      // The id was renewed meanwhile: the session that goes on is the one to end.
      const record = value === undefined ? undefined : decodeRecord(value);
      if (record?.kind !== 'retired' || id === undefined) break;
      id = this.parts.signer.openSuccessor(id, record.sealed);
      handle = id && handleOf(id);
    }
    this.#end(state);
    state.destroyed = true;
    state.tokenChange = state.presented ? 'clear' : 'keep';
  }

  #end(state: SessionState): void {
    state.ended = true;
    state.record = undefined;
    state.renewal = undefined;
    state.tokenChange = 'keep';
  }

  /** Somebody else wrote first: do this request's operations again on what is there now. */
  async #meetConflict(
    state: SessionState,
    current: StoredValue,
    options: SaveSessionOptions,
  ): Promise<boolean> {
    if (options.ifUnchanged) throw new SessionConflictError();
    const record = this.#decode(current, state.storedHandle);
    if (!record) return this.#meetGone(state);
    if (record.kind === 'live') {
      state.adopt(record);
      return false;
    }
    const successor = this.#successorOf(state, record);
    if (!successor) return this.#meetGone(state);
    if (record.privileged) {
      if (state.renewal?.kind === 'authenticate') state.supersede(successor);
      else if (state.renewal?.kind === 'start-over') state.startNew();
      else throw new SessionConflictError();
      return false;
    }
    return this.#follow(state, successor);
  }

  /** The session was ended by another request; only an authentication begins a new one. */
  #meetGone(state: SessionState): boolean {
    if (!state.renewal || state.renewal.kind === 'regenerate') {
      this.parts.lifetime.forget(state.storedHandle);
      this.#end(state);
      return true;
    }
    state.startNew();
    return false;
  }

  /** Another request renewed the id already: that renewal serves this one as well. */
  async #follow(state: SessionState, successor: string): Promise<boolean> {
    const renewal = state.renewal;
    state.moveTo(successor);
    if (renewal && renewal.kind !== 'regenerate') state.renew(renewal);
    const record = await this.#read(successor);
    if (!record) return this.#meetGone(state);
    state.adopt(record);
    return false;
  }

  /**
   * Two logins of one browser at once: the second joins the session of the first, if both
   * proved to be the same principal.
   */
  async #join(state: SessionState): Promise<boolean> {
    const successor = state.supersededBy;
    if (successor === undefined || state.renewal?.kind !== 'authenticate') return false;
    state.supersededBy = undefined;
    const record = await this.#read(successor);
    if (record?.header.principal !== state.renewal.principal) return false;
    state.moveTo(successor);
    state.adopt(record);
    return true;
  }

  async #read(id: string): Promise<LiveRecord | undefined> {
    const handle = handleOf(id);
    const loaded = await this.parts.store.load(handle);
    const record = loaded && this.#decode(loaded.value, handle);
    return record?.kind === 'live' ? record : undefined;
  }

  /** Encodes and checks everything before anything is written. */
  async #writable(state: SessionState): Promise<Written> {
    const { clock, lifetime, maxBytes, validate } = this.parts;
    const { encoded } = state;
    if (encoded && validate) await validate(state.changes.data);
    const contents = encoded ?? state.changes.encodeAll();
    const now = clock.now();
    const header = state.header(now, lifetime.absoluteEnd(now));
    const version = nextVersion(state.record?.version);
    const value = encodeLive(version, header, contents.flashText, contents.dataText);
    const bytes = Buffer.byteLength(value);
    if (bytes > maxBytes) throw new SessionTooLargeError(bytes, maxBytes);
    const record: LiveRecord = { kind: 'live', version, header, ...contents };
    const ttl = lifetime.timeToLive(now, header.absoluteEnd);
    return { value, ttl, now, record, contents };
  }

  #wrote(state: SessionState, written: Written): void {
    state.written(written.record, written.contents);
    if (!state.passive) this.#touched(state, state.storedHandle, written.now);
  }

  /** Runs one after the other what is to be done for a handle. An outage ends the whole row. */
  async #inTurn<T>(handle: string, task: () => Promise<T>): Promise<T> {
    const before = this.#turns.get(handle);
    const turn = before
      ? before.then(task, (error: unknown) => {
          if (error instanceof SessionStoreUnavailableError) throw error;
          return task();
        })
      : task();
    this.#turns.set(handle, turn);
    try {
      return await turn;
    } finally {
      if (this.#turns.get(handle) === turn) this.#turns.delete(handle);
    }
  }
}

interface Written {
  readonly value: StoredValue;
  readonly ttl: number;
  readonly now: number;
  readonly record: LiveRecord;
  readonly contents: EncodedContents;
}

/** Lets others finish: other nodes may be after the same session. */
function pause(round: number): Promise<void> {
  const longest = Math.min(50, 2 ** round);
  return new Promise((resolve) => setTimeout(resolve, Math.random() * longest));
}
