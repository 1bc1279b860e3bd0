import { Cluster, type Redis, type ClusterOptions } from 'ioredis';
import { until } from './app.js';
import { RedisServer } from './redis-server.js';
import type { RedisConnection, RedisUnderTest } from './redis-under-test.js';
import { loginOf, type RedisUser } from './redis-user.js';

const SLOTS = 16_384;

export interface RedisClusterOptions {
  /** Of each master. */
  readonly replicas?: number;
  /** Milliseconds after which a node that is silent counts as failed. */
  readonly nodeTimeout?: number;
  /** Arguments of each node. */
  readonly args?: readonly string[];
  readonly user?: RedisUser;
}

/** A Cluster on free ports of the loopback interface; each master has its share of the slots. */
export class RedisCluster implements RedisUnderTest {
  readonly #clients: Cluster[] = [];

  private constructor(
    /** Those that began as masters. */
    readonly masters: readonly RedisServer[],
    /** Those that began as replicas, as many of the first master as of the second … */
    readonly replicas: readonly RedisServer[],
    private readonly user: RedisUser | undefined,
  ) {}

  static async start(count = 3, options: RedisClusterOptions = {}): Promise<RedisCluster> {
    const { replicas = 0, nodeTimeout = 2_000, args = [], user } = options;
    const timeout = ['--cluster-node-timeout', String(nodeTimeout)];
    // Without a disk between, replicas say that they follow up to a second before they do.
    const all = ['--cluster-enabled', 'yes', ...timeout, '--repl-diskless-sync', 'no', ...args];
    const nodes = await Promise.all(
      Array.from({ length: count * (1 + replicas) }, () =>
        RedisServer.start(all, { reachableByBus: true, user }),
      ),
    );
    const cluster = new RedisCluster(nodes.slice(0, count), nodes.slice(count), user);
    await cluster.#form();
    return cluster;
  }

  get servers(): readonly RedisServer[] {
    return [...this.masters, ...this.replicas];
  }

  async currentMasters(): Promise<readonly RedisServer[]> {
    const running = this.servers.filter(({ isRunning }) => isRunning);
    const infos = await Promise.all(running.map((node) => ask(node, (c) => c.info('replication'))));
    return running.filter((_, i) => infos[i]!.includes('role:master'));
  }

  connection(gates: ReadonlyMap<number, number> = new Map()): RedisConnection {
    const at = (port: number) => ({ host: '127.0.0.1', port: gates.get(port) ?? port });
    const natMap = Object.fromEntries(
      this.servers.map(({ port }) => [`127.0.0.1:${port}`, at(port)]),
    );
    const nodes = this.masters.map(({ port }) => at(port));
    return {
      cluster: { nodes, ...(gates.size > 0 && { natMap }) },
      ...loginOf(this.user),
    };
  }

  /** A client of the whole, with every right; ended with the Cluster. */
  connect(options: ClusterOptions = {}): Cluster {
    const { username, password } = this.masters[0]!.connect({ lazyConnect: true }).options;
    const nodes = this.masters.map(({ port }) => ({ host: '127.0.0.1', port }));
    const redisOptions = { commandTimeout: 5_000, username, password };
    const client = new Cluster(nodes, { redisOptions, ...options });
    client.on('error', () => undefined);
    this.#clients.push(client);
    return client;
  }

  async kill(): Promise<void> {
    await Promise.all(this.servers.map((node) => node.kill()));
  }

  /** Starts what does not run, and waits until all slots are served again. */
  async run(): Promise<void> {
    const ended = this.servers.filter(({ isRunning }) => !isRunning);
    await Promise.all(ended.map((node) => node.run()));
    await this.isFormed();
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.disconnect();
    for (const node of this.servers) await node.stop();
  }

  /** Resolves when all nodes know all nodes, serve all slots, and replicas have what their masters have. */
  async isFormed(): Promise<void> {
    const clients = this.servers.map((node) => node.connect());
    const formed = async (node: Redis) => {
      const cluster = await node.cluster('INFO');
      const isOk = cluster.includes('cluster_state:ok');
      const knowsAll = cluster.includes(`cluster_known_nodes:${clients.length}`);
      const replication = await node.info('replication');
      const inSync = !replication.includes('master_link_status:down');
      return isOk && knowsAll && inSync;
    };
    try {
      const all = async () => (await Promise.all(clients.map(formed))).every(Boolean);
      await until('the Cluster is formed', all, { within: 20_000 });
    } finally {
      for (const client of clients) client.disconnect();
    }
  }

  async #form(): Promise<void> {
    const share = Math.ceil(SLOTS / this.masters.length);
    for (const [i, node] of this.servers.entries()) {
      await ask(node, async (client) => {
        await client.cluster('SET-CONFIG-EPOCH', i + 1);
        if (i > 0) await client.cluster('MEET', '127.0.0.1', this.masters[0]!.port);
        const last = Math.min(SLOTS, (i + 1) * share) - 1;
        if (i < this.masters.length) await client.cluster('ADDSLOTSRANGE', i * share, last);
      });
    }
    for (const [i, replica] of this.replicas.entries()) {
      const master = this.masters[i % this.masters.length]!;
      const id = String(await ask(master, (client) => client.cluster('MYID')));
      await ask(replica, async (client) => {
        const follows = () => client.cluster('REPLICATE', id).catch(() => false);
        await until('a replica knows its master', follows, { within: 20_000 });
      });
    }
    await this.isFormed();
  }
}

async function ask<T>(server: RedisServer, question: (client: Redis) => Promise<T>): Promise<T> {
  const client = server.connect();
  try {
    return await question(client);
  } finally {
    client.disconnect();
  }
}
