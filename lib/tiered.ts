import { Logger } from '@nestjs/common';
import { toMilliseconds, type Duration } from './core/duration.js';
import { isFenced, type FencedSessionStore } from './core/fenced-store.interface.js';
import { SessionOptionsError } from './core/session.errors.js';
import { isIndexed } from './core/session-store.interface.js';
import { openHotCopies } from './stores/redis/redis-hot-copies.js';
import type { RedisClient, RedisConnectionOptions } from './stores/redis/redis-client.js';
import { contentsPrint } from './stores/tiered/contents-print.js';
import type { OnHotFailure } from './stores/tiered/hot-side.js';
import { TieredSessionStore, type TieredMode } from './stores/tiered/tiered-session.store.js';

export type { OnHotFailure, TieredMode, TieredSessionStore };
export type { FencedSessionStore } from './core/fenced-store.interface.js';

/** What {@link tieredStore} takes. */
export interface TieredStoreOptions {
  /** Keeps every session: a store with a fence, such as `SqlSessionStore`. It is closed with this one. */
  base: FencedSessionStore;
  /** Where the hot copies are: what the option `redis` of the module takes. A client that is handed in is never closed. */
  redis: string | RedisConnectionOptions | RedisClient;
  /**
   * `'write-through'`: a write is acknowledged when the database has it. `'write-behind'`: changes of a session's data
   * are acknowledged when Redis has them, and brought to the database within `flushEvery`; if Redis loses its memory
   * before, they are lost. Logins, logouts, renewals, rights and whatever moves a session between indexes are written
   * through in both.
   *
   * @default 'write-through'
   */
  mode?: TieredMode;
  /**
   * How old a copy may become until the database is asked again; at least a second. For so long at most a copy could be
   * out of date should a node and Redis fail at the same moment, not counting the time that the database does not answer.
   *
   * @default '10m'
   */
  hotFor?: Duration;
  /**
   * For how long the database keeps sessions whose idle window is over there: so much longer than what was left of the
   * window it may be away, and no session ends that was in use meanwhile. Not less than `hotFor`.
   *
   * @default '1h', or `hotFor` if that is longer
   */
  outageGrace?: Duration;
  /**
   * While Redis does not answer: `'reject'` answers 503 to what changes existing sessions (new ones are made, and with
   * write-through all are read, in the database); `'bypass'` changes them in the database. Nodes that still reach Redis
   * may then see what was before for a moment after it is back or, if this node has ended by then, for `hotFor`. Logouts are
   * never confirmed without both.
   *
   * @default 'reject'
   */
  onHotFailure?: OnHotFailure;
  /** With write-behind: how often what was written is brought to the database; at least 10 ms. @default '1s' */
  flushEvery?: Duration;
  /**
   * With write-behind: how many sessions the database may be behind of; beyond that they are written through. It counts
   * by bucket, of which there are 256.
   *
   * @default 100000
   */
  maxBehind?: number;
  /** First part of every key in Redis. @default 'sess' */
  keyPrefix?: string;
}

/**
 * A store of two tiers: a database keeps every session, Redis those in use. Give it to the module as `store`. It connects
 * to Redis when it is made, and boots without it.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`)
 * @example
 * SessionModule.forRoot({ store: tieredStore({ base: new SqlSessionStore({ … }), redis: process.env.REDIS_URL }) });
 */
export function tieredStore(options: TieredStoreOptions): TieredSessionStore {
  const {
    base,
    redis,
    mode = 'write-through',
    onHotFailure = 'reject',
    keyPrefix = 'sess',
  } = options;
  const { flushEvery, maxBehind = 100_000 } = options;
  const hotFor = toMilliseconds(options.hotFor ?? '10m');
  const ages = {
    hotFor,
    outageGrace: toMilliseconds(options.outageGrace ?? Math.max(HOUR, hotFor ?? 0)),
    flushEvery: toMilliseconds(flushEvery ?? '1s'),
  };
  const problems = [...problemsOf({ ...options, maxBehind }), ...problemsOfAges(ages)];
  if (problems.length > 0) throw new SessionOptionsError(problems);
  const logger = new Logger('TieredSessionStore');
  const onTrouble = (message: string) => logger.warn(message);
  const copies = {
    keyPrefix,
    hotFor: ages.hotFor as number,
    maxBehind: Math.ceil(maxBehind / 256),
    markFor: markFor(base),
    keptFor: ages.outageGrace as number,
    printOf: contentsPrint,
  };
  const hot = openHotCopies(redis, copies, onTrouble);
  if (mode === 'write-behind')
    void hot.mayEvict().then(
      (may) => may && onTrouble(EVICTS),
      () => undefined,
    );
  return new TieredSessionStore({
    base,
    hot,
    mode,
    onHotFailure,
    flushEvery: ages.flushEvery as number,
    outageGrace: ages.outageGrace as number,
    onTrouble,
  });
}

const HOUR = 3_600_000;
/** The longest timer of Node. */
const LONGEST = 2 ** 31 - 1;

/**
 * Milliseconds that a session is asked for in the base after a change of it began: longer than the slowest one takes, with
 * what comes before it and what the database still does when nobody waits any more.
 */
const markFor = ({ slowestChange = 30_000 }: FencedSessionStore): number =>
  Math.max(60_000, 2 * slowestChange);

const EVICTS =
  'Redis may drop what was written behind and the database does not have yet: set maxmemory-policy noeviction, or use mode: "write-through".';

function problemsOf(options: TieredStoreOptions): string[] {
  const { base, redis, mode, onHotFailure, maxBehind, keyPrefix } = options;
  const isOneOf = (value: unknown, ...all: string[]) =>
    value === undefined || all.includes(value as string);
  const rules: [boolean, string][] = [
    [
      typeof base === 'object' && base !== null && isIndexed(base) && isFenced(base),
      "base cannot keep the sessions: give a store with a fence (the method bring), such as SqlSessionStore of 'nestjs-distributed-session/sql'",
    ],
    [
      (typeof redis === 'string' && redis !== '') || (typeof redis === 'object' && redis !== null),
      'redis is missing: give a URL, connection options or a client',
    ],
    [isOneOf(mode, 'write-through', 'write-behind'), "mode is 'write-through' or 'write-behind'"],
    [isOneOf(onHotFailure, 'reject', 'bypass'), "onHotFailure is 'reject' or 'bypass'"],
    [Number.isInteger(maxBehind) && Number(maxBehind) > 0, 'maxBehind is a whole number from 1 on'],
    [
      keyPrefix === undefined || /^[^{}\s]+$/.test(keyPrefix),
      'keyPrefix is text without braces and white space',
    ],
  ];
  return rules.flatMap(([holds, problem]) => (holds ? [] : [problem]));
}

type Ages = Record<'hotFor' | 'outageGrace' | 'flushEvery', number | undefined>;

function problemsOfAges(ages: Ages): string[] {
  const least = { hotFor: 1_000, flushEvery: 10 };
  const problems = (['hotFor', 'flushEvery'] as const).flatMap((name) =>
    isWithin(ages[name], least[name])
      ? []
      : [`${name} is a duration such as '10m', of at least ${least[name]} ms and '24d' at most`],
  );
  if (isWithin(ages.outageGrace, ages.hotFor ?? 0)) return problems;
  return [
    ...problems,
    "outageGrace is a duration such as '1h', not less than hotFor, and '24d' at most",
  ];
}

const isWithin = (milliseconds: number | undefined, least: number): boolean =>
  milliseconds !== undefined && milliseconds >= least && milliseconds <= LONGEST;
