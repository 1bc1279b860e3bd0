import type { Cluster, Redis } from 'ioredis';
import { toMilliseconds } from '../core/duration.js';
import { LiveSession } from '../core/live-session.js';
import type { MigrationFigures } from '../core/migration-figures.js';
import type { TransportRequest } from '../core/session-id-transport.interface.js';
import type { SessionManager } from '../core/session-manager.js';
import type {
  MigrationParts,
  MigrationVisit,
  SessionMigration,
} from '../core/session-migration.interface.js';
import { PRINCIPAL } from '../core/session-places.js';
import { isIndexed, type SessionStore } from '../core/session-store.interface.js';
import { SessionOptionsError, SessionUnavailableError } from '../core/session.errors.js';
import {
  createRedis,
  isRedisClient,
  toUnavailable,
  type RedisClient,
} from '../stores/redis/redis-client.js';
import { endingWith } from './ending-with.js';
import { LegacyBond, type BondParts } from './legacy-bond.js';
import { LegacyCookies, type LegacyCookieOptions, type LegacyFormat } from './legacy-cookies.js';
import { LegacyMapping } from './legacy-mapping.js';
import { LegacyRedis } from './legacy-redis.js';
import { LegacyVisit, type VisitParts } from './legacy-visit.js';
import { newFigures } from './migration-figures.js';
import { problemsOf, type MigrationOptions } from './migration-options.js';
import { RecentTouches } from './recent-touches.js';

/** What is left to do. */
export interface MigrationRemainder {
  /** Records of the other library that are still there. */
  readonly records: number;
  /** Sessions of this library that go on in one of them as well: they are among the records. */
  readonly linked: number;
}

const EXPRESS: LegacyFormat = {
  library: 'express-session',
  cookieName: 'connect.sid',
  before: 's:',
  endsByRecord: false,
};
const FASTIFY: LegacyFormat = {
  library: '@fastify/session',
  cookieName: 'sessionId',
  before: '',
  endsByRecord: true,
};

/**
 * Sessions that express-session keeps by connect-redis: for the option `migrateFrom` of
 * `SessionModule.forRoot`. Its users stay logged in, and so they do if the old nodes come back.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for wrong options
 * @example
 * SessionModule.forRoot({ redis, migrateFrom: connectRedis({ secrets: process.env.OLD_SECRET }) })
 */
export const connectRedis = (options: MigrationOptions): LegacySessions =>
  new LegacySessions(EXPRESS, options);

/**
 * Sessions that \@fastify/session keeps by the same store, connect-redis: as {@link connectRedis}.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for wrong options
 * @example
 * SessionModule.forRoot({ redis, migrateFrom: fastifySession({ secrets: process.env.OLD_SECRET }) })
 */
export const fastifySession = (options: MigrationOptions): LegacySessions =>
  new LegacySessions(FASTIFY, options);

/** Sessions of one exported at a time. */
const PAGE = 100;
const DAY = 86_400_000;

/**
 * A migration, made by {@link connectRedis} or {@link fastifySession}: what it has done, and what is left. To
 * inject it, provide it: `{ provide: LegacySessions, useValue: migration }`.
 */
export class LegacySessions implements SessionMigration {
  readonly #figures = newFigures();
  readonly #secrets: readonly string[];
  readonly #both: boolean;
  readonly #prefix: string;
  readonly #ttl: number;
  readonly #mapping: LegacyMapping;
  readonly #cookie: LegacyCookieOptions;
  #opened: Redis | Cluster | undefined;
  #old: LegacyRedis | undefined;
  #begun: Omit<BondParts, 'manager' | 'behind'> | undefined;
  #behind: SessionStore | undefined;
  #parts: (VisitParts & BondParts) | undefined;

  /** @internal */
  constructor(
    private readonly format: LegacyFormat,
    private readonly options: MigrationOptions,
  ) {
    const problems = problemsOf(options);
    if (problems.length > 0) throw new SessionOptionsError(problems);
    const { secrets, mode = 'both', prefix = 'sess:', ttl = '24h', cookie = {} } = options;
    this.#secrets = [secrets].flat();
    this.#both = mode === 'both';
    this.#prefix = prefix;
    this.#ttl = toMilliseconds(ttl) as number;
    this.#cookie = typeof cookie === 'string' ? { name: cookie } : cookie;
    this.#mapping = new LegacyMapping(options, this.#both);
  }

