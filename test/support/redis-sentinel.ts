import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from './app.js';
import { freePort, RedisProcess, RedisServer } from './redis-server.js';
import type { RedisConnection, RedisUnderTest } from './redis-under-test.js';
import { loginOf, type RedisUser } from './redis-user.js';

/** What the sentinels call the master. */
const NAME = 'main';

export interface RedisSentinelOptions {
  readonly replicas?: number;
  readonly sentinels?: number;
  /**
   * Milliseconds after which a master that is silent is replaced. By default longer than any test: a
   * busy machine must not begin a failover that the test did not ask for.
   */
  readonly downAfter?: number;
  /** Milliseconds within which a failover that does not get on is given up. */
  readonly failoverTimeout?: number;
  /** Arguments of the master and of each replica. */
  readonly args?: readonly string[];
  readonly user?: RedisUser;
  /** By what port replicas and sentinels reach the first master, if not its own: so it can be cut off from them. */
  readonly front?: (port: number) => Promise<number>;
  /** Who asks the sentinels; nobody can without a login then. */
  readonly sentinelUser?: RedisUser;
}

/** A master with replicas, and sentinels that watch over them, on free ports of the loopback interface. */
export class RedisSentinel implements RedisUnderTest {
  private constructor(
    /** The master at first, and its replicas. */
    readonly servers: readonly RedisServer[],
    readonly sentinels: readonly Sentinel[],
    private readonly options: RedisSentinelOptions,
    /** By what port all others know the first master. */
    private readonly front: number,
  ) {}

  get #first(): number {
    return this.servers[0]!.port;
  }

  static async start(options: RedisSentinelOptions = {}): Promise<RedisSentinel> {
    const { replicas = 2, sentinels = 3, args = [], user } = options;
    // Without a disk between, replicas say that they follow up to a second before they do.
    const all = ['--repl-diskless-sync', 'no', ...args];
    const master = await RedisServer.start(all, { user });
    const front = (await options.front?.(master.port)) ?? master.port;
    const following = [...all, '--replicaof', `127.0.0.1 ${front}`];
    const servers = [
      master,
      ...(await Promise.all(
        Array.from({ length: replicas }, () => RedisServer.start(following, { user })),
      )),
    ];
    const set = new RedisSentinel(
      servers,
      await Promise.all(
        Array.from({ length: sentinels }, async () => new Sentinel(await freePort())),
      ),
      options,
      front,
    );
    await set.#replicasFollow();
    const begin = (sentinel: Sentinel) => sentinel.begin(master, front, sentinels, options);
    await Promise.all(set.sentinels.map(begin));
    await set.#isWatched();
    return set;
  }

  /** The one that takes writes, as most sentinels see it. */
  async master(): Promise<RedisServer> {
    const ports = await this.#answers((sentinel) => sentinel.masterPort());
    const count = (port: number) => ports.filter((other) => other === port).length;
    const [port] = ports.toSorted((one, other) => count(other) - count(one));
    return this.servers.find(
      (server) => server.port === (port === this.front ? this.#first : port),
    )!;
  }

  async replicas(): Promise<readonly RedisServer[]> {
    const master = await this.master();
    return this.servers.filter((server) => server !== master);
  }

  async currentMasters(): Promise<readonly RedisServer[]> {
    return [await this.master()];
  }

  connection(gates: ReadonlyMap<number, number> = new Map()): RedisConnection {
    const ways = new Map(gates);
    // An application is on the first master's side of what stands before it.
    if (this.front !== this.#first) ways.set(this.front, gates.get(this.#first) ?? this.#first);
    const natMap = Object.fromEntries(
      [...ways].map(([port, way]) => [`127.0.0.1:${port}`, { host: '127.0.0.1', port: way }]),
    );
    const { user, sentinelUser } = this.options;
    const nodes = this.sentinels.map(({ port }) => ({ host: '127.0.0.1', port }));
    return {
      sentinels: { name: NAME, nodes, ...loginOf(sentinelUser) },
      ...loginOf(user),
      ...(ways.size > 0 && { natMap }),
    };
  }

  /** A planned failover; resolves when all sentinels lead to another master. */
  async failover(): Promise<RedisServer> {
    const before = await this.master();
    await this.sentinels[0]!.ask('FAILOVER', NAME);
    return this.replaced(before);
  }

  /** Resolves when all running sentinels lead to another master than this. */
  async replaced(before: RedisServer, { within = 30_000 } = {}): Promise<RedisServer> {
    const agreed = async () => {
      const ports = await this.#answers((sentinel) => sentinel.masterPort());
      const old = before.port === this.#first ? this.front : before.port;
      return ports.every((port) => port === ports[0] && port !== old && port !== before.port);
    };
    await until('another master', agreed, { within });
    return this.master();
  }

  async kill(): Promise<void> {
    await Promise.all(this.servers.map((server) => server.kill()));
  }

  /** Starts what does not run, the last master first, and waits until the others have what it has. */
  async run(): Promise<void> {
    const master = await this.master();
    if (!master.isRunning) await master.run();
    const ended = this.servers.filter(({ isRunning }) => !isRunning);
    await Promise.all(ended.map((server) => server.run()));
    await this.#replicasFollow();
  }

  async stop(): Promise<void> {
    await Promise.all(this.sentinels.map((sentinel) => sentinel.stop()));
    for (const server of this.servers) await server.stop();
  }

  #answers<T>(question: (sentinel: Sentinel) => Promise<T>): Promise<T[]> {
    return Promise.all(this.sentinels.filter(({ isRunning }) => isRunning).map(question));
  }

  async #replicasFollow(): Promise<void> {
    const clients = this.servers.map((server) => server.connect());
    const follow = async () => {
      const infos = await Promise.all(clients.map((client) => client.info('replication')));
      return infos.filter((info) => info.includes('master_link_status:up')).length;
    };
    const all = async () => (await follow()) === this.servers.length - 1;
    await until('all replicas follow', all, { within: 20_000 });
    for (const client of clients) client.disconnect();
  }

  async #isWatched(): Promise<void> {
    const { servers, sentinels } = this;
    const counts = [servers.length - 1, sentinels.length - 1].join();
    const watched = async () => {
      const seen = await this.#answers((sentinel) => sentinel.seen());
      return seen.every((one) => one === counts);
    };
    await until('the sentinels know each other and all servers', watched, { within: 20_000 });
    await Promise.all(sentinels.map((sentinel) => sentinel.slowDown()));
  }
}

