import type { Clock } from './clock.js';
import { placesOf, type Draft } from './session-draft.js';
import { bucketOf, bucketOfHandle, handleOf, newSessionId } from './session-id.js';
import type { SessionIdSigner } from './session-id-signer.interface.js';
import type { SessionLifetime } from './session-lifetime.js';
import type { SessionLimit } from './session-limit.js';
import type { News } from './news.interface.js';
import { newsOfCreation, newsOfRenewal } from './session-renewal-news.js';
import type { SessionNews } from './session-news.js';
import { actingPlace } from './session-places.js';
import type { SessionIdentity } from './session-identity.js';
import { decodeRecord, encodeRetired, nextVersion } from './session-record.js';
import type { SessionRecords } from './session-records.js';
import type { SessionState } from './session-state.js';
import {
  isIndexed,
  type PlaceLimit,
  type SaveOutcome,
  type SessionStore,
} from './session-store.interface.js';
import { SessionLimitError, SessionUnconfirmedError } from './session.errors.js';

/** What handing over needs. */
export interface SessionHandoverParts {
  readonly store: SessionStore;
  readonly signer: SessionIdSigner;
  readonly records: SessionRecords;
  readonly lifetime: SessionLifetime;
  readonly clock: Clock;
  /** For how long a renewed id leads to its successor, in milliseconds. */
  readonly grace: number;
  /** For how long the use of a renewed id is noticed, in milliseconds. @default as long as its session can be idle */
  readonly replayWindow?: number | undefined;
  /** Says what is told; `undefined`: nothing is. */
  readonly news?: SessionNews | undefined;
  /** How many sessions a principal may have. */
  readonly limit?: SessionLimit | undefined;
}

/** Makes sessions exist under a new id, and hands over from the old one. */
export class SessionHandover {
  constructor(private readonly parts: SessionHandoverParts) {}

  /** Stores a new session, within the limit of its principal; `false` if the handle is taken. */
  async store(state: SessionState, draft: Draft): Promise<boolean> {
    const { handle } = state;
    const limit = await this.parts.limit?.of(draft.record.header);
    const { news } = this.parts;
    return this.#admit(handle, draft, limit, news && newsOfCreation(news, state, draft, handle));
  }

