import type { BindingReport } from './session-binding.js';
import type { DeviceStatus } from './session-device.js';
import type {
  AuthenticateOptions,
  SaveSessionOptions,
  Session,
  SessionData,
  SessionKey,
  SessionTokenOptions,
  SessionValue,
  SwitchPrincipalOptions,
} from './session.js';
import {
  SessionDeviceError,
  SessionEndedError,
  SessionNotLoadedError,
  SessionRequiredError,
  SessionStepUpError,
  SessionStoreUnavailableError,
  SessionUnavailableError,
} from './session.errors.js';
import type { SessionIdentity } from './session-identity.js';
import {
  authentication,
  elevation,
  REGENERATE,
  SWITCH_BACK,
  switchTo,
  type Renewal,
} from './session-renewal.js';
import type { SessionChanges } from './session-changes.js';
import type { SessionState } from './session-state.js';
import { copyOf } from './shared-data.js';
import { issueToken, noTokens, type TokenMaking } from './session-token.js';

/** Who reads and writes the store for a live session: the manager. */
export interface SessionKeeper {
  load(state: SessionState): Promise<void>;
  commit(state: SessionState, options?: SaveSessionOptions): Promise<boolean>;
  touch(state: SessionState): Promise<void>;
  reload(state: SessionState): Promise<void>;
  confirm(state: SessionState): Promise<void>;
  use(state: SessionState): Promise<void>;
  bindingOf(state: SessionState): BindingReport;
  /** `undefined`: there are no short tokens. */
  readonly tokens: TokenMaking | undefined;
}

/** The face of a session's state. Marks intent and hands over contents; decides nothing. */
export class LiveSession implements Session {
  readonly #state: SessionState;
  readonly #keeper: SessionKeeper;
  #owned: WeakMap<object, object> | undefined;

  constructor(state: SessionState, keeper: SessionKeeper) {
    this.#state = state;
    this.#keeper = keeper;
  }

  /** The state behind a live session, for the corridor and the tests of this library. */
  static stateOf(session: LiveSession): SessionState {
    return session.#state;
  }

  get id(): string {
    const { id } = this.#state;
    if (id !== undefined) return id;
    throw new SessionUnavailableError(
      'A session found by its handle does not tell its id: use `handle`.',
    );
  }

  get handle(): string {
    return this.#state.handle;
  }

  get outage(): 'anonymous' | 'stale' | undefined {
    return this.#state.outage;
  }

  get isNew(): boolean {
    return !this.#loaded.record;
  }

  get principal(): string | undefined {
    return this.#identity?.principal;
  }

  get roles(): readonly string[] {
    return this.#own(this.#identity?.roles ?? []);
  }

  get permissions(): readonly string[] {
    return this.#own(this.#identity?.permissions ?? []);
  }

  get claims(): Readonly<Record<string, unknown>> {
    return this.#own(this.#identity?.claims ?? {});
  }

  get factors(): Readonly<Record<string, number>> {
    return this.#own(this.#identity?.factors ?? {});
  }

  get actor(): string | undefined {
    return this.#identity?.actor?.principal;
  }

  get label(): string | undefined {
    return this.#identity?.label;
  }

  get rememberMe(): boolean {
    return this.#loaded.nextIsLasting;
  }

  get binding(): BindingReport {
    return this.#keeper.bindingOf(this.#loaded);
  }

  get device(): DeviceStatus | undefined {
    return this.#loaded.device;
  }

  get createdAt(): number {
    return this.#loaded.createdAt;
  }

  get authenticatedAt(): number | undefined {
    return this.#identity?.authenticatedAt;
  }

  get lastAccessedAt(): number {
    return this.#loaded.lastAccessedAt;
  }

  get expiresAt(): number {
    return this.#loaded.expiresAt;
  }

  get data(): SessionData & Record<string, unknown> {
    return this.#loaded.changes.data as SessionData & Record<string, unknown>;
  }

  get<K extends SessionKey>(key: K): SessionValue<K> | undefined {
    return this.#loaded.changes.get(key) as SessionValue<K> | undefined;
  }

  set<K extends SessionKey>(key: K, value: SessionValue<K>): void {
    this.#writable.set(key, value);
  }

  delete(key: SessionKey): void {
    this.#writable.set(key, undefined);
  }

  clear(): void {
    this.#writable.clear();
  }