const ADMIN = { username: 'admin', password: 'only-for-the-looks-of-tests' };

/** One of those that watch over a master. */
class Sentinel extends RedisProcess {
  #restricted = false;

  /** Writes its configuration, which is its own from then on, and starts it. */
  async begin(
    master: RedisServer,
    port: number,
    count: number,
    options: RedisSentinelOptions,
  ): Promise<void> {
    const { downAfter = 600_000, failoverTimeout = 60_000, sentinelUser: user } = options;
    const { username, password } = master.connect({ lazyConnect: true }).options;
    const lines = [
      `port ${this.port}`,
      'bind 127.0.0.1',
      `dir "${this.directory}"`,
      'loglevel warning',
      `sentinel monitor ${NAME} 127.0.0.1 ${port} ${Math.floor(count / 2) + 1}`,
      `sentinel down-after-milliseconds ${NAME} ${downAfter}`,
      `sentinel failover-timeout ${NAME} ${failoverTimeout}`,
      ...(password ? [`sentinel auth-user ${NAME} ${username}`] : []),
      ...(password ? [`sentinel auth-pass ${NAME} ${password}`] : []),
      ...(user
        ? [
            'user default off',
            `user ${ADMIN.username} on >${ADMIN.password} allchannels +@all`,
            `user ${user.username} on ${user.rules.join(' ')}`,
            `sentinel sentinel-user ${ADMIN.username}`,
            `sentinel sentinel-pass ${ADMIN.password}`,
          ]
        : []),
    ];
    this.#restricted = user !== undefined;
    writeFileSync(join(this.directory, 'sentinel.conf'), lines.join('\n') + '\n');
    await this.run();
    // By default they tell each other of themselves every two seconds.
    await this.ask('DEBUG', 'publish-period', '100', 'info-period', '500');
  }

  run(): Promise<void> {
    return this.launch([join(this.directory, 'sentinel.conf'), '--sentinel']);
  }

  /** As they are by default, after they have met. */
  async slowDown(): Promise<void> {
    await this.ask('DEBUG', 'publish-period', '2000', 'info-period', '10000');
  }

  async ask(...words: string[]): Promise<unknown> {
    const client = this.connect();
    try {
      return await client.call('SENTINEL', ...words);
    } finally {
      client.disconnect();
    }
  }

  /** What it did not let anybody do. */
  async refused(): Promise<unknown[]> {
    const client = this.connect();
    const refused = (await client.call('ACL', 'LOG')) as unknown[];
    client.disconnect();
    return refused;
  }

  /** A command for the sentinel as a server. */
  async client(...words: string[]): Promise<unknown> {
    const client = this.connect();
    try {
      return await client.call('CLIENT', ...words);
    } finally {
      client.disconnect();
    }
  }

  async masterPort(): Promise<number> {
    const [, port] = (await this.ask('GET-MASTER-ADDR-BY-NAME', NAME)) as [string, string];
    return Number(port);
  }

  /** How many replicas and how many other sentinels it knows. */
  async seen(): Promise<string> {
    const replicas = (await this.ask('REPLICAS', NAME)) as unknown[];
    const others = (await this.ask('SENTINELS', NAME)) as unknown[];
    return [replicas.length, others.length].join();
  }

  protected override get access() {
    return { ...super.access, ...(this.#restricted && ADMIN) };
  }
}
