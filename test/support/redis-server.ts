import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { Redis, type RedisOptions } from 'ioredis';
import { makeCertificate, type Certificate } from './certificate.js';
import type { RedisConnection, RedisUnderTest } from './redis-under-test.js';
import type { RedisUser } from './redis-user.js';
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

/** A process of redis-server, on a port of ours, in a directory of its own, ended by its process id. */
export class RedisProcess {
  #child: ChildProcess | undefined;
  readonly directory = mkdtempSync(join(tmpdir(), 'session-redis-'));

  constructor(readonly port: number) {}

  get pid(): number {
    return this.#child?.pid as number;
  }

  get isRunning(): boolean {
    return this.#child?.exitCode === null && this.#child.signalCode === null;
  }

  /** A client with every right, for the tests' own looks. */
  connect(options: RedisOptions = {}): Redis {
    const client = new Redis({ ...this.access, ...options });
    client.on('error', () => undefined);
    return client;
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name);
  }

  /** Ends the process at once; `run()` starts it again. */
  async kill(): Promise<void> {
    if (!this.isRunning) return;
    const gone = once(this.#child as ChildProcess, 'exit');
    this.#child?.kill('SIGKILL');
    await gone;
  }

  /** Ends it for good. */
  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** How the tests themselves reach it. */
  protected get access(): RedisOptions {
    return { port: this.port, host: '127.0.0.1' };
  }

  protected async launch(args: readonly string[]): Promise<void> {
    const binary = process.env.REDIS_SERVER_BIN ?? findBinary('redis-server');
    if (!binary) throw new Error('redis-server is missing: apt-get install redis-server');
    const child = (this.#child = spawn(binary, args, { stdio: 'ignore' }));
    const client = this.connect({
      retryStrategy: () => (this.isRunning ? 20 : null),
      maxRetriesPerRequest: 500,
    });
    try {
      await client.ping();
    } catch (error) {
      if (this.isRunning) throw error;
      throw new Error(`redis-server ended (${child.exitCode}): ${args.join(' ')}`, {
        cause: error,
      });
    } finally {
      client.disconnect();
    }
  }
}

export interface RedisServerOptions {
  /** The port of a Cluster's bus, 10000 higher, is one as well. */
  readonly reachableByBus?: boolean;
  /** Speaks TLS only. */
  readonly tls?: boolean;
  /** What applications log in as. Nobody can go without a login then. */
  readonly user?: RedisUser;
}

const QUIET = '--bind 127.0.0.1 --save  --appendonly no --loglevel warning'.split(' ');
const ADMIN = { username: 'admin', password: 'only-for-the-looks-of-tests' };

/** A redis-server of our own, on a free port. */
export class RedisServer extends RedisProcess implements RedisUnderTest {
  #certificate: Certificate | undefined;

  private constructor(
    port: number,
    private readonly args: readonly string[],
    private readonly details: RedisServerOptions,
  ) {
    super(port);
  }

  static async start(
    args: readonly string[] = [],
    options: RedisServerOptions = {},
  ): Promise<RedisServer> {
    for (let attempt = 1; ; attempt++) {
      let port = await freePort();
      while (options.reachableByBus && port > 55_000) port = await freePort();
      const server = new RedisServer(port, args, options);
      try {
        await server.run();
        return server;
      } catch (error) {
        // Its port, or that of the bus, was taken by somebody else meanwhile; or it does not start at all.
        const hasEnded = !server.isRunning;
        await server.stop().catch(() => undefined);
        if (!hasEnded || attempt === 5) throw error;
      }
    }
  }

  readonly servers: readonly RedisServer[] = [this];

  get url(): string {
    const { tls, user } = this.details;
    const login = user ? `${user.username}:${user.password}@` : '';
    return `redis${tls ? 's' : ''}://${login}127.0.0.1:${this.port}`;
  }

  /** Its certificate, if it speaks TLS. */
  get certificate(): Certificate | undefined {
    return this.#certificate;
  }

  async currentMasters(): Promise<readonly RedisServer[]> {
    return [this];
  }

  /** What an application is told; through gates that stand before it, by their ports. */
  connection(gates: ReadonlyMap<number, number> = new Map()): RedisConnection {
    const url = this.url.replace(/\d+$/, String(gates.get(this.port) ?? this.port));
    const ca = this.#certificate?.cert;
    return ca === undefined ? url : { url, tls: { ca } };
  }

  /** Starts it (again, on the same port) and waits until it answers. */
  async run(): Promise<void> {
    const { tls, user } = this.details;
    if (tls) this.#certificate ??= await makeCertificate(this.directory);
    const { certFile = '', keyFile = '' } = this.#certificate ?? {};
    const files = ['--tls-cert-file', certFile, '--tls-key-file', keyFile];
    const secure = [...files, '--tls-ca-cert-file', certFile, '--tls-auth-clients', 'no'];
    const port = `${this.port}`;
    const users = [
      // Only nobody can log in: a server reads its AOF as this user, and drops what it may not do.
      ['default', 'off', '~*', '&*', '+@all'],
      [ADMIN.username, 'on', `>${ADMIN.password}`, '~*', '&*', '+@all'],
      [user?.username ?? '', 'on', ...(user?.rules ?? [])],
    ];
    await this.launch([
      ...(tls ? ['--port', '0', '--tls-port', port, ...secure] : ['--port', port]),
      ...QUIET,
      '--dir',
      this.directory,
      ...(user ? users.flatMap((words) => ['--user', ...words]) : []),
      ...(user ? ['--masteruser', ADMIN.username, '--masterauth', ADMIN.password] : []),
      ...this.args,
    ]);
  }

  /** Ends it for good. Whatever a test did: no usable session id may be in it. */
  override async stop(): Promise<void> {
    try {
      if (this.isRunning) await this.assertClean();
    } finally {
      await super.stop();
    }
  }

  /** Fails if a usable session id is in it, or if the user of the application wanted more than it may. */
  async assertClean(): Promise<void> {
    const options = { retryStrategy: null, commandTimeout: 10_000, readOnly: true };
    const client = this.connect(options);
    try {
      const { places, handles } = await usableIdsIn(client);
      noteHandles(handles);
      if (places.length > 0) throw new Error(`usable session ids in Redis: ${places.join(', ')}`);
      const refused = this.details.user ? ((await client.call('ACL', 'LOG')) as unknown[]) : [];
      if (refused.length > 0) throw new Error(`refused by its rules: ${JSON.stringify(refused)}`);
    } finally {
      client.disconnect();
    }
  }

  protected override get access(): RedisOptions {
    return {
      ...super.access,
      ...(this.details.user && ADMIN),
      ...(this.#certificate && { tls: { ca: this.#certificate.cert } }),
    };
  }
}