  increment(key: SessionKey, by = 1): number {
    return this.#writable.update(key, (current) => {
      if (current !== undefined && typeof current !== 'number') {
        throw new TypeError(`increment("${key}"): the attribute is not a number`);
      }
      return (current ?? 0) + by;
    }) as number;
  }

  update<K extends SessionKey>(
    key: K,
    fn: (current: SessionValue<K> | undefined) => SessionValue<K> | undefined,
  ): SessionValue<K> | undefined {
    const compute = fn as (current: unknown) => unknown;
    return this.#writable.update(key, compute) as SessionValue<K> | undefined;
  }

  flash(key: string, message: unknown): void;
  flash(key: string): unknown[];
  flash(key: string, ...message: unknown[]): unknown[] | void {
    if (message.length === 0) return this.#writable.takeFlash(key);
    this.#writable.leaveFlash(key, message[0]);
  }

  async load(): Promise<this> {
    if (!this.#state.loaded) await this.#keeper.load(this.#state);
    return this;
  }

  /** Its client uses it, which was not known when it was loaded. */
  async use(): Promise<void> {
    await this.#keeper.use(this.#state);
  }

  /** Reads the session from the store, if it was served from a copy; what was changed stays so. */
  async confirm(): Promise<void> {
    await this.#keeper.confirm(this.#state);
  }

  /** Reads the session again, and gives up what was changed; for express-session's `reload`. */
  async reload(): Promise<void> {
    await this.#keeper.reload(this.#state);
  }

  async authenticate(principal: string, options: AuthenticateOptions = {}): Promise<void> {
    await this.#renew(() => authentication(principal, options, this.#state.client?.describe()));
  }

  async elevate(factor: string): Promise<void> {
    await this.#renew(() => elevation(factor), { ofSomebody: true });
  }

  async switchPrincipal(principal: string, options: SwitchPrincipalOptions = {}): Promise<void> {
    const renewal = switchTo(principal, options);
    // From beside the actor's other sessions: there a trace stays of whom they act as.
    await this.switchBack();
    if (this.#state.renewal) await this.save();
    await this.#renew(() => renewal, { ofSomebody: true });
  }

  async switchBack(): Promise<void> {
    await this.load();
    if (this.actor !== undefined) await this.#renew(() => SWITCH_BACK);
  }

  async regenerate(): Promise<void> {
    await this.#renew(() => REGENERATE);
  }

  async destroy(): Promise<void> {
    // It is to end whatever is in it: while that cannot be read, it is tried all the same.
    this.#state.onStoreFailure = 'anonymous';
    await this.load();
    this.#state.destroyed = true;
  }

  async save(options?: SaveSessionOptions): Promise<boolean> {
    return this.#keeper.commit(this.#state, options);
  }

  async touch(): Promise<void> {
    await this.#keeper.touch(this.#state);
  }

  async token(options: SessionTokenOptions): Promise<string> {
    const { tokens } = this.#keeper;
    if (!tokens) throw noTokens();
    await this.load();
    // Others believe it for minutes: no copy that may be out of date will do.
    await this.confirm();
    if (this.device === 'unproven') throw new SessionDeviceError();
    if (this.binding.reauthenticate) {
      throw new SessionStepUpError('The session was brought by another client: log in again.', {
        maxAge: 0,
      });
    }
    // It names the session by its id: by the one that it keeps.
    if (this.#state.renewal?.kind === 'regenerate' && !this.#state.destroyed) await this.save();
    return issueToken(this.#state, tokens, options);
  }

  /** What a handler that returns its session answers, and a logger prints: nothing that can be used. */
  toJSON(): object {
    const { loaded, ended, destroyed } = this.#state;
    if (!loaded) return { loaded };
    const { handle, principal, createdAt, expiresAt } = this;
    return { handle, principal, createdAt, expiresAt, ended: ended || destroyed };
  }

  [Symbol.for('nodejs.util.inspect.custom')](): object {
    return { Session: this.toJSON() };
  }

  get #loaded(): SessionState {
    if (!this.#state.loaded) throw new SessionNotLoadedError();
    return this.#state;
  }

  get #writable(): SessionChanges {
    if (this.#state.destroyed || this.#state.ended) throw new SessionEndedError();
    this.#state.abandoned = false;
    return this.#loaded.changes;
  }

  get #identity(): SessionIdentity | undefined {
    // A stolen cookie says nothing of whose session it is.
    return this.device === 'unproven' ? undefined : this.#loaded.identity;
  }

  /**
   * A copy of what may be shared with other requests, always the same one: whoever gets it may sort it, say. Nobody else sees
   * that, and it is not stored.
   */
  #own<T extends object>(shared: T): T {
    const owned = (this.#owned ??= new WeakMap<object, object>());
    const known = owned.get(shared) ?? (copyOf(shared) as object);
    owned.set(shared, known);
    return known as T;
  }

  async #renew(by: () => Renewal, { ofSomebody = false } = {}): Promise<void> {
    const renewal = by();
    await this.load();
    if (this.#state.destroyed || this.#state.ended) throw new SessionEndedError();
    if (this.#state.id === undefined) {
      throw new SessionUnavailableError(
        'A session found by its handle cannot get a new id: only a request of its client can.',
      );
    }
    const { takesNoId } = this.#state.client ?? {};
    if (takesNoId !== undefined) throw new SessionUnavailableError(takesNoId);
    if (ofSomebody && this.device === 'unproven') throw new SessionDeviceError();
    if (ofSomebody && !this.#identity) {
      if (this.outage === undefined) throw new SessionRequiredError();
      // Whether somebody is logged in is not known.
      this.#state.unavailable = true;
      throw new SessionStoreUnavailableError('outage');
    }
    this.#state.renew(renewal);
  }
}