  /**
   * In one step where one step can reach both. Else the new one first, then the old: whatever fails in
   * between, the user has a session.
   */
  async replace(
    state: SessionState,
    draft: Draft,
    handle: string,
  ): Promise<SaveOutcome | { status: 'taken' } | { status: 'unconfirmed' }> {
    const { store } = this.parts;
    const before = state.record!;
    const leaves = placesOf(before.header);
    const pointer = this.#pointer(state, handle);
    const trace = traceOf(state, draft, handle);
    const { ttl, standing } = draft;
    const limit = await this.#limitOnLogin(state, draft);
    const inReach = bucketOfHandle(handle) === bucketOfHandle(state.storedHandle);
    const told = this.parts.news && newsOfRenewal(this.parts.news, state, draft, handle);
    const news = told && { ...told, goesOnAs: handle };
    const options = { expected: before.version, ttl: pointer.ttl, leaves, confirm: true, news };
    if (isIndexed(store) && inReach && !limit && !trace) {
      const next = { handle, value: draft.value, ttl, standing };
      const replaced = store.replace(state.storedHandle, pointer.value, { ...options, next });
      return replaced.catch((error: unknown) => this.#found(error, state, handle));
    }
    // It is told when it is done, by the last step.
    const begun = told && { ...told, kind: 'provisional' as const };
    if (!(await this.#admit(handle, draft, limit, begun))) return { status: 'taken' };
    // In between: whoever finds the trace finds its session, and whoever does not finds the old one.
    if (trace) await store.create(trace.handle, trace.value, trace);
    const saved = store.save(state.storedHandle, pointer.value, options);
    const withdraw = () =>
      store.delete(handle, standing.places, {
        news: told && { ...told, kind: 'withdrawn' as const },
      });
    const outcome = await saved
      .catch((error: unknown) => this.#found(error, state, handle))
      .catch(async (error: unknown) => {
        // Nobody gets its id.
        await withdraw().catch(() => undefined);
        throw error;
      });
    if (outcome.status === 'unconfirmed') return outcome;
    if (outcome.status !== 'saved') await withdraw();
    return outcome;
  }

  /** What was not confirmed may have been done: whether it was is found in the store. */
  async #found(error: unknown, { storedHandle }: SessionState, successor: string) {
    if (!(error instanceof SessionUnconfirmedError)) throw error;
    const value = (await this.parts.store.load(storedHandle))?.value;
    const record = value === undefined ? undefined : decodeRecord(value);
    const isDone = record?.kind === 'retired' && record.successor === successor;
    if (!isDone) throw error;
    return { status: 'unconfirmed' as const };
  }

  async #admit(
    handle: string,
    draft: Draft,
    limit: PlaceLimit | undefined,
    news: News | undefined,
  ): Promise<boolean> {
    try {
      return await this.#create(handle, draft, limit, news);
    } catch (error) {
      // Nobody gets its id: it would stand among the principal's devices, and nobody could use it.
      if (error instanceof SessionUnconfirmedError) {
        const { store, news: says } = this.parts;
        const ended = says?.end('revoked', 'unconfirmed');
        const told = news?.kind === 'provisional' ? { ...news, kind: 'withdrawn' as const } : ended;
        await store.delete(handle, draft.standing.places, { news: told }).catch(() => undefined);
      }
      throw error;
    }
  }

  async #create(
    handle: string,
    draft: Draft,
    limit: PlaceLimit | undefined,
    news: News | undefined,
  ): Promise<boolean> {
    const { store, lifetime, clock } = this.parts;
    const { value, ttl, standing } = draft;
    const options = { ttl, standing, confirm: draft.record.header.identity !== undefined, news };
    if (!limit || !isIndexed(store)) return store.create(handle, value, options);
    const gaveWay = this.parts.news?.end('revoked', 'limit').message;
    const withAll = news && { ...news, gaveWay };
    const admission = await store.admit(handle, value, { ...options, news: withAll, limit });
    if (admission.status === 'full') throw new SessionLimitError(limit.max);
    if (admission.status === 'taken') return false;
    for (const retired of admission.retired) lifetime.forget(retired, clock.now());
    return true;
  }

  /** The limit that a renewal meets; none if the session counts there already. */
  async #limitOnLogin(state: SessionState, draft: Draft): Promise<PlaceLimit | undefined> {
    const { kind } = state.renewal ?? {};
    if (kind !== 'authenticate' && kind !== 'switch') return undefined;
    const limit = await this.parts.limit?.of(draft.record.header);
    return limit && !placesOf(state.record!.header).includes(limit.place) ? limit : undefined;
  }

  /** What is left at the old id. */
  #pointer(state: SessionState, successor: string) {
    const { signer, clock, grace, lifetime, records } = this.parts;
    const { version, header } = state.record!;
    const now = clock.now();
    const pointer = {
      until: now + grace,
      successor,
      privileged: state.renewal?.kind !== 'regenerate',
      ofPrincipal: isOfSame(header.identity, state.identityAt(now)),
    };
    const id = state.storedId as string;
    const sealed = records.sealSuccessor(signer, id, state.nextId, pointer);
    const value = encodeRetired({ version: nextVersion(version), sealed, ...pointer });
    const { replayWindow = lifetime.idleTimeout(state.storedHandle) } = this.parts;
    // Beyond that it leads nowhere, and only tells that somebody uses what was given up.
    return { value, ttl: Math.max(1, grace, replayWindow) };
  }
}

/** Whether the same one is logged in after as before, perhaps acting as another. */
function isOfSame(before?: SessionIdentity, after?: SessionIdentity): boolean {
  const who = (identity?: SessionIdentity) => identity?.actor?.principal ?? identity?.principal;
  return who(before) !== undefined && who(before) === who(after);
}

/**
 * Where somebody begins to act as another principal, a trace of it is left beside the actor's sessions: it
 * tells in which bucket to look for that one. It has a handle of its own, which nobody can load.
 */
function traceOf(state: SessionState, draft: Draft, successor: string) {
  const { actor } = draft.record.header.identity ?? {};
  if (!actor || state.record!.header.identity?.actor) return undefined;
  const record = { until: 0, successor, sealed: '-', privileged: true, ofPrincipal: true };
  return {
    handle: handleOf(newSessionId(bucketOf(actor.principal))),
    value: encodeRetired({ version: nextVersion(), ...record }),
    ttl: draft.standing.life,
    standing: { ...draft.standing, places: [actingPlace(actor.principal)] },
  };
}
