import { afterAll, beforeAll } from '@jest/globals';
import { Kysely, MysqlDialect, PostgresDialect, sql } from 'kysely';
import type { SessionModuleOptions } from 'nestjs-distributed-session';
import { sessionMigration, SqlSessionStore } from 'nestjs-distributed-session/sql';
import type { MariadbServer } from './mariadb.js';
import type { PostgresServer } from './postgres.js';

type Clock = SessionModuleOptions['clock'];
type Server = PostgresServer | MariadbServer;

/** Servers of databases that applications under test may keep their sessions in. */
export type SqlServerName = 'postgres' | 'mariadb';

/** Sets up a server that is missing, before the first test of a file. */
const START = 60_000;

/** A server of a file of tests: a database for each application, a pool for each of its nodes. */
export class SqlUnderTest {
  #server: Server | undefined;
  readonly #databases = new Map<string, Promise<string>>();
  readonly #pools = new Set<Kysely<unknown>>();

  /** Lives as long as the tests of the file that loads this. */
  constructor(private readonly name: SqlServerName) {
    beforeAll(async () => {
      this.#server = await startServer(name);
    }, START);
    afterAll(async () => {
      await Promise.all([...this.#pools].map((db) => db.destroy().catch(() => undefined)));
      await this.#server?.stop();
    }, START);
  }

  /** The store of a node, with a pool of its own, over the database of its application. */
  storeOf(place: string, clock: Clock): SqlSessionStore {
    const db = this.#connect(() => this.#databaseOf(place));
    this.#pools.add(db);
    // As long as a busy machine needs.
    return new NodeStore({ db, clock, timeout: '30s' }, () => this.#pools.delete(db));
  }

  #databaseOf(place: string): Promise<string> {
    const made = this.#databases.get(place) ?? this.#make(`place_${this.#databases.size}`);
    this.#databases.set(place, made);
    return made;
  }

  async #make(database: string): Promise<string> {
    const server = this.#connect(() => undefined);
    await sql.raw(`create database ${database}`).execute(server);
    await server.destroy();
    const db = this.#connect(() => database);
    await sessionMigration().up(db);
    await db.destroy();
    return database;
  }

  /** Connects when it is first used: by then the server runs, and the database is there. */
  #connect(name: () => Promise<string> | string | undefined): Kysely<unknown> {
    const config = async () => {
      const database = await name();
      return database === undefined ? {} : { database };
    };
    const dialect =
      this.name === 'postgres'
        ? new PostgresDialect({
            pool: async () => (this.#server as PostgresServer).pool(await config()),
          })
        : new MysqlDialect({
            pool: async () => (this.#server as MariadbServer).pool(await config()),
          });
    return new Kysely<unknown>({ dialect });
  }
}

/** Its pool goes with the node, as that of an application does. */
class NodeStore extends SqlSessionStore {
  constructor(
    private readonly options: ConstructorParameters<typeof SqlSessionStore>[0] & {
      db: Kysely<unknown>;
    },
    private readonly onClose: () => void,
  ) {
    super(options);
  }

  override async close(): Promise<void> {
    await super.close();
    this.onClose();
    await this.options.db.destroy();
  }
}

/** Loaded here: what starts servers loads what loads this. */
async function startServer(name: SqlServerName): Promise<Server> {
  const type =
    name === 'postgres'
      ? (await import('./postgres.js')).PostgresServer
      : (await import('./mariadb.js')).MariadbServer;
  if (!type.isThere) throw new Error(`${name} is missing: ${type.remedy}`);
  return type.start();
}
