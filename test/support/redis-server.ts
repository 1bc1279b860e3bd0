import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Redis } from 'ioredis';
import { noteHandles, usableIdsIn } from './usable-ids.js';

/** A free port of the loopback interface. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** Where a program is, `undefined` if it is not installed. */
export function findBinary(...names: string[]): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return names.flatMap((name) => folders.map((dir) => join(dir, name))).find((p) => existsSync(p));
}

/** A redis-server of our own, on a free port, in a directory of its own, ended by its process id. */
export class RedisServer {
  #child: ChildProcess | undefined;
  readonly directory = mkdtempSync(join(tmpdir(), 'session-redis-'));

  private constructor(
    readonly port: number,
    private readonly args: readonly string[],
  ) {}

  /** @param options `reachableByBus`: the port of a Cluster's bus, 10000 higher, is one as well */
  static async start(
    args: readonly string[] = [],
    { reachableByBus = false } = {},
  ): Promise<RedisServer> {
    let port = await freePort();
    while (reachableByBus && port > 55_000) port = await freePort();
    const server = new RedisServer(port, args);
    await server.run();
    return server;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  get pid(): number {
    return this.#child?.pid as number;
  }

  /** Starts it (again, on the same port) and waits until it answers. */
  async run(): Promise<void> {
    const binary = process.env.REDIS_SERVER_BIN ?? findBinary('redis-server');
    if (!binary) throw new Error('redis-server is missing: apt-get install redis-server');
    const common = ['--port', `${this.port}`, '--bind', '127.0.0.1', '--dir', this.directory];
    const quiet = ['--save', '', '--appendonly', 'no', '--loglevel', 'warning'];
    this.#child = spawn(binary, [...common, ...quiet, ...this.args], { stdio: 'ignore' });
    const client = new Redis(this.port, '127.0.0.1', {
      retryStrategy: () => 20,
      maxRetriesPerRequest: 500,
    });
    client.on('error', () => undefined);
    await client.ping();
    client.disconnect();
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  /** Ends the process at once; `run()` starts it again. */
  async kill(): Promise<void> {
    if (!this.#isRunning) return;
    const gone = once(this.#child as ChildProcess, 'exit');
    this.#child?.kill('SIGKILL');
    await gone;
  }

  get #isRunning(): boolean {
    return this.#child?.exitCode === null && this.#child.signalCode === null;
  }

  /** Ends it for good. Whatever a test did: no usable session id may be in it. */
  async stop(): Promise<void> {
    try {
      if (this.#isRunning) await this.#assertNoUsableIds();
    } finally {
      await this.kill();
      rmSync(this.directory, { recursive: true, force: true });
    }
  }

  async #assertNoUsableIds(): Promise<void> {
    const client = new Redis(this.port, '127.0.0.1', {
      retryStrategy: null,
      commandTimeout: 10_000,
    });
    client.on('error', () => undefined);
    try {
      const { places, handles } = await usableIdsIn(client);
      noteHandles(handles);
      if (places.length > 0) throw new Error(`usable session ids in Redis: ${places.join(', ')}`);
    } finally {
      client.disconnect();
    }
  }
}
