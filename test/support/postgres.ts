import { PostgresDialect, type Dialect } from 'kysely';
import { readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { programAt, SqlProcess } from './sql-process.js';

const DEBIAN = '/usr/lib/postgresql';

function folders(): string[] {
  try {
    return readdirSync(DEBIAN).map((version) => join(DEBIAN, version, 'bin'));
  } catch {
    return [];
  }
}

const PROGRAM = programAt('postgres', ...folders());
const INITDB = programAt('initdb', ...folders());
const PASSWORD = 'only-for-the-looks-of-tests';

/** A server of PostgreSQL that forgets all when the machine does. */
export class PostgresServer extends SqlProcess {
  static readonly isThere = PROGRAM !== undefined && INITDB !== undefined;
  protected readonly gently = 'SIGINT';
  static readonly remedy = 'apt-get install postgresql, or brew install postgresql';

  static async start(): Promise<PostgresServer> {
    const server = new PostgresServer();
    const secret = join(server.directory, 'password');
    writeFileSync(secret, PASSWORD, { mode: 0o644 });
    const auth = ['--auth-local=trust', '--auth-host=scram-sha-256', `--pwfile=${secret}`];
    const made = ['-D', server.#data, '-U', 'tests', '--no-sync', '--no-locale', '-E', 'UTF8'];
    server.prepare(INITDB as string, [...made, ...auth]);
    await server.run();
    return server;
  }

  get url(): string {
    return `postgres://tests:${PASSWORD}@127.0.0.1:${this.port}/postgres`;
  }

  /** A pool as an application makes one. */
  pool(config: pg.PoolConfig = {}): pg.Pool {
    const where = { host: '127.0.0.1', port: this.port, database: 'postgres' };
    const pool = new pg.Pool({ ...where, user: 'tests', password: PASSWORD, ...config });
    pool.on('error', () => undefined);
    // A connection that breaks while it is used tells it by itself as well.
    pool.on('connect', (client) => client.on('error', () => undefined));
    return pool;
  }

  dialect(config?: pg.PoolConfig): Dialect {
    return new PostgresDialect({ pool: this.pool(config) });
  }

  protected command() {
    const settings = {
      port: `${this.port}`,
      listen_addresses: '127.0.0.1',
      unix_socket_directories: this.directory,
      max_connections: '200',
      fsync: 'off',
      synchronous_commit: 'off',
      full_page_writes: 'off',
      deadlock_timeout: '100ms',
      // What a session is set to must not matter.
      timezone: 'Asia/Kathmandu',
    };
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    return [PROGRAM as string, ['-D', this.#data, ...args]] as const;
  }

  protected async answers(): Promise<boolean> {
    const client = new pg.Client({
      host: '127.0.0.1',
      port: this.port,
      user: 'tests',
      password: PASSWORD,
      database: 'postgres',
    });
    client.on('error', () => undefined);
    try {
      await client.connect();
      await client.query('select 1');
      return true;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  get #data(): string {
    return join(this.directory, 'data');
  }
}
