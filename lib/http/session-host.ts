import type { IncomingMessage, ServerResponse } from 'node:http';
import { LiveSession } from '../core/live-session.js';
import { SessionOptionsError, SessionUnavailableError } from '../core/session.errors.js';
import type { ResolvedSessionOptions } from '../options/resolve-session-options.js';
import type { DeviceEndpoint } from './device-endpoint.js';
import { endOfTurn } from './end-of-turn.js';
import { ExpressSessionViews } from './express-session-view.js';
import { OpenConnection } from './open-connection.js';
import { PlainRequest, type IncomingRequest } from './raw-transport-request.js';
import { gateResponse } from './response-gate.js';
import { corridorOf, enterCorridor, SessionCorridor } from './session-corridor.js';
import { toHttpException } from './session-http.exception.js';
import type { SessionLaneParts } from './session-lane.js';

type Next = (error?: unknown) => void;

const CONNECTION = Symbol('session connection');

type RawUpgrade = IncomingMessage & { [CONNECTION]?: OpenConnection };

/** What both adapters have in common: how a request gets its session. */
export class SessionHost {
  readonly #views: ExpressSessionViews;
  readonly #eager: boolean;
  #asksForAddress: boolean;
  /** Which routes have a session is decided by Nest's own middleware matching. */
  readonly routed: boolean;
  /** What the adapter makes of a request that it was not given. */
  readHandshake: (raw: IncomingMessage) => IncomingRequest = (raw) => new PlainRequest(raw);
  /** Sessions beside those of `forRoot`. */
  readonly named = new Map<string, SessionLaneParts>();
  /** Prefixes of keys that are taken in the store of `forRoot`. */
  readonly #prefixes: Set<string>;

  constructor(
    readonly main: SessionLaneParts,
    options: Pick<ResolvedSessionOptions, 'cookie' | 'loading' | 'forRoutes' | 'exclude'>,
    keyPrefix: string,
    /** Where browsers prove what devices they are; `undefined`: sessions are bound to none. */
    private readonly devices?: DeviceEndpoint,
  ) {
    this.#prefixes = new Set([keyPrefix]);
    this.#views = new ExpressSessionViews(options.cookie);
    this.#eager = options.loading === 'eager';
    this.routed = options.forRoutes !== undefined || options.exclude !== undefined;
    this.#asksForAddress = main.manager.bindsClients;
  }

  /** Whether the address of a client may be asked for late, when the client may have left. */
  get asksForAddress(): boolean {
    return this.#asksForAddress;
  }

  /**
   * Sessions of another name.
   *
   * @param keyPrefix of their keys, if they are kept in the store of `forRoot`
   * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) if their tokens or keys would be taken for others
   */
  add(lane: SessionLaneParts, keyPrefix: string | undefined): void {
    const name = lane.name as string;
    const others = [this.main, ...this.named.values()];
    const shared = others.flatMap(({ channels }) =>
      channels.filter((one) => lane.channels.includes(one)),
    );
    if (this.named.has(name)) {
      throw new SessionOptionsError([
        `forFeature('${name}') is imported more than once: do it once`,
      ]);
    }
    if (shared.length > 0) {
      const channel = typeof shared[0] === 'string' ? shared[0] : 'a transport of the application';
      throw new SessionOptionsError([
        `forFeature('${name}') and other sessions send their tokens by the same way (${channel}): give it a cookie name or a transport of its own`,
      ]);
    }
    if (keyPrefix !== undefined && this.#prefixes.has(keyPrefix)) {
      throw new SessionOptionsError([
        `forFeature('${name}') and other sessions share the keyPrefix "${keyPrefix}": give it one of its own, or leave it out`,
      ]);
    }
    if (keyPrefix !== undefined) this.#prefixes.add(keyPrefix);
    this.named.set(name, lane);
    this.#asksForAddress ||= lane.manager.bindsClients;
  }

  /** A connection that stays open is about to begin. */
  greet(raw: IncomingMessage): OpenConnection {
    return ((raw as RawUpgrade)[CONNECTION] ??= new OpenConnection(
      this.readHandshake(raw),
      corridorOf(raw)?.arrivedAt ?? this.main.manager.now(),
    ));
  }

  /** Opens the corridor of a request and runs the rest of it inside. */
  enter(
    raw: IncomingMessage,
    response: ServerResponse,
    request: IncomingRequest,
    next: Next,
    onFailure: Next,
  ): void {
    if (corridorOf(raw)) return next();
    const corridor = new SessionCorridor(this, request);
    gateResponse(response, corridor, (error) => onFailure(toHttpException(error)));
    const { devices } = this;
    if (devices?.serves(raw)) {
      return enterCorridor(raw, corridor, () => void devices.serve(corridor, request, response));
    }
    const goOn = this.#eager ? () => loadFirst(corridor, next) : () => next();
    enterCorridor(raw, corridor, () => void endOfTurn().then(goOn));
  }

  /** Some requests are answered here. */
  get hasEndpoint(): boolean {
    return this.devices !== undefined;
  }

  /** Whether a request is answered here, whatever routes have a session. */
  servesItself(raw: IncomingMessage): boolean {
    return this.devices?.serves(raw) ?? false;
  }

  /** `req.session`: the session as express-session would show it. */
  viewOf(request: object): object | undefined {
    const corridor = corridorOf(request);
    return corridor && this.#views.of(corridor.session);
  }

  /** Defines `session` on the prototype of an adapter's requests: no cost for each request. */
  defineSession(prototype: object): void {
    const viewOf = (request: object) => this.viewOf(request);
    Object.defineProperty(prototype, 'session', {
      configurable: true,
      get(this: object) {
        return viewOf(this);
      },
      set() {
        throw new SessionUnavailableError(
          'req.session cannot be replaced: change its properties, or `await session.destroy()`.',
        );
      },
    });
  }
}

/**
 * For middleware that reads `req.session` at once. Whether the route counts as activity is not
 * known yet: the interceptor makes up for it, and what middleware answers by itself counts as none.
 */
function loadFirst({ session }: SessionCorridor, next: Next): void {
  LiveSession.stateOf(session).passive = true;
  session.load().then(
    () => next(),
    (error: unknown) => next(toHttpException(error)),
  );
}
