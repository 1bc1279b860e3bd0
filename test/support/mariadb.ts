import { MysqlDialect, type Dialect } from 'kysely';
import { createConnection, createPool, type PoolOptions } from 'mysql2';
import { join } from 'node:path';
import { programAt, SqlProcess } from './sql-process.js';

const PROGRAM = programAt('mariadbd', '/opt/homebrew/bin');
const INSTALL = programAt('mariadb-install-db', '/opt/homebrew/bin');
const DATABASE = 'tests';

/** A server of MariaDB that forgets all when the machine does. */
export class MariadbServer extends SqlProcess {
  static readonly isThere = PROGRAM !== undefined && INSTALL !== undefined;
  protected readonly gently = 'SIGTERM';
  static readonly remedy = 'apt-get install mariadb-server, or brew install mariadb';

  static async start(): Promise<MariadbServer> {
    const server = new MariadbServer();
    const how = ['--auth-root-authentication-method=normal', '--skip-test-db'];
    server.prepare(INSTALL as string, ['--no-defaults', `--datadir=${server.#data}`, ...how]);
    await server.run();
    return server;
  }

  get url(): string {
    return `mysql://root@127.0.0.1:${this.port}/${DATABASE}`;
  }

  /** A pool as an application makes one. */
  pool(config: PoolOptions = {}) {
    const where = { host: '127.0.0.1', port: this.port, user: 'root', database: DATABASE };
    return createPool({ ...where, ...config });
  }

  dialect(config?: PoolOptions): Dialect {
    return new MysqlDialect({ pool: this.pool(config) });
  }

  protected command() {
    const settings = [
      `--datadir=${this.#data}`,
      `--port=${this.port}`,
      '--bind-address=127.0.0.1',
      `--socket=${join(this.directory, 'socket')}`,
      `--pid-file=${join(this.directory, 'pid')}`,
      '--skip-name-resolve',
      '--innodb-flush-log-at-trx-commit=0',
      '--innodb-doublewrite=0',
      '--innodb-buffer-pool-size=64M',
      '--max-connections=200',
      // What a session is set to must not matter.
      '--default-time-zone=+05:45',
      '--character-set-server=latin1',
    ];
    return [PROGRAM as string, ['--no-defaults', ...settings]] as const;
  }

  protected async answers(): Promise<boolean> {
    const connection = createConnection({ host: '127.0.0.1', port: this.port, user: 'root' });
    connection.on('error', () => undefined);
    try {
      await connection.promise().query(`create database if not exists ${DATABASE}`);
      return true;
    } finally {
      connection.destroy();
    }
  }

  get #data(): string {
    return join(this.directory, 'data');
  }
}
