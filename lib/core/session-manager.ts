import { isCarried, mustReach, type SessionCarriage } from './carried-store.interface.js';
import { LiveSession, type SessionKeeper } from './live-session.js';
import type { NearCacheFigures } from './near-cache-figures.js';
import { newTally, type OutageCounters } from './outage-counters.js';
import type { SessionCodec } from './session-codec.interface.js';
import { handleOf, isHandle, isSessionId } from './session-id.js';
import { PrincipalSessions, listed, type ListedSession } from './principal-sessions.js';
import type { RejectionReason, ReplayPolicy } from './rejection.js';
import type { BindingReport, RequestingClient } from './session-binding.js';
import { SessionEnding, type SessionEndingParts } from './session-ending.js';
import { SessionIndex, type SessionQuery } from './session-index.js';
import type { SessionNews } from './session-news.js';
import type { SessionObserver } from './session-observer.interface.js';
import { SessionReader } from './session-reader.js';
import type { ReadReference } from './session-references.interface.js';
import type { SessionIdentity } from './session-identity.js';
import { SessionUnavailableError } from './session.errors.js';
import { SessionState } from './session-state.js';
import { SessionSteps } from './session-steps.js';
import { follow, type SessionWhereabouts } from './session-trail.js';
import type { StoreFailurePolicy } from './store-failure.js';
import { chosenToken, MAX_TOKENS } from './token-choice.js';
import { SessionWriter, type SessionWriterParts } from './session-writer.js';
import type { TokenMaking, TokenParts } from './session-token.js';
import type { SaveSessionOptions, Session } from './session.js';

/** What the manager works with; all of it given from outside. */
export interface SessionManagerParts extends SessionWriterParts, SessionEndingParts, TokenParts {
  readonly codec: SessionCodec;
  /** What happens when an id is used that was given up long ago. @default 'refuse' */
  readonly onReplay?: ReplayPolicy | undefined;
  readonly observer?: SessionObserver | undefined;
}

/** Opens sessions, by token, id or handle; loads and commits them through its reader and writer. */
export class SessionManager implements SessionKeeper {
  readonly #reader: SessionReader;
  readonly #writer: SessionWriter;
  readonly #ending: SessionEnding;
  readonly #index: SessionIndex;
  readonly #steps: SessionSteps;

