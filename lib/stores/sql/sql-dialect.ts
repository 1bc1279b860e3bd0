import { sql, type Kysely, type RawBuilder } from 'kysely';
import type { Clock } from '../../core/clock.js';
import type { SqlDialect } from './sql-tables.js';

/** Any instance of Kysely, whatever tables it knows. */
export type AnyKysely = Pick<Kysely<unknown>, 'getExecutor' | 'isTransaction'>;

const ADAPTERS: readonly (readonly [RegExp, SqlDialect])[] = [
  [/^(postgres|pglite|cockroach)/i, 'postgres'],
  [/^(mysql|maria)/i, 'mysql'],
  [/^(sqlite|libsql)/i, 'sqlite'],
];

/**
 * The database behind an instance of Kysely, `undefined` if it cannot be told. Goes by the names of its adapter and
 * of what that extends: with two copies of Kysely in one application `instanceof` would not know it.
 */
export function dialectOf(db: AnyKysely): SqlDialect | undefined {
  let type: unknown = db.getExecutor().adapter.constructor;
  while (typeof type === 'function' && type.name !== '') {
    const { name } = type;
    const known = ADAPTERS.find(([adapter]) => adapter.test(name));
    if (known) return known[1];
    type = Object.getPrototypeOf(type);
  }
  return undefined;
}

/** Milliseconds since the epoch, as an expression. */
export type Instant = RawBuilder<number>;

// Of the statement, not of the transaction: one that has waited for a lock must not go by the time before it. And none
// of them passes a time zone on its way: `UNIX_TIMESTAMP(NOW(3))` would be an hour wrong in one hour of each autumn.
const NOW: Readonly<Record<SqlDialect, Instant>> = {
  postgres: sql`cast(extract(epoch from statement_timestamp()) * 1000 as bigint)`,
  mysql: sql`(timestampdiff(microsecond, timestamp'1970-01-01 00:00:00', utc_timestamp(3)) div 1000)`,
  sqlite: sql`cast(round((julianday('now') - 2440587.5) * 86400000) as integer)`,
};

const INTEGER: Readonly<Record<SqlDialect, RawBuilder<unknown>>> = {
  postgres: sql`bigint`,
  mysql: sql`signed`,
  sqlite: sql`integer`,
};

/**
 * What time it is. The database's clock counts, because all nodes share that one: a node whose own clock is wrong ends
 * nobody's session early and lets none live longer.
 *
 * @param clock instead of the database's, for tests
 */
export function nowBy(dialect: SqlDialect, clock: Clock | undefined): () => Instant {
  if (!clock) return () => NOW[dialect];
  return () => sql`cast(${clock.now()} as ${INTEGER[dialect]})`;
}
