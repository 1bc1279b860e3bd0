import { describe } from '@jest/globals';
import { Kysely, type Dialect, type KyselyConfig, type LogConfig } from 'kysely';
import {
  sessionMigration,
  SqlSessionStore,
  type SqlDialect,
  type SqlSessionStoreOptions,
} from 'nestjs-distributed-session/sql';
import { MariadbServer } from './mariadb.js';
import { PostgresServer } from './postgres.js';
import { SqliteFile } from './sqlite.js';

/** Whatever tables a test makes. */
export type Tables = Record<string, Record<string, unknown>>;

interface Server {
  dialect(): Dialect;
  stop(): Promise<void>;
}

/** A database under test, and the connections to it that are open. */
export class SqlBackend {
  readonly #open: Kysely<Tables>[] = [];
  #tables = 0;

  constructor(
    readonly dialect: SqlDialect,
    readonly server: Server,
  ) {}

  /** A pool of its own; a second connection to the file, of SQLite. */
  connect(dialect = this.server.dialect(), log?: LogConfig): Kysely<Tables> {
    const config: KyselyConfig = { dialect, ...(log && { log }) };
    const db = new Kysely<Tables>(config);
    this.#open.push(db);
    return db;
  }

  /** A name for tables that nobody else has. */
  newTable(): string {
    return `sessions_${++this.#tables}`;
  }

  /** Makes tables of a name that nobody else has. */
  async tablesBy(db: Kysely<Tables>): Promise<string> {
    const table = this.newTable();
    await sessionMigration({ table }).up(db);
    return table;
  }

  /** Ends all sessions of tables. */
  async empty(db: Kysely<Tables>, table: string): Promise<void> {
    await db.deleteFrom(table).execute();
  }

  async stop(): Promise<void> {
    await Promise.all(this.#open.map((db) => db.destroy().catch(() => undefined)));
    await this.server.stop();
  }
}

/** A store that waits as long as a busy machine needs, and removes nothing by itself. */
export const sqlStore = (
  db: Kysely<Tables>,
  options: Partial<SqlSessionStoreOptions> = {},
): SqlSessionStore => new SqlSessionStore({ db, timeout: '30s', sweepEvery: false, ...options });

const BACKENDS = {
  postgres: { title: 'PostgreSQL', type: PostgresServer },
  mysql: { title: 'MariaDB', type: MariadbServer },
  sqlite: { title: 'SQLite', type: SqliteFile },
} as const;

export const SQL_DIALECTS = Object.keys(BACKENDS) as SqlDialect[];

export async function startSql(dialect: SqlDialect): Promise<SqlBackend> {
  const { title, type } = BACKENDS[dialect];
  if (!type.isThere) throw new Error(`${title} is missing: ${type.remedy}`);
  return new SqlBackend(dialect, await type.start());
}

/** Tests over a database; where it is not installed they are left out, in plain sight. */
export function describeSql(
  dialects: readonly SqlDialect[],
  body: (dialect: SqlDialect) => void,
): void {
  for (const dialect of dialects) {
    const { title, type } = BACKENDS[dialect];
    const isLeftOut = !type.isThere && !process.env.CI;
    if (isLeftOut) console.warn(`missing: ${title} (${type.remedy}): its tests are SKIPPED`);
    (isLeftOut ? describe.skip : describe)(`in ${title}`, () => body(dialect));
  }
}
