import { FakeClock } from 'nestjs-distributed-session/testing';
import { jsonSessionCodec } from '../../lib/core/json-session.codec.js';
import { LiveSession } from '../../lib/core/live-session.js';
import { SessionLifetime } from '../../lib/core/session-lifetime.js';
import { SessionRecords } from '../../lib/core/session-records.js';
import { SessionManager, type SessionManagerParts } from '../../lib/core/session-manager.js';
import type {
  CreateOptions,
  IndexedSessionStore,
  LoadOptions,
  PlaceLimit,
  PlaceRange,
  ReplaceOptions,
  SaveOptions,
  SaveOutcome,
  SessionStore,
} from '../../lib/core/session-store.interface.js';
import { Keyring } from '../../lib/security/keyring.js';
import { HmacSessionIdSigner } from '../../lib/security/session-id.signer.js';
import { MemorySessionStore } from '../../lib/stores/memory/memory-session.store.js';

export const MINUTE = 60_000;
export const HOUR = 60 * MINUTE;

/** Writes down what a store is asked for, and lets a test step in before it answers. */
export class WatchedStore implements SessionStore {
  /** Verbs in the order in which they were called; a load that touches is `load+touch`. */
  calls: string[] = [];
  /** Runs before the next call of a verb, once. */
  readonly before = new Map<string, () => unknown>();

  constructor(private readonly store: SessionStore) {}

  load(handle: string, options: LoadOptions = {}) {
    const verb = options.touch === undefined ? 'load' : 'load+touch';
    return this.call(verb, () => this.store.load(handle, options));
  }

  create(handle: string, value: string, options: CreateOptions): Promise<boolean> {
    return this.call('create', () => this.store.create(handle, value, options));
  }

  save(handle: string, value: string, options: SaveOptions): Promise<SaveOutcome> {
    return this.call('save', () => this.store.save(handle, value, options));
  }

  touch(handle: string, ttl: number): Promise<boolean> {
    return this.call('touch', () => this.store.touch(handle, ttl));
  }

  delete(handle: string, leaves?: readonly string[]): Promise<string | undefined> {
    return this.call('delete', () => this.store.delete(handle, leaves));
  }

  count(): Promise<number> {
    return this.store.count();
  }

  ping(): Promise<void> {
    return this.store.ping();
  }

  /** The calls since the last time. */
  take(): string[] {
    const { calls } = this;
    this.calls = [];
    return calls;
  }

  protected async call<T>(verb: string, ask: () => Promise<T>): Promise<T> {
    this.calls.push(verb);
    const stepIn = this.before.get(verb);
    this.before.delete(verb);
    const answer: unknown = await stepIn?.();
    return answer === undefined ? ask() : (answer as T);
  }
}

/** The same, with the verbs of a store that keeps indexes. */
export class WatchedIndexedStore extends WatchedStore implements IndexedSessionStore {
  constructor(private readonly indexed: MemorySessionStore) {
    super(indexed);
  }

  admit(handle: string, value: string, options: CreateOptions & { limit: PlaceLimit }) {
    return this.call('admit', () => this.indexed.admit(handle, value, options));
  }

  replace(handle: string, value: string, options: ReplaceOptions) {
    return this.call('replace', () => this.indexed.replace(handle, value, options));
  }

  list(bucket: string, place: string, range: PlaceRange) {
    return this.call('list', () => this.indexed.list(bucket, place, range));
  }

  countIn(bucket: string, place: string) {
    return this.call('countIn', () => this.indexed.countIn(bucket, place));
  }

  endIn(bucket: string, place: string, except?: string) {
    return this.call('endIn', () => this.indexed.endIn(bucket, place, except));
  }

  placesOf(index: string) {
    return this.indexed.placesOf(index);
  }
}

export interface WorldOptions extends Partial<SessionManagerParts> {
  idleTimeout?: number;
  absoluteTimeout?: number;
  touchAfter?: number;
  secrets?: string[];
  /** The store keeps indexes. */
  indexed?: boolean;
}

/** One store, a clock that the test moves, and as many nodes over them as it wants. */
export class World {
  readonly clock = new FakeClock();
  /** The store itself, for looks that are not written down. */
  readonly inner = new MemorySessionStore(this.clock, { maxSessions: 500 });
  readonly store: WatchedStore;
  readonly rejected: string[] = [];
  readonly manager: SessionManager;

  constructor(private readonly options: WorldOptions = {}) {
    this.store = options.indexed
      ? new WatchedIndexedStore(this.inner)
      : new WatchedStore(this.inner);
    this.manager = this.node();
  }

  /** Another process: it shares the store only. */
  node(more: WorldOptions = {}): SessionManager {
    const options = { ...this.options, ...more };
    const { idleTimeout = 30 * MINUTE, absoluteTimeout = 24 * HOUR, touchAfter = MINUTE } = options;
    return new SessionManager({
      records: new SessionRecords(),
      store: this.store,
      codec: jsonSessionCodec,
      signer: new HmacSessionIdSigner(new Keyring(options.secrets ?? [])),
      lifetime: new SessionLifetime({ idleTimeout, absoluteTimeout, touchAfter }),
      clock: this.clock,
      maxBytes: 65_536,
      grace: 30_000,
      onRejected: (reason) => this.rejected.push(reason),
      ...options,
    });
  }

  /** A browser: it keeps the token that it is given. */
  browser(token?: string): Browser {
    return new Browser(this.manager, token);
  }

  live(): Promise<number> {
    return this.inner.count();
  }
}

export class Browser {
  constructor(
    private readonly manager: SessionManager,
    public token?: string,
  ) {}

  /** A request that has arrived; `finish` is its end. */
  async arrive({ passive = false, on = this.manager } = {}): Promise<LiveSession> {
    const session = on.open(this.token === undefined ? [] : [this.token]);
    stateOf(session).passive = passive;
    return session.load();
  }

  /** What the corridor does before the headers leave, and the browser with what they say. */
  async finish(session: LiveSession): Promise<LiveSession> {
    const state = stateOf(session);
    if (state.mayNeedCommit) await session.save();
    if (state.tokenChange === 'set') this.token = this.manager.tokenOf(session.id);
    if (state.tokenChange === 'clear') this.token = undefined;
    return session;
  }

  /** A whole request. */
  async visit(
    handle: (session: LiveSession) => unknown = () => undefined,
    options: { passive?: boolean; on?: SessionManager } = {},
  ): Promise<LiveSession> {
    const session = await this.arrive(options);
    await handle(session);
    return this.finish(session);
  }
}

export const stateOf = (session: LiveSession) => LiveSession.stateOf(session);
