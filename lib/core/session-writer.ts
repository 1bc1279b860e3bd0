import { setTimeout as delay } from 'node:timers/promises';
import type { CommitPlan } from './commit-plan.js';
import type { News } from './news.interface.js';
import {
  moveBetween,
  placesOf,
  SessionDrafter,
  type Draft,
  type SessionDrafterParts,
} from './session-draft.js';
import type { SessionEnding } from './session-ending.js';
import { SessionHandover, type SessionHandoverParts } from './session-handover.js';
import { handleOf, isLasting } from './session-id.js';
import { isSameIdentity } from './session-identity.js';
import type { SessionReader, SessionReaderParts } from './session-reader.js';
import type { LiveRecord } from './session-record.js';
import type { SessionState } from './session-state.js';
import type { StoredValue } from './session-store.interface.js';
import {
  SessionConflictError,
  SessionStoreUnavailableError,
  SessionTooLargeError,
  SessionUnavailableError,
  SessionUnconfirmedError,
} from './session.errors.js';
import type { SaveSessionOptions } from './session.js';

/** What writing needs. */
export interface SessionWriterParts
  extends SessionReaderParts, SessionDrafterParts, SessionHandoverParts {}

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
  readonly #drafter: SessionDrafter;
  readonly #handover: SessionHandover;

  constructor(
    private readonly parts: SessionWriterParts,
    private readonly reader: SessionReader,
    private readonly ending: SessionEnding,
  ) {
    this.#drafter = new SessionDrafter(parts);
    this.#handover = new SessionHandover(parts);
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
      // Nobody has asked for that: the next request tries again.
      if (plan === 'save' && state.onlySeals && isRefusal(error)) return true;
      state.failed(error);
      throw error;
    } finally {
      state.committing = undefined;
    }
    return !state.ended;
  }

  /** Data that cannot be encoded is found here: that, too, is a save that failed. */
  #planned(state: SessionState): CommitPlan {
    try {
      return planInOutage(state, state.plan());
    } catch (error) {
      state.failed(error);
      throw error;
    }
  }

  async #commit(state: SessionState, plan: CommitPlan, options: SaveSessionOptions) {
    const turnOf = () => (state.record ? state.storedHandle : state.handle);
    // Who came later does not overtake those that have lost a round, unless nothing could make it lose one.
    const waits = plan !== 'delete' && !options.ifUnchanged && this.#turns.has(turnOf());
    if (!waits && (await this.#round(state, plan, options))) return;
    for (let round = 1, written = false; !written;) {
      // Its id may be renewed by somebody else at any round: there, others wait for their turn as well.
      const handle = turnOf();
      await this.#inTurn(handle, async (latest) => {
        if (latest && state.record && isNewer(latest, state.record)) state.adopt(latest);
        while (!written && turnOf() === handle) {
          if (round++ === COMMIT_ROUNDS) throw new SessionConflictError();
          // At once: what the lost round found is the newest state only now; who waits loses again.
          written = await this.#round(state, state.plan(), options);
          if (!written && round > ROUNDS_AT_ONCE) await this.#outOfStep(state, options);
        }
        return written && state.storedHandle === handle ? state.record : undefined;
      });
    }
  }

  /** Waits for a moment that no other node can know, and looks what has become of the session meanwhile. */
  async #outOfStep(state: SessionState, options: SaveSessionOptions): Promise<void> {
    await delay(Math.random() * 10);
    if (!state.record) return;
    const loaded = await this.parts.store.load(state.storedHandle);
    if (loaded) await this.#meetConflict(state, loaded.value, options);
    else this.#meetGone(state);
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
    const { takesNoId } = state.client ?? {};
    // Nobody could ever use it.
    if (takesNoId !== undefined) throw new SessionUnavailableError(takesNoId);
    const draft = await this.#drafter.draft(state, handle, id);
    if (!(await this.#handover.store(state, draft))) {
      state.takeOtherId();
      return false;
    }
    state.moveTo(id as string);
    this.#wrote(state, draft);
    return true;
  }

  async #save(state: SessionState, options: SaveSessionOptions): Promise<boolean> {
    const before = state.record!;
    const draft = await this.#drafter.draft(state, state.storedHandle, state.storedId);
    const outcome = await this.parts.store.save(state.storedHandle, draft.value, {
      expected: before.version,
      ...(!state.passive && { ttl: draft.ttl }),
      ...moveBetween(placesOf(before.header), draft.standing),
      news: this.#newsOfSave(state, draft),
    });
    if (outcome.status === 'saved') {
      this.#wrote(state, draft);
      return true;
    }
    if (outcome.status === 'conflict') return this.#meetConflict(state, outcome.current, options);
    return this.#meetGone(state);
  }

  #newsOfSave(state: SessionState, { record }: Draft): News | undefined {
    const { news } = this.parts;
    // That it is sealed anew is nothing that happens to a session.
    if (!news || !state.encoded) return undefined;
    const { storedHandle, changes } = state;
    const notice = () => news.notice(storedHandle, record.header, () => changes.data);
    return news.saved('contents', news.tellsData ? notice() : undefined);
  }

  async #replace(state: SessionState, options: SaveSessionOptions): Promise<boolean> {
    const { nextId } = state;
    const oldHandle = state.storedHandle;
    const draft = await this.#drafter.draft(state, handleOf(nextId), nextId);
    const outcome = await this.#handover.replace(state, draft, handleOf(nextId));
    if (outcome.status === 'taken') {
      state.takeOtherId();
      return false;
    }
    if (outcome.status === 'conflict') return this.#meetConflict(state, outcome.current, options);
    if (outcome.status === 'gone') return this.#meetGone(state);
    this.parts.lifetime.forget(oldHandle, draft.now);
    state.moveTo(nextId);
    this.#wrote(state, draft);
    // Its client gets the new id all the same: the one before leads nowhere any more.
    if (outcome.status === 'unconfirmed') throw new SessionUnconfirmedError();
    return true;
  }

  async #delete(state: SessionState): Promise<void> {
    if (state.record || state.supersededBy !== undefined || state.outage) {
      await this.ending.end(state.storedHandle, { known: state.record });
    } else if ((this.parts.store.confirms || state.replayed) && state.presentedHandle) {
      // It was ended before, and perhaps only where it was not confirmed; or it goes on under another id.
      await this.ending.end(state.presentedHandle, { ownOnly: true });
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
    const record = this.reader.decode(current, state.storedHandle, state.storedId);
    const now = this.parts.clock.now();
    if (!record || (record.kind === 'live' && record.header.absoluteEnd <= now)) {
      return this.#meetGone(state);
    }
    if (record.kind === 'live') {
      state.adopt(record);
      return false;
    }
    const successor = this.reader.successorOf(state, record);
    if (!successor) return this.#meetGone(state);
    if (record.privileged) {
      if (state.renewal?.kind === 'authenticate') state.supersede(successor, record.ofPrincipal);
      else if (state.renewal?.kind === 'start-over') state.startNew();
      else throw new SessionConflictError();
      return false;
    }
    return this.#follow(state, successor);
  }

  /** The session was ended by another request; only an authentication begins a new one. */
  #meetGone(state: SessionState): boolean {
    const { kind } = state.renewal ?? {};
    if (kind !== 'authenticate' && kind !== 'start-over') {
      this.parts.lifetime.forget(state.storedHandle, this.parts.clock.now());
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
    const loaded = await this.parts.store.load(handleOf(successor));
    // That one may have been renewed as well.
    return loaded ? this.#meetConflict(state, loaded.value, {}) : this.#meetGone(state);
  }

  /**
   * Two logins of one browser at once: the second joins the session of the first, if both
   * proved to be the same principal, with the same roles.
   */
  async #join(state: SessionState): Promise<boolean> {
    const successor = state.supersededBy;
    if (successor === undefined || state.renewal?.kind !== 'authenticate') return false;
    state.supersededBy = undefined;
    const record = await this.reader.read(handleOf(successor), successor);
    const [there, here] = [record?.header.identity, state.identityAt(this.parts.clock.now())];
    if (!record || !there || !here || !isSameIdentity(there, here)) return false;
    if (isLasting(handleOf(successor)) !== state.nextIsLasting) return false;
    state.moveTo(successor);
    state.adopt(record);
    await this.#confirm(state, record);
    return true;
  }

  /** What somebody else has written is confirmed by writing it once more. */
  async #confirm(state: SessionState, { version: expected }: LiveRecord): Promise<void> {
    const { store } = this.parts;
    if (!store.confirms) return;
    const draft = await this.#drafter.draft(state, state.storedHandle, state.storedId);
    const { value, ttl } = draft;
    const options = { expected, ttl, confirm: true };
    const { status } = await store.save(state.storedHandle, value, options);
    if (status === 'saved') this.#wrote(state, draft);
  }

  #wrote(state: SessionState, draft: Draft): void {
    state.written(draft.record, draft.contents);
    this.parts.lifetime.recent?.seen(state.storedHandle, draft.value, draft.now);
    if (!state.passive) this.reader.touched(state, state.storedHandle, draft.now);
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

/**
 * What is left of a plan for a request that goes on in an outage: it can end the session, or try to.
 *
 * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) for all else that it means to do
 */
function planInOutage(state: SessionState, plan: CommitPlan): CommitPlan {
  const { outage, renewal } = state;
  if (!outage || plan === 'delete') return plan;
  // To leave everything behind is to end the session, whatever is in it.
  if (outage === 'anonymous' && renewal?.kind === 'start-over') return 'delete';
  if (plan === 'nothing' && !renewal) return plan;
  throw new SessionStoreUnavailableError(
    'outage',
    'this request goes on without it, and so cannot change the session',
  );
}

/** The store does not take it now, or not so much. */
const isRefusal = (error: unknown): boolean =>
  error instanceof SessionStoreUnavailableError || error instanceof SessionTooLargeError;

/** The counter that a version begins with tells older from newer. */
const isNewer = (one: LiveRecord, other: LiveRecord): boolean =>
  one.version.slice(0, 8) > other.version.slice(0, 8);