  /** What was done on this node since it started; `openTelemetry` makes metrics of it. */
  get figures(): MigrationFigures {
    return { ...this.#figures };
  }

  /**
   * What is left. Walks the key space: for operators, not for each request.
   *
   * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`)
   */
  remaining(): Promise<MigrationRemainder> {
    return this.#redis.count();
  }

  /**
   * Writes a record of the other library for every session of this one in which somebody is logged in and
   * that has none yet, and tells how many. Its browser gets the cookie of the other library with its next request
   * to a node with `mode: 'both'`. Walks the key space: for operators.
   *
   * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) with `mode: 'forward'`, or a store without indexes
   */
  async exportAll(): Promise<number> {
    const { manager } = this.#ready;
    const behind = this.#behind as SessionStore;
    if (!this.#both || !isIndexed(behind)) {
      throw new SessionUnavailableError(
        "Sessions are exported with mode: 'both' of migrateFrom, from a store that keeps indexes.",
      );
    }
    let exported = 0;
    for await (const { bucket, place } of behind.placesOf(PRINCIPAL)) {
      for (let after: { handle: string; since: number } | undefined; ;) {
        const page = await behind.list(bucket, place, { limit: PAGE, after });
        for (const { handle } of page) {
          if (await this.#export(manager, handle)) exported++;
        }
        if (page.length < PAGE) break;
        after = page.at(-1);
      }
    }
    return exported;
  }

  /** @internal */
  async begin(parts: MigrationParts): Promise<void> {
    const { clock, codec, touchAfter, cookie } = parts;
    const now = () => clock.now();
    const { maxAge, ...given } = this.#cookie;
    const { domain, path, sameSite, secure } = { ...cookie, ...given };
    const name = given.name ?? this.format.cookieName;
    const attributes = { name, domain, path, sameSite, secure };
    const sent = { ...attributes, partitioned: false, persistent: maxAge !== undefined };
    this.#old = new LegacyRedis(await this.#client(parts), {
      prefix: this.#prefix,
      endsByRecord: this.format.endsByRecord,
      now,
    });
    this.#begun = {
      old: this.#old,
      cookies: new LegacyCookies(this.format, this.#secrets, sent, now),
      mapping: this.#mapping,
      codec,
      clock,
      figures: this.#figures,
      touches: new RecentTouches(touchAfter),
      cookie: {
        originalMaxAge: maxAge ?? null,
        expires: null,
        secure: secure === true,
        httpOnly: true,
        ...(domain !== undefined && { domain }),
        path,
        sameSite,
      },
      ttl: this.#ttl,
    };
  }

  /** @internal */
  before<Store extends SessionStore>(store: Store): Store {
    this.#behind = store;
    return endingWith(store, async (handle) => {
      const id = await this.#redis.linkOf(handle);
      if (id === undefined) return;
      await this.#redis.end(id);
      await this.#redis.unlink(handle);
    });
  }

  /** @internal */
  attach(manager: SessionManager): void {
    const begun = this.#begun as Omit<BondParts, 'manager' | 'behind'>;
    const behind = this.#behind as SessionStore;
    this.#parts = { ...begun, manager, behind, both: this.#both, movedFor: DAY };
  }

  /** @internal */
  visit(request: TransportRequest, session: LiveSession): MigrationVisit | undefined {
    const parts = this.#ready;
    const state = LiveSession.stateOf(session);
    // Over a socket nothing can be told of a cookie.
    if (state.client?.takesNoId !== undefined) return undefined;
    const brought = parts.cookies.read(request);
    if (!this.#both && brought === undefined) return undefined;
    return new LegacyVisit(parts, request, brought, state, new LegacyBond(parts));
  }

  /** @internal */
  async close(): Promise<void> {
    await this.#old?.close();
    const opened = this.#opened;
    if (opened?.status === 'ready') await opened.quit().catch(() => undefined);
    opened?.disconnect();
  }

  async #export(manager: SessionManager, handle: string): Promise<boolean> {
    if ((await this.#redis.linkOf(handle)) !== undefined) return false;
    const session = await manager.openByHandle(handle);
    if (!session) return false;
    const state = LiveSession.stateOf(session as LiveSession);
    // Only a request of its client can read it; then it is written there as well.
    if (state.record?.locked) return false;
    await new LegacyBond(this.#ready).follow(state, false);
    return true;
  }

  async #client({ redis: theirs, onTrouble }: MigrationParts): Promise<RedisClient> {
    const redis = this.options.redis ?? (theirs as MigrationOptions['redis']);
    if (redis === undefined) {
      throw new SessionOptionsError([
        'migrateFrom has no redis, and neither has SessionModule: give the one where the other library keeps its sessions',
      ]);
    }
    const given =
      isRedisClient(redis) || typeof redis === 'string' ? redis : (redis.client ?? redis);
    if (isRedisClient(given)) return given;
    const client = (this.#opened = createRedis(given));
    let down = false;
    client.on('error', (error: unknown) => {
      if (!down) onTrouble(`Redis connection of migrateFrom: ${toUnavailable(error).message}`);
      down = true;
    });
    client.on('ready', () => (down = false));
    await client.connect().catch((error: unknown) => {
      client.disconnect();
      throw toUnavailable(error);
    });
    return client as unknown as RedisClient;
  }

  get #redis(): LegacyRedis {
    return this.#old ?? notBegun();
  }

  get #ready(): VisitParts & BondParts {
    return this.#parts ?? notBegun();
  }
}

function notBegun(): never {
  throw new SessionUnavailableError(
    'This migration is given to no application: make it the option "migrateFrom" of SessionModule.forRoot.',
  );
}
