import { sql } from 'kysely';
import type { Migration } from 'kysely/migration';
import { BUCKETS } from '../../core/session-id.js';
import { SessionOptionsError } from '../../core/session.errors.js';
import { dialectOf } from './sql-dialect.js';
import { problemsOfNames, tableNames, type SqlDialect, type TableNames } from './sql-tables.js';

/** Which tables. */
export interface SqlMigrationOptions {
  /** As the store's own option. @default 'sessions' */
  table?: string;
  /** As the store's own option. @default none: where the connection looks */
  schema?: string;
}

/** Statements for a migration tool, each without the semicolon at its end. */
export interface SqlMigration {
  /** Makes the tables. */
  readonly up: readonly string[];
  /** Removes them, and every session with them. */
  readonly down: readonly string[];
}

/**
 * The tables of a {@link SqlSessionStore} as SQL, to be pasted into the migration tool of an application.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for a name that cannot be used
 * @example
 * process.stdout.write(sqlMigration({ dialect: 'postgres' }).up.join(';\n') + ';\n');
 */
export function sqlMigration({
  dialect,
  table = 'sessions',
  schema,
}: SqlMigrationOptions & { dialect: SqlDialect }): SqlMigration {
  const problems = problemsOfNames(table, schema);
  if (!Object.hasOwn(TYPES, dialect)) {
    problems.push("dialect of the SQL store is unknown: use 'postgres', 'mysql' or 'sqlite'");
  }
  if (problems.length > 0) throw new SessionOptionsError(problems);
  const names = tableNames(table, schema);
  const quote = dialect === 'mysql' ? '`' : '"';
  const at = (name: string) => {
    const parts = schema === undefined ? [name] : [schema, name];
    return parts.map((part) => quote + part + quote).join('.');
  };
  return {
    up: [...tables(dialect, names, at), ...indexes(dialect, names, at), buckets(names, at)],
    // Where the trigger belongs to a table it goes with it.
    down: [names.places, names.buckets, names.sessions].map(
      (name) => `drop table if exists ${at(name)}`,
    ),
  };
}

/**
 * The same as a migration of Kysely. Its database is asked which one it is.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for a name that cannot be used; when it runs, for a database
 * that is not known
 * @example
 * // migrations/2026-01-01-sessions.ts
 * export const { up, down } = sessionMigration();
 */
export function sessionMigration(
  options: SqlMigrationOptions & { dialect?: SqlDialect } = {},
): Required<Migration> {
  const run =
    (direction: keyof SqlMigration): Migration['up'] =>
    async (db) => {
      const dialect = options.dialect ?? dialectOf(db);
      if (!dialect) {
        throw new SessionOptionsError([
          "dialect of the SQL store cannot be told from this database: give it, 'postgres', 'mysql' or 'sqlite'",
        ]);
      }
      const statements = sqlMigration({ ...options, dialect })[direction];
      for (const statement of statements) await sql.raw(statement).execute(db.withoutPlugins());
    };
  return { up: run('up'), down: run('down') };
}

/** Handles compare as bytes: those that differ in case only are two. */
const TYPES = {
  postgres: {
    handle: 'varchar(45) collate "C"',
    short: 'varchar(14) collate "C"',
    place: 'text collate "C"',
    flag: 'smallint',
    bytes: 'bytea',
    end: '',
  },
  mysql: {
    handle: 'varchar(45) character set ascii collate ascii_bin',
    short: 'varchar(14) character set ascii collate ascii_bin',
    place: 'varchar(190) character set utf8mb4 collate utf8mb4_bin',
    flag: 'tinyint',
    bytes: 'longblob',
    end: ' engine = innodb',
  },
  sqlite: {
    handle: 'text',
    short: 'text',
    place: 'text',
    flag: 'integer',
    bytes: 'blob',
    end: '',
  },
} as const satisfies Record<SqlDialect, Record<string, string>>;

type At = (name: string) => string;

function tables(dialect: SqlDialect, names: TableNames, at: At): string[] {
  const { handle, short, place, flag, bytes, end } = TYPES[dialect];
  const columns = [
    `handle ${handle} not null primary key`,
    `version ${short} not null`,
    `live ${flag} not null`,
    `head ${bytes} not null`,
    `body ${bytes}`,
    'expires bigint not null',
  ];
  // SQLite minds foreign keys only on connections that ask for it: there a trigger does it.
  const key = `constraint ${names.places}_session foreign key (handle) references ${at(names.sessions)} (handle) on delete cascade`;
  const entries = [
    `bucket ${short} not null`,
    `place ${place} not null`,
    `handle ${handle} not null`,
    'since bigint not null',
    'primary key (handle, place)',
    ...(dialect === 'sqlite' ? [] : [key]),
  ];
  return [
    `create table ${at(names.sessions)} (${columns.join(', ')})${end}`,
    `create table ${at(names.places)} (${entries.join(', ')})${end}`,
    `create table ${at(names.buckets)} (bucket ${short} not null primary key)${end}`,
  ];
}

function indexes(dialect: SqlDialect, { sessions, places }: TableNames, at: At): string[] {
  const made = [
    `create index ${sessions}_expires on ${at(sessions)} (expires)`,
    `create index ${places}_since on ${at(places)} (bucket, place, since, handle)`,
  ];
  if (dialect !== 'sqlite') return made;
  const trigger =
    `create trigger ${places}_session after delete on ${at(sessions)} ` +
    `begin delete from ${at(places)} where handle = old.handle; end`;
  return [...made, trigger];
}

const buckets = (names: TableNames, at: At): string =>
  `insert into ${at(names.buckets)} (bucket) values ${BUCKETS.map((name) => `('${name}')`).join(', ')}`;
