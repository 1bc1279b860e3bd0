import type { Clock } from './clock.js';
import type { RejectionListener } from './rejection.js';
import type { RequestingClient } from './session-binding.js';
import type { SessionCodec } from './session-codec.interface.js';
import type { SessionStore } from './session-store.interface.js';
import { SessionStoreCannotError } from './session.errors.js';

/** What sessions that clients carry are told at boot. */
export interface CarriedContext {
  readonly clock: Clock;
  readonly secrets: readonly string[];
  /** What tells these sessions from all others: a token of others is none of these. */
  readonly realm: string;
  readonly keyPrefix: string;
  readonly codec: SessionCodec;
  /** Largest session, in bytes, before it is compressed. */
  readonly maxBytes: number;
  /** Characters of a token that fit into the cookies that there may be. */
  readonly capacity: number;
  /** How long a session of this node can live at most, in milliseconds: one of longer timeouts ends by then. */
  readonly longestLife: (lasting: boolean) => number;
  /** Go on although the list of what was revoked does not answer. */
  readonly bootWithoutStore: boolean;
  readonly onTrouble: (message: string) => void;
}

/** What a client carries of one session, in the course of one request: the store of that request. */
export interface SessionCarriage extends SessionStore {
  /** Of the session that was brought; `undefined`: none was. */
  readonly id: string | undefined;
  /**
   * Once, before anything else.
   *
   * @param idInForce the id that the session of the request has, or is going to have: the client is given it
   * @param onRejected told of what came and is no session
   */
  serve(idInForce: () => string | undefined, onRejected?: RejectionListener): void;
  /** What the client is to keep from now on; `undefined`: what it has. */
  tokenOf(handle: string): string | undefined;
}

/** What is known about sessions that clients carry before the application starts. */
export interface CarriedTraits {
  /** For the log. */
  readonly form: string;
  /** Cookies that one session may take. */
  readonly maxCookies: number;
  /** It cannot do without the option `secret`. */
  readonly needsSecret: boolean;
  /** What was ended is refused, wherever a copy of it is. */
  readonly isRevocable: boolean;
  /** But only by this process, and until it ends. */
  readonly isForgetful: boolean;
}

/** A store that keeps nothing: clients carry their sessions, and requests bring them. */
export interface CarriedSessionStore extends SessionStore {
  readonly carries: CarriedTraits;
  /** As the application made it; another one is opened from it for each name of sessions. */
  readonly origin: CarriedSessionStore;
  /** At boot, before anything else. */
  open(context: CarriedContext): Promise<CarriedSessionStore>;
  /** What came with a request. No I/O. */
  receive(tokens: readonly string[], client: RequestingClient): SessionCarriage;
}

/** Whether sessions are carried by their clients. */
export const isCarried = (store: unknown): store is CarriedSessionStore =>
  typeof (store as Partial<CarriedSessionStore> | undefined)?.receive === 'function';

/** @throws SessionStoreCannotError (`SESSION_UNAVAILABLE`) if there is nothing to be found outside of a request */
export function mustReach(store: SessionStore): void {
  if (store.abilities?.reachable === false) throw new SessionStoreCannotError(NOT_REACHABLE);
}

/** Why there is no session to be found, and what to do instead. */
export const NOT_REACHABLE =
  'a session is in the hands of its client, and is there in HTTP requests of that client only: not in a job, a message or over a socket; use a store on the server for that';
