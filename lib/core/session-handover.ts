import type { Clock } from './clock.js';
import { placesOf, type Draft } from './session-draft.js';
import { bucketOf, bucketOfHandle, handleOf, newSessionId } from './session-id.js';
import type { SessionIdSigner } from './session-id-signer.interface.js';
import type { SessionLifetime } from './session-lifetime.js';
import type { SessionLimit } from './session-limit.js';
import { actingPlace } from './session-places.js';
import { encodeRetired, nextVersion } from './session-record.js';
import type { SessionState } from './session-state.js';
import {
  isIndexed,
  type PlaceLimit,
  type SaveOutcome,
  type SessionStore,
} from './session-store.interface.js';
import { SessionLimitError } from './session.errors.js';

/** What handing over needs. */
export interface SessionHandoverParts {
  readonly store: SessionStore;
  readonly signer: SessionIdSigner;
  readonly lifetime: SessionLifetime;
  readonly clock: Clock;
  /** For how long a renewed id leads to its successor, in milliseconds. */
  readonly grace: number;
  /** How many sessions a principal may have. */
  readonly limit?: SessionLimit | undefined;
}

/** Makes sessions exist under a new id, and hands over from the old one. */
export class SessionHandover {
  constructor(private readonly parts: SessionHandoverParts) {}

  /** Stores a new session, within the limit of its principal; `false` if the handle is taken. */
  async store(handle: string, draft: Draft): Promise<boolean> {
    return this.#admit(handle, draft, await this.parts.limit?.of(draft.record.header));
  }

  /**
   * In one step where one step can reach both. Else the new one first, then the old: whatever fails in
   * between, the user has a session.
   */
  async replace(
    state: SessionState,
    draft: Draft,
    handle: string,
  ): Promise<SaveOutcome | { status: 'taken' }> {
    const { store } = this.parts;
    const before = state.record!;
    const leaves = placesOf(before.header);
    const pointer = this.#pointer(state, handle);
    const trace = traceOf(state, draft, handle);
    const { ttl, standing } = draft;
    const limit = await this.#limitOnLogin(state, draft);
    const inReach = bucketOfHandle(handle) === bucketOfHandle(state.storedHandle);
    const options = { expected: before.version, ttl: pointer.ttl, leaves };
    if (isIndexed(store) && inReach && !limit && !trace) {
      const next = { handle, value: draft.value, ttl, standing };
      return store.replace(state.storedHandle, pointer.value, { ...options, next });
    }
    if (!(await this.#admit(handle, draft, limit))) return { status: 'taken' };
    // In between: whoever finds the trace finds its session, and whoever does not finds the old one.
    if (trace) await store.create(trace.handle, trace.value, trace);
    const outcome = await store.save(state.storedHandle, pointer.value, options);
    if (outcome.status !== 'saved') await store.delete(handle, standing.places);
    return outcome;
  }

  async #admit(handle: string, draft: Draft, limit: PlaceLimit | undefined): Promise<boolean> {
    const { store, lifetime } = this.parts;
    const { value, ttl, standing } = draft;
    if (!limit || !isIndexed(store)) return store.create(handle, value, { ttl, standing });
    const admission = await store.admit(handle, value, { ttl, standing, limit });
    if (admission.status === 'full') throw new SessionLimitError(limit.max);
    if (admission.status === 'taken') return false;
    for (const retired of admission.retired) lifetime.forget(retired);
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
    const { signer, clock, grace } = this.parts;
    const { version, header } = state.record!;
    const value = encodeRetired({
      version: nextVersion(version),
      until: clock.now() + grace,
      successor,
      sealed: signer.sealSuccessor(state.storedId as string, state.nextId),
      privileged: state.renewal?.kind !== 'regenerate',
      ofPrincipal: header.identity !== undefined,
    });
    return { value, ttl: Math.max(1, grace) };
  }
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
