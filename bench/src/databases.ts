import { createConnection } from 'mysql2/promise';
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { Place, PlaceServer } from './places.js';
import { freePort } from './redis.js';

/** Database servers refuse to be run by root: then somebody without any rights does it. */
const RUN_BY = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

/** Milliseconds after which a server that does not answer will not. */
const PATIENCE = 30_000;

const DEBIAN = '/usr/lib/postgresql';
const debian = existsSync(DEBIAN)
  ? readdirSync(DEBIAN).map((version) => join(DEBIAN, version, 'bin'))
  : [];

function programAt(name: string): string | undefined {
  const path = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', ...debian];
  return path.map((folder) => join(folder, name)).find((file) => existsSync(file));
}

/**
 * A database server on a free port, in a directory of its own, with the settings that it is delivered with: what it
 * has acknowledged is on the disk.
 */
abstract class DatabaseServer implements PlaceServer {
  #process: ChildProcess | undefined;
  protected port = 0;
  protected readonly directory = mkdtempSync(join(tmpdir(), 'session-bench-'));

  protected constructor() {
    if (RUN_BY.uid !== undefined) chownSync(this.directory, RUN_BY.uid, RUN_BY.gid);
  }

  protected get data(): string {
    return join(this.directory, 'data');
  }

  protected prepare(program: string, args: readonly string[]): void {
    const made = spawnSync(program, args, { cwd: this.directory, encoding: 'utf8', ...RUN_BY });
    if (made.status !== 0) throw new Error(`${program} failed: ${made.stderr}`);
  }

  protected async run(program: string, args: readonly string[]): Promise<void> {
    this.#process = spawn(program, args, { stdio: 'ignore', cwd: this.directory, ...RUN_BY });
    const late = performance.now() + PATIENCE;
    while (!(await this.version().catch(() => ''))) {
      if (this.#process.exitCode !== null || performance.now() > late) {
        throw new Error(`${program} does not answer`);
      }
      await delay(50);
    }
  }

  async room(contender: string): Promise<Place> {
    const name = `bench_${contender}`;
    await this.query(`create database ${name}`);
    return {
      url: this.urlOf(name),
      cpu: async () => cpuOf(this.#process?.pid as number),
      bytes: () => this.bytesOf(name),
    };
  }

  async stop(): Promise<void> {
    if (this.#process?.exitCode === null && this.#process.signalCode === null) {
      const gone = once(this.#process, 'exit');
      this.#process.kill(this.gently);
      const late = setTimeout(() => this.#process?.kill('SIGKILL'), 10_000);
      await gone;
      clearTimeout(late);
    }
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 10 });
  }

  /** What it takes as a wish to end at once, in good order. */
  protected abstract readonly gently: NodeJS.Signals;
  protected abstract urlOf(name: string): string;
  protected abstract bytesOf(name: string): Promise<number>;
  /** Rows of an answer. */
  protected abstract query(sql: string, database?: string): Promise<Record<string, unknown>[]>;
  abstract version(): Promise<string>;
}

export class Postgres extends DatabaseServer {
  static readonly #program = programAt('postgres');
  static readonly #initdb = programAt('initdb');
  static readonly isThere = Postgres.#program !== undefined && Postgres.#initdb !== undefined;

  protected readonly gently = 'SIGINT';

  static async start(): Promise<Postgres> {
    const server = new Postgres();
    server.port = await freePort();
    const made = ['-D', server.data, '-U', 'bench', '--auth=trust', '--no-locale', '-E', 'UTF8'];
    server.prepare(Postgres.#initdb as string, made);
    const settings = {
      port: server.port,
      listen_addresses: '127.0.0.1',
      unix_socket_directories: server.directory,
    };
    const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
    await server.run(Postgres.#program as string, ['-D', server.data, ...args]);
    return server;
  }

  async version(): Promise<string> {
    const [row] = await this.query('show server_version');
    return String(row?.server_version).split(' ')[0] as string;
  }

  protected urlOf(name: string): string {
    return `postgres://bench@127.0.0.1:${this.port}/${name}`;
  }

  protected async bytesOf(name: string): Promise<number> {
    const [row] = await this.query(`select pg_database_size('${name}') as bytes`);
    return Number(row?.bytes);
  }

  protected async query(sql: string): Promise<Record<string, unknown>[]> {
    const client = new pg.Client({ connectionString: this.urlOf('postgres') });
    try {
      await client.connect();
      return (await client.query<Record<string, unknown>>(sql)).rows;
    } finally {
      await client.end().catch(() => undefined);
    }
  }
}

export class Mariadb extends DatabaseServer {
  static readonly #program = programAt('mariadbd');
  static readonly #install = programAt('mariadb-install-db');
  static readonly isThere = Mariadb.#program !== undefined && Mariadb.#install !== undefined;

  protected readonly gently = 'SIGTERM';

  static async start(): Promise<Mariadb> {
    const server = new Mariadb();
    server.port = await freePort();
    const how = ['--auth-root-authentication-method=normal', '--skip-test-db'];
    const made = ['--no-defaults', `--datadir=${server.data}`, ...how];
    server.prepare(Mariadb.#install as string, made);
    await server.run(Mariadb.#program as string, [
      '--no-defaults',
      `--datadir=${server.data}`,
      `--port=${server.port}`,
      '--bind-address=127.0.0.1',
      `--socket=${join(server.directory, 'socket')}`,
      `--pid-file=${join(server.directory, 'pid')}`,
      '--skip-name-resolve',
    ]);
    return server;
  }

  async version(): Promise<string> {
    const [row] = await this.query('select version() as version');
    return String(row?.version).split('-')[0] as string;
  }

  protected urlOf(name: string): string {
    return `mysql://root@127.0.0.1:${this.port}/${name}`;
  }

  protected async bytesOf(name: string): Promise<number> {
    const of = `from information_schema.tables where table_schema = '${name}'`;
    const tables = await this.query(`select table_name as name ${of}`);
    // What it knows of their sizes is old otherwise.
    for (const { name: table } of tables)
      await this.query(`analyze table ${name}.${String(table)}`);
    const [row] = await this.query(`select sum(data_length + index_length) as bytes ${of}`);
    return Number(row?.bytes);
  }

  protected async query(sql: string): Promise<Record<string, unknown>[]> {
    const connection = await createConnection(this.urlOf('mysql'));
    try {
      return (await connection.query(sql))[0] as Record<string, unknown>[];
    } finally {
      connection.destroy();
    }
  }
}

/** Linux counts processor time in hundredths of a second. */
const TICK = 10_000;

/** Processor time of a process and its children, those that have ended included, in microseconds. */
function cpuOf(pid: number): number {
  if (!existsSync('/proc/self/stat')) return Number.NaN;
  let sum = 0;
  for (const entry of readdirSync('/proc')) {
    const fields = /^\d+$/.test(entry) ? fieldsOf(entry) : [];
    // Fields by `man proc_pid_stat`, of which the first two are cut off: 4 is the parent, 14 to 17 are times.
    if (Number(entry) === pid) sum += total(fields.slice(11, 15));
    else if (Number(fields[1]) === pid) sum += total(fields.slice(11, 13));
  }
  return sum * TICK;
}

const total = (ticks: readonly string[]) => ticks.reduce((sum, one) => sum + Number(one), 0);

function fieldsOf(entry: string): string[] {
  try {
    const text = readFileSync(`/proc/${entry}/stat`, 'utf8');
    // The name of the program may contain anything but stands in parentheses.
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return [];
  }
}
