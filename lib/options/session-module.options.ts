import type { MiddlewareConsumer, Type } from '@nestjs/common';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Clock } from '../core/clock.js';
import type { Duration } from '../core/duration.js';
import type { SessionCodec } from '../core/session-codec.interface.js';
import type { SessionIdTransport } from '../core/session-id-transport.interface.js';
import type { SessionStore } from '../core/session-store.interface.js';
import type { RedisClient, RedisConnectionOptions } from '../stores/redis/redis-client.js';

type Middleware = ReturnType<MiddlewareConsumer['apply']>;

/** Routes as Nest's `MiddlewareConsumer` takes them. */
export type SessionRoutes = Parameters<Middleware['forRoutes']>;
/** Excluded routes as Nest's `MiddlewareConsumer` takes them. */
export type ExcludedRoutes = Parameters<Middleware['exclude']>;

/** The session cookie. It is always HttpOnly. */
export interface SessionCookieOptions {
  /** @default '__Host-session', or 'session' where `secure` is not `true` */
  name?: string;
  /** Hosts that get the cookie besides the one that set it. @default none: this host only */
  domain?: string;
  /** @default '/' */
  path?: string;
  /** @default 'lax' */
  sameSite?: 'lax' | 'strict' | 'none';
  /**
   * Whether the browser may send it over plain http. `'auto'`: Secure exactly on encrypted requests,
   * as far as the adapter trusts the proxy's `X-Forwarded-Proto`.
   *
   * @default true
   */
  secure?: boolean | 'auto';
  /** One cookie for each top-level site (CHIPS); for embedded applications. @default false */
  partitioned?: boolean;
  /** What browsers drop last. @default none */
  priority?: 'low' | 'medium' | 'high';
  /**
   * Keep the cookie until the absolute end of the session, instead of until the browser is closed.
   *
   * @default false
   */
  persistent?: boolean;
}

/** How the token travels. */
export type TransportName = 'cookie' | 'x-auth-token' | 'authorization';

/** What `SessionModule.forRoot` takes. Everything has a default; everything is checked at boot. */
export interface SessionModuleOptions {
  /**
   * Redis: a URL, ioredis options (with `url` if you like), or a client of ioredis 5, ioredis 6 or
   * iovalkey. A client that is handed in is never closed.
   *
   * @default none: sessions are kept in this process, refused with `NODE_ENV=production` unless `store: 'memory'` says so
   */
  redis?: string | RedisConnectionOptions | RedisClient;
  /** Where sessions live: `'memory'`, or a store of your own. @default Redis if `redis` is given */
  store?: 'memory' | SessionStore;
  /**
   * Boot although the store does not answer, and answer 503 until it does.
   *
   * @default false: booting fails within about two seconds
   */
  bootWithoutStore?: boolean;
  /** A session ends when it was not used for this long. @default '30m' */
  idleTimeout?: Duration;
  /** A session ends after this long however active it is; authentication begins it anew. @default '24h' */
  absoluteTimeout?: Duration;
  /**
   * The idle window is moved at most this often on each node: a session may end this much earlier
   * than `idleTimeout` says. Smaller costs more writes in Redis, never more commands.
   *
   * @default the smaller of '60s' and a tenth of `idleTimeout`
   */
  touchAfter?: Duration;
  /** For how long requests in flight with a regenerated id reach its successor. @default '30s' */
  regenerateGrace?: Duration;
  /** First part of every key in Redis. @default 'sess' */
  keyPrefix?: string;
  /**
   * Signs tokens, so that a forged one is refused without asking the store. Of a list, the first signs
   * and all verify. At least 32 characters each.
   *
   * @default none: tokens are 256 random bits, looked up in the store
   */
  secret?: string | readonly string[];
  /** The session cookie. */
  cookie?: SessionCookieOptions;
  /**
   * How the token travels; of a list the first that brings one counts, and the answer goes back the
   * same way. `'x-auth-token'`: that header, both ways. `'authorization'`: `Authorization: Session …`
   * in, `Authentication-Info` out.
   *
   * @default 'cookie'
   */
  transport?: TransportName | SessionIdTransport | readonly (TransportName | SessionIdTransport)[];
  /**
   * What the data must look like: a class with class-validator decorators, or a Standard Schema (zod,
   * valibot, arktype …). Checked before anything is written.
   */
  schema?: Type<object> | StandardSchemaV1;
  /** Largest session in the store, in bytes. @default 65536 */
  maxBytes?: number;
  /** How data becomes text. @default JSON */
  codec?: SessionCodec;
  /** Where the time comes from; for tests. @default the machine's clock */
  clock?: Clock;
  /**
   * `'eager'` reads the session of every request that brings a token before other middleware runs; for
   * middleware that reads `req.session`, such as passport. `'lazy'` reads it where it is used.
   *
   * @default 'lazy'
   */
  loading?: 'lazy' | 'eager';
  /** Only these routes have a session. @default all */
  forRoutes?: SessionRoutes;
  /** These routes have none. @default none */
  exclude?: ExcludedRoutes;
}

/** For `forRootAsync({ useClass | useExisting })`. */
export interface SessionModuleOptionsFactory {
  createSessionOptions(): SessionModuleOptions | Promise<SessionModuleOptions>;
}
