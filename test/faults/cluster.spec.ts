import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { SessionService } from 'nestjs-distributed-session';
import { SECRET, startApp, until, type TestApp } from '../support/app.js';
import { FaultLoad } from '../support/fault-load.js';
import { atMost, bound, recordFault } from '../support/fault-record.js';
import { FaultShop } from '../support/fault-shop.js';
import { expectStatuses, expectTruth } from '../support/fault-stage.js';
import { RedisCluster } from '../support/redis-cluster.js';
import type { RedisServer } from '../support/redis-server.js';
import { SlotMove } from '../support/slot-move.js';

const BUCKETS = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));

describe('a Cluster of three masters and their replicas', () => {
  let cluster: RedisCluster;
  let app: TestApp;
  let load: FaultLoad;

  beforeAll(async () => {
    cluster = await RedisCluster.start(3, { replicas: 1, nodeTimeout: 1_000 });
  }, 60_000);

  afterEach(async () => {
    load?.close();
    await app?.close();
  });

  afterAll(() => cluster?.stop(), 30_000);

  const begin = async (name: string) => {
    const session = {
      redis: cluster.connection(),
      secret: SECRET,
      cookie: { secure: false },
      durability: { replicas: 1 },
    };
    app = await startApp({ adapter: 'express', controllers: [FaultShop], session });
    load = new FaultLoad(app.port, { name, patience: 15_000 });
    await load.start();
  };

  it('whose slots move under traffic fails no request, and loses nothing', async () => {
    await begin('mover');
    const client = cluster.connect();
    const slots = await Promise.all(
      BUCKETS.map(async (bucket) => Number(await client.cluster('KEYSLOT', `{sess:${bucket}}`))),
    );
    // Where sessions are, and others until there are enough.
    const others = Array.from({ length: 16_384 }, (_, slot) => slot);
    const wanted = [...new Set([...slots, ...others])].slice(0, bound(1_000, 300));
    const since = performance.now();
    for (const slot of wanted) {
      const move = await SlotMove.begin(cluster, slot);
      await move.keys();
      await move.end();
    }
    const took = performance.now() - since;
    await load.stop();
    const figures = await load.figures(since);
    expect(Object.keys(figures.requests ?? {}).sort()).toEqual(['200', '204']);
    expectTruth(figures);
    expect(figures.late).toBe(0);
    recordFault({
      fault: 'Cluster: 1,000 slots move to other masters',
      done: 'Three masters with a replica each, `durability: { replicas: 1 }`, 8 visitors: the slots of all 256 buckets and 744 others are moved one by one, with what is in them.',
      figures: {
        ...figures,
        more: { 'slots moved': wanted.length, 'seconds that took': Math.round(took / 1_000) },
      },
    });
  }, 180_000);

  it('of which a master is killed loses nothing, and goes on within five seconds', async () => {
    await begin('killer');
    const victim = await masterOf('killer-prober');
    const since = performance.now();
    await victim.kill();
    const recovery = await load.recovery(15_000);
    await load.stop();
    const figures = { ...(await load.figures(since)), recovery };
    expectStatuses(figures);
    expectTruth(figures);
    expect(recovery).toBeLessThan(atMost(5_000));
    await cluster.run();
    recordFault({
      fault: 'Cluster: a master is killed',
      done: 'Three masters with a replica each, `cluster-node-timeout` 1 s, `durability: { replicas: 1 }`, 8 visitors: the master that has the session of who measures the recovery is ended by `kill -9`.',
      figures,
    });
  }, 120_000);

  it('of which a replica hangs refuses what it cannot confirm there, and only that', async () => {
    await begin('hanger');
    const service = app.app.get(SessionService);
    const victim = await masterOf('hanger-prober');
    const [port] = await replicaPortsOf(victim);
    const replica = cluster.servers.find((server) => server.port === port)!;
    replica.signal('SIGSTOP');
    try {
      await until('something is not confirmed', () => service.counters().unconfirmed > 3);
    } finally {
      replica.signal('SIGCONT');
    }
    await load.stop();
    expect(service.counters().breakerOpened).toBe(0);
    await until('logouts are confirmed', () => service.counters().logoutsPending === 0);
  }, 60_000);

  /** The master that has the session of a principal. */
  const masterOf = async (principal: string): Promise<RedisServer> => {
    const [session] = await app.app.get(SessionService).forPrincipal(principal).list();
    const client = cluster.connect();
    const slot = Number(await client.cluster('KEYSLOT', `{sess:${session!.handle.slice(0, 2)}}`));
    const ranges = (await client.cluster('SLOTS')) as unknown as [
      number,
      number,
      [string, number],
    ][];
    const range = ranges.find(([first, last]) => first <= slot && slot <= last);
    return cluster.servers.find((server) => server.port === range?.[2][1])!;
  };

  const replicaPortsOf = async (master: RedisServer): Promise<number[]> => {
    const client = master.connect();
    const info = await client.info('replication');
    client.disconnect();
    return [...info.matchAll(/^slave\d+:.*?port=(\d+)/gm)].map(([, port]) => Number(port));
  };
});
