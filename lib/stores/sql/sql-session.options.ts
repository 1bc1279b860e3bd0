import type { Clock } from '../../core/clock.js';
import { toMilliseconds, type Duration } from '../../core/duration.js';
import { SessionOptionsError } from '../../core/session.errors.js';
import { dialectOf, type AnyKysely } from './sql-dialect.js';
import { problemsOfNames, type SqlDialect } from './sql-tables.js';

/** Where a SqlSessionStore keeps its sessions. */
export interface SqlSessionStoreOptions {
  /**
   * An instance of Kysely over the application's own pool, whatever tables it knows. It is never closed. Its plugins
   * are left out.
   */
  db: AnyKysely;
  /** The database. @default what the instance says; needed for a dialect of Kysely that is not known here */
  dialect?: SqlDialect;
  /** The table of sessions; beside it there are `<table>_places` and `<table>_buckets`. @default 'sessions' */
  table?: string;
  /** The schema of these tables; in MySQL a database. @default none: where the connection looks */
  schema?: string;
  /**
   * How often this node removes what has ended, of at least one second; `false`: never, and `deleteExpired()` is for
   * a job of the application.
   *
   * @default '5m'
   */
  sweepEvery?: Duration | false;
  /**
   * How long a verb may take, waiting for a connection of the pool included; a day at most. What ends all sessions of a place, walks
   * tables or removes what has ended may take 15 times as long.
   *
   * @default '2s'
   */
  timeout?: Duration;
  /** Instead of the database's clock, for tests. */
  clock?: Clock;
}

/** The same, complete. */
export interface ResolvedSqlOptions {
  readonly db: AnyKysely;
  readonly dialect: SqlDialect;
  readonly table: string;
  readonly schema: string | undefined;
  /** Milliseconds; `undefined`: never. */
  readonly sweepEvery: number | undefined;
  /** Milliseconds. */
  readonly timeout: number;
  readonly clock: Clock | undefined;
}

const DIALECTS: readonly unknown[] = ['postgres', 'mysql', 'sqlite'] satisfies SqlDialect[];
/** A timer of Node takes no longer one. */
const LONGEST = 2 ** 31 - 1;
/** A day: what takes many times as long is still within that. */
const LONGEST_TIMEOUT = 86_400_000;

/** @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) */
export function resolveSqlOptions(options: SqlSessionStoreOptions): ResolvedSqlOptions {
  const { db, table = 'sessions', schema, clock } = options;
  const dialect = options.dialect ?? (isKysely(db) ? dialectOf(db) : undefined);
  const every = options.sweepEvery ?? '5m';
  const sweepEvery = every === false ? undefined : toMilliseconds(every);
  const timeout = toMilliseconds(options.timeout ?? '2s') ?? 0;
  const problems = [
    ...problemsOfDatabase(db, dialect),
    ...problemsOfNames(table, schema),
    ...(dialect === 'sqlite' && schema !== undefined
      ? ['schema of the SQL store has no meaning in SQLite: leave it out']
      : []),
    ...(every === false || isWithin(sweepEvery, 1_000)
      ? []
      : [
          "sweepEvery of the SQL store cannot be used: use a duration from '1s' to '24d', or false",
        ]),
    ...(isWithin(timeout, 1) && timeout <= LONGEST_TIMEOUT
      ? []
      : ["timeout of the SQL store cannot be used: use a duration such as '2s', of '1d' at most"]),
  ];
  if (problems.length > 0) throw new SessionOptionsError(problems);
  return { db, dialect: dialect as SqlDialect, table, schema, sweepEvery, timeout, clock };
}

function problemsOfDatabase(db: unknown, dialect: unknown): string[] {
  if (!isKysely(db)) {
    return ['db of the SQL store is no instance of Kysely: give it `new Kysely({ dialect })`'];
  }
  if (db.isTransaction) {
    return [
      'db of the SQL store is a transaction, which ends: give it the instance of Kysely itself',
    ];
  }
  if (DIALECTS.includes(dialect)) return [];
  return [
    "dialect of the SQL store cannot be told from `db`: give it, 'postgres', 'mysql' or 'sqlite'",
  ];
}

const isKysely = (db: unknown): db is AnyKysely =>
  typeof (db as Partial<AnyKysely> | undefined)?.getExecutor === 'function';

const isWithin = (milliseconds: number | undefined, least: number): boolean =>
  milliseconds !== undefined && milliseconds >= least && milliseconds <= LONGEST;
