import { setTimeout as delay } from 'node:timers/promises';
import type { CommitPlan } from './commit-plan.js';
import type { EncodedContents } from './session-changes.js';
import { handleOf } from './session-id.js';
import { MAX_HOPS, type SessionReader, type SessionReaderParts } from './session-reader.js';
import {
  decodeRecord,
  encodeLive,
  encodeRetired,
  nextVersion,
  type LiveRecord,
} from './session-record.js';
import type { SessionState } from './session-state.js';
import type { StoredValue } from './session-store.interface.js';
import {
  SessionConflictError,
  SessionStoreUnavailableError,
  SessionTooLargeError,
} from './session.errors.js';
import type { SaveSessionOptions } from './session.js';

/** What writing needs. */
export interface SessionWriterParts extends SessionReaderParts {
  /** Largest stored value, in bytes. */
  readonly maxBytes: number;
  /** For how long a renewed id leads to its successor, in milliseconds. */
  readonly grace: number;
  /** Rejects data that violates the application's schema. */
  readonly validate?: ((data: Record<string, unknown>) => void | Promise<void>) | undefined;
}

/** Rounds of a commit before it gives up; each lost round means that somebody else's commit won. */
const COMMIT_ROUNDS = 50;
/** After so many lost rounds, nodes that keep step with each other are brought out of it. */
const ROUNDS_AT_ONCE = 8;

/**
 * Carries out what a commit plan says. Every write is judged by the version it was made on, so that a
 * late or repeated one does no harm.
 */
export class SessionWriter {
  /** Commits of a session that met a conflict here take turns, instead of racing for rounds. */
  readonly #turns = new Map<string, ReturnType<Turn>>();

  constructor(
    private readonly parts: SessionWriterParts,
    private readonly reader: SessionReader,
  ) {}

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
      state.failed(error);
      throw error;
    } finally {
      state.committing = undefined;
    }
    return !state.ended;
  }

  /**
   * Ends the session of a handle; `false` if there was none. If the id was renewed meanwhile, the
   * session that goes on under another one is the one to end.
   */
  async end(handle: string): Promise<boolean> {
    let next: string | undefined = handle;
    for (let hop = 0; next !== undefined && hop < MAX_HOPS; hop++) {
      this.parts.lifetime.forget(next);
      const value: StoredValue | undefined = await this.parts.store.delete(next);
      const record = value === undefined ? undefined : decodeRecord(value);
      if (record?.kind !== 'retired') return record !== undefined;
      next = record.successor;
    }
    return false;
  }

  /** Data that cannot be encoded is found here: that, too, is a save that failed. */
  #planned(state: SessionState): CommitPlan {
    try {
      return state.plan();
    } catch (error) {
      state.failed(error);
      throw error;
    }
  }

  async #commit(state: SessionState, plan: CommitPlan, options: SaveSessionOptions) {
    if (await this.#round(state, plan, options)) return;
    const handle = state.record ? state.storedHandle : state.handle;
    await this.#inTurn(handle, async (latest) => {
      if (latest && state.record && isNewer(latest, state.record)) state.adopt(latest);
      for (let round = 1; round < COMMIT_ROUNDS; round++) {
        // At once: what the lost round found is the newest state only now; who waits loses again.
        if (await this.#round(state, state.plan(), options)) {
          return state.storedHandle === handle ? state.record : undefined;
        }
        if (round >= ROUNDS_AT_ONCE) await delay(Math.random() * 10);
      }
      throw new SessionConflictError();
    });
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
      successor: nextHandle,
      sealed: signer.sealSuccessor(old.id, nextId),
      privileged: state.renewal?.kind !== 'regenerate',
    });
    const outcome = await store.save(state.storedHandle, retired, {
      expected: old.version,
      ttl: Math.max(1, grace),
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
    if (state.record || state.supersededBy !== undefined) await this.end(state.storedHandle);
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
    const record = this.reader.decode(current, state.storedHandle);
    if (!record) return this.#meetGone(state);
    if (record.kind === 'live') {
      state.adopt(record);
      return false;
    }
    const successor = this.reader.successorOf(state, record);
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
    const record = await this.reader.read(handleOf(successor));
    if (!record) return this.#meetGone(state);
    state.adopt(record);
    return false;
  }

  /**
   * Two logins of one browser at once: the second joins the session of the first, if both
   * proved to be the same principal, with the same roles.
   */
  async #join(state: SessionState): Promise<boolean> {
    const successor = state.supersededBy;
    if (successor === undefined || state.renewal?.kind !== 'authenticate') return false;
    state.supersededBy = undefined;
    const record = await this.reader.read(handleOf(successor));
    if (!record || !isSameLogin(record, state.renewal)) return false;
    state.moveTo(successor);
    state.adopt(record);
    return true;
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
    const { flashText, dataText } = contents;
    const record: LiveRecord = { kind: 'live', version, header, flashText, dataText };
    const ttl = lifetime.timeToLive(now, header.absoluteEnd);
    return { value, ttl, now, record, contents };
  }

  #wrote(state: SessionState, written: Written): void {
    state.written(written.record, written.contents);
    if (!state.passive) this.reader.touched(state, state.storedHandle, written.now);
  }

  /**
   * Runs one after the other the commits of a handle; each learns what the one before it wrote. An
   * outage ends the whole row.
   */
  async #inTurn(handle: string, commit: Turn): Promise<void> {
    const before = this.#turns.get(handle);
    const turn = before
      ? before.then(commit, (error: unknown) => {
          if (error instanceof SessionStoreUnavailableError) throw error;
          return commit(undefined);
        })
      : commit(undefined);
    this.#turns.set(handle, turn);
    try {
      await turn;
    } finally {
      if (this.#turns.get(handle) === turn) this.#turns.delete(handle);
    }
  }
}

type Turn = (latest: LiveRecord | undefined) => Promise<LiveRecord | undefined>;

function isSameLogin(
  { header }: LiveRecord,
  login: { principal: string; roles: readonly string[] },
) {
  const roles = header.roles ?? [];
  return (
    header.principal === login.principal &&
    roles.length === login.roles.length &&
    roles.every((role, i) => role === login.roles[i])
  );
}

/** The counter that a version begins with tells older from newer. */
const isNewer = (one: LiveRecord, other: LiveRecord): boolean =>
  one.version.slice(0, 8) > other.version.slice(0, 8);

interface Written {
  readonly value: StoredValue;
  readonly ttl: number;
  readonly now: number;
  readonly record: LiveRecord;
  readonly contents: EncodedContents;
}
