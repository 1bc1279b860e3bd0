import { Cluster, Redis } from 'ioredis';
import { until } from './app.js';
import { RedisServer } from './redis-server.js';

const SLOTS = 16_384;

/** Masters of a Cluster on free ports of the loopback interface, each with its share of the slots. */
export class RedisCluster {
  readonly #clients: Cluster[] = [];

  private constructor(readonly masters: readonly RedisServer[]) {}

  static async start(count = 3): Promise<RedisCluster> {
    const args = ['--cluster-enabled', 'yes', '--cluster-node-timeout', '2000'];
    const masters = await Promise.all(
      Array.from({ length: count }, () => RedisServer.start(args, { reachableByBus: true })),
    );
    const cluster = new RedisCluster(masters);
    await cluster.#form();
    return cluster;
  }

  /** A client of the whole; ended with the Cluster. */
  connect(): Cluster {
    const nodes = this.masters.map(({ port }) => ({ host: '127.0.0.1', port }));
    const client = new Cluster(nodes, { redisOptions: { commandTimeout: 5_000 } });
    this.#clients.push(client);
    return client;
  }

  async stop(): Promise<void> {
    for (const client of this.#clients) client.disconnect();
    for (const master of this.masters) await master.stop();
  }

  async #form(): Promise<void> {
    const share = Math.ceil(SLOTS / this.masters.length);
    const nodes = this.masters.map(({ port }) => new Redis(port, '127.0.0.1'));
    try {
      for (const [i, node] of nodes.entries()) {
        const last = Math.min(SLOTS, (i + 1) * share) - 1;
        await node.cluster('ADDSLOTSRANGE', i * share, last);
        await node.cluster('SET-CONFIG-EPOCH', i + 1);
      }
      for (const { port } of this.masters.slice(1)) {
        await nodes[0]!.cluster('MEET', '127.0.0.1', port);
      }
      const knowsAll = async (node: Redis) => {
        const info = await node.cluster('INFO');
        const known = `cluster_known_nodes:${nodes.length}`;
        return info.includes('cluster_state:ok') && info.includes(known);
      };
      const formed = async () => (await Promise.all(nodes.map(knowsAll))).every(Boolean);
      await until('the Cluster is formed', formed, { within: 20_000 });
    } finally {
      for (const node of nodes) node.disconnect();
    }
  }
}
