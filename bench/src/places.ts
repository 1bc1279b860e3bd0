import Database from 'libsql';
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Mariadb, Postgres } from './databases.js';

/** Where one contender keeps its sessions, other than in Redis. */
export interface Place {
  /** How its server finds it. */
  readonly url: string;
  /** Processor time so far, in microseconds; `NaN` if it has no processes of its own. */
  cpu(): Promise<number>;
  /** Bytes that it takes. */
  bytes(): Promise<number>;
}

/** Gives each contender a place of its own. */
export interface PlaceServer {
  room(name: string): Promise<Place>;
  version(): Promise<string>;
  stop(): Promise<void>;
}

const KINDS = {
  postgres: { title: 'PostgreSQL', isThere: Postgres.isThere, start: () => Postgres.start() },
  mariadb: { title: 'MariaDB', isThere: Mariadb.isThere, start: () => Mariadb.start() },
  sqlite: { title: 'SQLite', isThere: true, start: async () => new SqliteFiles() },
  directory: { title: 'files', isThere: true, start: async () => new Directories() },
} as const;

export type PlaceKind = keyof typeof KINDS;

export const isThere = (kind: PlaceKind): boolean => KINDS[kind].isThere;

/** Databases and directories, each started when it is first needed. */
export class Places {
  readonly #servers = new Map<PlaceKind, Promise<PlaceServer>>();

  /** @param instead what stands in for what is slow to start, where speed is not measured */
  constructor(private readonly instead: Partial<Record<PlaceKind, PlaceKind>> = {}) {}

  async room(kind: PlaceKind, name: string): Promise<Place> {
    const used = this.instead[kind] ?? kind;
    const server = this.#servers.get(used) ?? KINDS[used].start();
    this.#servers.set(used, server);
    return (await server).room(name);
  }

  /** Database → version. */
  async versions(): Promise<Record<string, string>> {
    const versions: Record<string, string> = {};
    for (const [kind, server] of this.#servers) {
      const version = await (await server).version();
      if (version) versions[KINDS[kind].title] = version;
    }
    return versions;
  }

  async stop(): Promise<void> {
    const servers = await Promise.allSettled(this.#servers.values());
    for (const one of servers) if (one.status === 'fulfilled') await one.value.stop();
  }
}

/** Directories below one that goes at the end. */
class Directories implements PlaceServer {
  readonly #root = mkdtempSync(join(tmpdir(), 'session-bench-'));

  async room(name: string): Promise<Place> {
    const url = join(this.#root, name);
    return { url, cpu: async () => Number.NaN, bytes: async () => occupied(url) };
  }

  version = async () => '';
  stop = async () => rmSync(this.#root, { recursive: true, force: true });
}

/** What sessions take; the folders of the two upper levels stay, however many there are. */
function occupied(directory: string): number {
  const entries = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  const ofSessions = entries.filter((path) => path.split('/').length > 2);
  return ofSessions.reduce((sum, path) => sum + statSync(join(directory, path)).blocks * 512, 0);
}

/** Files of SQLite. */
class SqliteFiles implements PlaceServer {
  readonly #root = mkdtempSync(join(tmpdir(), 'session-bench-'));

  async room(name: string): Promise<Place> {
    const path = join(this.#root, `${name}.db`);
    return {
      url: path,
      cpu: async () => Number.NaN,
      bytes: async () => Number(ask(path, SIZE)),
    };
  }

  version = async () => ask(':memory:', 'select sqlite_version()') as string;

  stop = async () => rmSync(this.#root, { recursive: true, force: true });
}

const SIZE = 'select page_count * page_size from pragma_page_count(), pragma_page_size()';

/** The one value that answers. */
function ask(path: string, question: string): unknown {
  const database = new Database(path);
  try {
    return Object.values(database.prepare(question).get() as object)[0];
  } finally {
    database.close();
  }
}
