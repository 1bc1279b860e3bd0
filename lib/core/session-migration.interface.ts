import type { Clock } from './clock.js';
import type { LiveSession } from './live-session.js';
import type { MigrationFigures } from './migration-figures.js';
import type { SessionCodec } from './session-codec.interface.js';
import type { TransportRequest, TransportResponse } from './session-id-transport.interface.js';
import type { SessionManager } from './session-manager.js';
import type { SessionState } from './session-state.js';
import type { SessionStore } from './session-store.interface.js';

/** What a migration is told of the sessions that it leads to. */
export interface MigrationParts {
  /** The option `redis`, for a migration that has none of its own. */
  readonly redis: unknown;
  readonly clock: Clock;
  readonly codec: SessionCodec;
  /** Idle windows are moved at most this often, in milliseconds. */
  readonly touchAfter: number;
  /** How the cookie of these sessions is sent: that of the others is sent as it, unless it is told otherwise. */
  readonly cookie: {
    readonly domain?: string | undefined;
    readonly path: string;
    readonly sameSite: 'lax' | 'strict' | 'none';
    readonly secure: boolean | 'auto';
  };
  readonly onTrouble: (message: string) => void;
}

/** Sessions that another library began, and how they go on here. */
export interface SessionMigration {
  /** What was done on this node since it started; for metrics. */
  readonly figures: MigrationFigures;
  /** Opens what it needs, once, before the first request. */
  begin(parts: MigrationParts): Promise<void>;
  /** The same store; what ends there ends in the other library as well. */
  before<Store extends SessionStore>(store: Store): Store;
  /** Who reads and writes the sessions of that store. */
  attach(manager: SessionManager): void;
  /** What becomes of one request; `undefined`: the other library has nothing to do with it. No I/O. */
  visit(request: TransportRequest, session: LiveSession): MigrationVisit | undefined;
  /** Gives back what it opened. */
  close(): Promise<void>;
}

/** One request, and the session of another library that it may have brought. */
export interface MigrationVisit {
  /** What the application is to use instead of the session that was opened. */
  readonly session: LiveSession;
  /** A browser has sent a token of the other library by itself. */
  readonly brings: boolean;
  /** Tells the client what became of that token; `true` if anything. */
  answer(state: SessionState, response: TransportResponse): boolean;
}