  constructor(private readonly parts: SessionManagerParts) {
    const end = (revoked: 'replayed' | 'mismatch') => (handle: string) =>
      this.#ending.end(handle, { ownOnly: true, revoked });
    this.#reader = new SessionReader({
      ...parts,
      onReplayed: parts.onReplay === 'end' ? end('replayed') : undefined,
      onMismatch: parts.binding?.onMismatch === 'destroy' ? end('mismatch') : undefined,
    });
    this.#ending = new SessionEnding(parts, this.#reader);
    this.#writer = new SessionWriter(parts, this.#reader, this.#ending);
    this.#steps = new SessionSteps(parts.observer, parts.realm);
    this.#index = new SessionIndex(parts.store, this.#reader, this.#ending, parts);
  }

  /** The session of a request, from the tokens that came with it. No I/O. */
  open(tokens: readonly string[], client?: RequestingClient): LiveSession {
    const { store, signer, onRejected } = this.parts;
    // What a connection once brought is not what its client has by now: that one is not in reach.
    if (client && !client.connected && isCarried(store))
      return this.#openCarried(store.receive(tokens, client), client);
    const verified = chosenToken(tokens, signer, onRejected);
    const state = this.#newState(verified ? { id: verified.id } : {});
    state.staleToken = verified?.stale ?? false;
    state.copies.seen = state.copies.told = verified?.seen;
    return this.#liveFor(state, client);
  }

  /** What is carried is the store of its request: a manager over that does with it as with any other. */
  #openCarried(carriage: SessionCarriage, client: RequestingClient): LiveSession {
    const state = this.#newState({ id: carriage.id });
    carriage.serve(() => state.id, this.parts.onRejected);
    state.carriage = carriage;
    return new SessionManager({ ...this.parts, store: carriage }).#liveFor(state, client);
  }

  #liveFor(state: SessionState, client: RequestingClient | undefined): LiveSession {
    state.client = client;
    state.provesDevice = client?.proves;
    const { binding } = this.parts;
    if (binding && client) state.bind = () => binding.of(client.traits());
    return new LiveSession(state, this);
  }

  /** A session by its id; `undefined` if there is none. Does not count as activity. */
  async openById(id: string): Promise<Session | undefined> {
    return isSessionId(id) ? this.#openStored({ id }) : undefined;
  }

  /** Under which handle a session is by now, and whose; `undefined`: it is over. Does not count as activity. */
  async whereIs(from: string): Promise<SessionWhereabouts | undefined> {
    const { handle, record } = (await follow(from, this.parts, this.#reader)) ?? {};
    const { realm, absoluteEnd, identity } = record?.header ?? {};
    if (handle === undefined || absoluteEnd === undefined) return undefined;
    if (realm !== this.parts.realm || absoluteEnd <= this.now()) return undefined;
    return { handle, principal: identity?.principal };
  }

  /** A session by its handle; `undefined` if there is none. Does not count as activity. */
  async openByHandle(handle: string): Promise<Session | undefined> {
    return isHandle(handle) ? this.#openStored({ handle }) : undefined;
  }

  /**
   * Names a stored session to other services.
   *
   * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) if it is not stored as the one's whose it is now
   */
  referenceOf(session: LiveSession): string {
    mustReach(this.parts.store);
    const { record, storedHandle, identity } = LiveSession.stateOf(session);
    const owner = this.#ownerOf(record?.header.identity);
    if (!session.isNew && owner === this.#ownerOf(identity)) {
      return this.parts.signer.references.make(storedHandle, owner);
    }
    throw new SessionUnavailableError(
      'Others cannot find a session that is not stored yet: `await session.save()` before you refer to it.',
    );
  }

  /**
   * The session that a reference names, loaded; without one, or if that is over, one without contents. Does
   * not count as activity.
   */
  async openReference(
    text: string | undefined,
    client: RequestingClient,
    onStoreFailure?: StoreFailurePolicy,
  ): Promise<LiveSession> {
    const { signer, records } = this.parts;
    const reference = text === undefined ? undefined : signer.references.read(text);
    if (!reference) {
      if (text !== undefined) this.parts.onRejected?.('malformed');
      return this.open([], client);
    }
    const how = { client, onStoreFailure };
    const session = await this.#openReferred(reference, reference.handle, how);
    if (session) return session;
    // A pointer that nobody vouches for may have been put there by who has the store, but not its keys.
    const follows = reference.proven || !records.sealed;
    const from = reference.handle;
    const found = follows ? await follow(from, this.parts, this.#reader) : undefined;
    const handle = found?.handle;
    const moved = handle !== undefined && handle !== from;
    return (moved && (await this.#openReferred(reference, handle, how))) || this.open([], client);
  }

  /** The token of a session id, for the transport. */
  tokenOf(id: string, seen?: number): string {
    return this.parts.signer.sign(id, seen);
  }

  /** The ids of tokens, without those that do not prove right. */
  idsOf(tokens: readonly string[]): string[] {
    const looked = tokens.slice(0, MAX_TOKENS).map((token) => this.parts.signer.verify(token)?.id);
    return [...new Set(looked.filter((id) => id !== undefined))];
  }

  /** When a session that begins now ends at the latest, in milliseconds since the epoch. */
  latestEnd(): number {
    const now = this.now();
    const { lifetime } = this.parts;
    return Math.max(lifetime.absoluteEnd(now), lifetime.absoluteEnd(now, true));
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

  /** Whether sessions are tied to their clients. */
  get bindsClients(): boolean {
    return this.parts.binding !== undefined;
  }

  /** How far the client of a request is the one that its session began with. */
  bindingOf({ mismatches }: SessionState): BindingReport {
    const { binding } = this.parts;
    const reauthenticate = mismatches.length > 0 && binding?.onMismatch === 'reauthenticate';
    return { score: binding?.score(mismatches) ?? 0, mismatches, reauthenticate };
  }

  /** A session was brought by another device than its own. */
  refuseDevice(state: SessionState): void {
    this.parts.onRejected?.('unproven', state.storedHandle);
  }

  /** What came as a session, or along with one, was refused by somebody else. */
  rejected(reason: RejectionReason, handle?: string): void {
    this.parts.onRejected?.(reason, handle);
  }

  /** Ends the session of a handle; `false` if there was none. */
  async revoke(handle: string): Promise<boolean> {
    return isHandle(handle) && this.#ending.end(handle, { revoked: 'named' });
  }

  /** Starts the idle window of a handle anew; `false` if there is no such session. */
  async touchHandle(handle: string): Promise<boolean> {
    const { store, lifetime, clock } = this.parts;
    const record = isHandle(handle) ? await this.#reader.read(handle) : undefined;
    if (!record) return false;
    return store.touch(handle, lifetime.timeToLive(clock.now(), record.header.absoluteEnd, handle));
  }

  /** What outages of the store have cost so far. */
  counters(): OutageCounters {
    return { ...(this.parts.tally ?? newTally()) };
  }

  /** What the copies on this node have saved so far; `undefined`: none are kept. */
  nearCache(): NearCacheFigures | undefined {
    return this.parts.nearCache?.figures;
  }

  count(): Promise<number> {
    return this.parts.store.count();
  }

  /**
   * Whether a login goes on under an id that another request has got just now, and this one did not come
   * with: by `elevate`, for example.
   */
  async goesOnElsewhere(session: LiveSession): Promise<boolean> {
    const { supersededBy, supersededLogin, carriage } = LiveSession.stateOf(session);
    if (supersededBy === undefined || !supersededLogin) return false;
    return carriage ? true : (await this.#reader.read(handleOf(supersededBy))) !== undefined;
  }

  /** What can be done with all sessions of a principal; `current` tells the handle of the one that asks. */
  forPrincipal(principal: string, current: () => string | undefined): PrincipalSessions {
    const { lifetime } = this.parts;
    return new PrincipalSessions(principal, {
      index: this.#index,
      records: this.parts.records,
      lifetime,
      now: this.now,
      current,
    });
  }

  /** Sessions by a declared index or by `idpSession`, whoever's they are. */
  async findBy(
    query: SessionQuery,
    limit: number,
    current: () => string | undefined,
  ): Promise<ListedSession[]> {
    const { records, lifetime } = this.parts;
    const parts = { records, lifetime, now: this.now, current };
    const found = await this.#index.find(query, limit);
    return found.flatMap((placed) => listed(placed, parts) ?? []);
  }

  /** Ends sessions by a declared index or by `idpSession`. */
  revokeBy(query: SessionQuery): Promise<number> {
    return this.#index.endWhere(query);
  }

  /** Ends the sessions of all principals. */
  revokeAllPrincipals(): Promise<number> {
    return this.#index.endAllPrincipals();
  }

  /** Says what is told of these sessions; `undefined`: nothing is. */
  get news(): SessionNews | undefined {
    return this.parts.news;
  }

  /** Milliseconds since the epoch. */
  readonly now = (): number => this.parts.clock.now();

  get tokens(): TokenMaking | undefined {
    return this.parts.tokens;
  }

  load(state: SessionState): Promise<void> {
    return this.#steps.load(state, () => this.#reader.load(state));
  }

  use(state: SessionState): Promise<void> {
    return this.#reader.use(state);
  }

  reload(state: SessionState): Promise<void> {
    return this.#reader.reload(state);
  }

  touch(state: SessionState): Promise<void> {
    return this.#steps.touch(() => this.#reader.touch(state));
  }

  confirm(state: SessionState): Promise<void> {
    return this.#reader.confirm(state);
  }

  /** Whether the store keeps copies on this node. */
  get keepsCopies(): boolean {
    return this.parts.nearCache !== undefined;
  }

  commit(state: SessionState, options?: SaveSessionOptions): Promise<boolean> {
    return this.#steps.commit(() => this.#writer.commit(state, options));
  }

  #newState(origin: { id?: string; handle?: string }): SessionState {
    const now = this.parts.clock.now();
    const { lifetime, codec } = this.parts;
    const state = new SessionState(codec, now, lifetime.absoluteEnd(now), origin);
    state.idleEnd = now + lifetime.idleTimeout();
    state.onStoreFailure = this.parts.onStoreFailure ?? 'reject';
    return state;
  }

  async #openReferred(
    reference: ReadReference,
    handle: string,
    how: { client: RequestingClient; onStoreFailure?: StoreFailurePolicy | undefined },
  ): Promise<LiveSession | undefined> {
    const state = this.#newState({ handle });
    state.passive = true;
    state.client = how.client;
    if (how.onStoreFailure) state.onStoreFailure = how.onStoreFailure;
    await this.load(state);
    const isTheirs = state.record && reference.isOf(this.#ownerOf(state.identity));
    const isUnknown = state.outage === 'anonymous';
    return isTheirs || isUnknown ? new LiveSession(state, this) : undefined;
  }

  /** Whose session it is, and of what name. */
  #ownerOf(identity: SessionIdentity | undefined): string {
    const { realm = null } = this.parts;
    return JSON.stringify([realm, identity?.principal ?? null, identity?.actor?.principal ?? null]);
  }

  async #openStored(origin: { id: string } | { handle: string }): Promise<Session | undefined> {
    const state = this.#newState(origin);
    state.passive = true;
    // Who asks outside of a request gets an answer or an error.
    state.onStoreFailure = 'reject';
    await this.load(state);
    return state.record && new LiveSession(state, this);
  }
}
