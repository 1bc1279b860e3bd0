import { afterAll, afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { setTimeout as pause } from 'node:timers/promises';
import { SECRET, until, type TestApp } from '../support/app.js';
import { atMost, bound, recordFault } from '../support/fault-record.js';
import { FaultProxy } from '../support/fault-proxy.js';
import { FaultShop } from '../support/fault-shop.js';
import { HttpClient } from '../support/http-client.js';
import { LogoutLoad, type LogoutFigures } from '../support/logout-load.js';
import { Opened } from '../support/opened.js';
import { RedisSentinel } from '../support/redis-sentinel.js';
import type { RedisServer } from '../support/redis-server.js';

/** As docs/outages.md says that it is to be. */
const ARGS = ['--min-replicas-to-write', '1', '--min-replicas-max-lag', '10'];
/** What must have a write before it is acknowledged, and the applications that ask for it. */
const DURABILITY = {
  'both replicas': { durability: { replicas: 2 } },
  'one replica': { durability: { replicas: 1 } },
  'the master only': {},
} as const;
type Durability = keyof typeof DURABILITY;
type Figures = Record<Durability, LogoutFigures>;
const names = Object.keys(DURABILITY) as Durability[];

/** Milliseconds after which sentinels replace a master that is silent. */
const DOWN_AFTER = 1_000;

describe('a master behind sentinels', () => {
  const opened = new Opened();
  let set: RedisSentinel;
  let proxy: FaultProxy;
  let loads: Record<Durability, LogoutLoad>;
  let user: HttpClient;

  beforeEach(async () => {
    const front = async (port: number) => {
      proxy = await FaultProxy.start(port);
      return proxy.port;
    };
    set = await RedisSentinel.start({
      downAfter: DOWN_AFTER,
      failoverTimeout: 3_000,
      args: ARGS,
      front,
    });
    const apps = await Promise.all(
      names.map((name) => {
        const session = { redis: set.connection(), secret: SECRET, ...DURABILITY[name] };
        return opened.app({ adapter: 'express', controllers: [FaultShop], session });
      }),
    );
    user = opened.browser(apps[0]!);
    await user.post('/login/somebody');
    await user.post('/write');
    const load = (app: TestApp) => opened.add(new LogoutLoad(app.port, `user-${app.port}`, 4));
    loads = Object.fromEntries(names.map((name, i) => [name, load(apps[i]!)])) as typeof loads;
    await until('all log out', () => names.every((name) => loads[name].confirmed > 20));
  }, 60_000);

  afterEach(async () => {
    for (const server of set.servers) server.signal('SIGCONT');
    await opened.close();
    await proxy.stop();
    await set.stop();
  }, 30_000);

  // After a failover ioredis keeps timers of that length for its connections to the sentinels.
  afterAll(() => pause(2_000));

  /** Resolves when somebody who was logged in before is so again, with milliseconds since the fault. */
  const recovered = async (since: number): Promise<number> => {
    const works = async () => {
      const signal = AbortSignal.timeout(2_000);
      const answer = await user.post('/write', { signal }).catch(() => undefined);
      return answer?.status === 200;
    };
    await until('it works again', works, { within: 20_000 });
    return performance.now() - since;
  };

  /** When all servers agree again: what became of all promises. */
  const audit = async (): Promise<Figures> => {
    await Promise.all(names.map((name) => loads[name].stop()));
    const whole = async () => isWhole(set.servers);
    await until('one master serves the others', whole, { within: 30_000 });
    await pause(500);
    const all = names.map(async (name) => [name, await loads[name].figures()] as const);
    return Object.fromEntries(await Promise.all(all)) as Figures;
  };

  const expectKept = (figures: Figures) => {
    expect(figures['both replicas'].revived).toBe(0);
    expect(figures['both replicas'].confirmed).toBeGreaterThan(20);
  };

  const record = (fault: string, done: string, figures: Figures, recovery: number) => {
    const told = names.map((name) => {
      const { confirmed, refused, revived } = figures[name];
      return [
        `confirmed by ${name}`,
        `${confirmed} logouts, ${revived} of them revived; ${refused} refused`,
      ];
    });
    const more = Object.fromEntries(told) as Record<string, string>;
    recordFault({ fault: `Sentinel: ${fault}`, done, figures: { recovery, more } });
  };

  it('whose connections break leaves none behind at the sentinels', async () => {
    const subscribers = async () => {
      const all = set.sentinels.map(async (sentinel) => {
        const list = String(await sentinel.client('LIST'));
        return list.match(/sub=[1-9]/g)?.length ?? 0;
      });
      return (await Promise.all(all)).reduce((sum, one) => sum + one, 0);
    };
    const before = await subscribers();
    const admin = (await set.master()).connect();
    for (let i = 0; i < 5; i++) {
      await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
      const since = loads['one replica'].confirmed;
      await until('it goes on', () => loads['one replica'].confirmed > since + 5);
    }
    admin.disconnect();
    await until('no more than before', async () => (await subscribers()) <= before);
  }, 60_000);

  it('that is killed: no confirmed logout comes back, and it goes on within five seconds', async () => {
    const master = await set.master();
    const since = performance.now();
    await master.kill();
    const recovery = await recovered(since);
    await set.replaced(master);
    await master.run();
    const figures = await audit();
    expectKept(figures);
    expect(recovery).toBeLessThan(atMost(5_000));
    record(
      'the master is killed',
      'A master, two replicas and three sentinels (`down-after-milliseconds 1000`), `min-replicas-to-write 1`: visitors log in and out while the master is ended by `kill -9`; later it comes back as a replica.',
      figures,
      recovery,
    );
  }, 90_000);

  it('that freezes: no confirmed logout comes back, and nothing of it takes effect later', async () => {
    const master = await set.master();
    const since = performance.now();
    master.signal('SIGSTOP');
    const recovery = await recovered(since);
    await set.replaced(master);
    await pause(bound(8_000, 1_000));
    master.signal('SIGCONT');
    const figures = await audit();
    expectKept(figures);
    expect(recovery).toBeLessThan(atMost(5_000));
    record(
      'the master freezes for 8 s',
      'The same; the master gets `SIGSTOP`, is replaced, and gets `SIGCONT` after 8 s.',
      figures,
      recovery,
    );
  }, 90_000);

  it('that is replaced as planned: no confirmed logout comes back', async () => {
    const since = performance.now();
    await set.failover();
    const recovery = await recovered(since);
    await pause(bound(5_000, 1_000));
    const figures = await audit();
    expectKept(figures);
    expect(recovery).toBeLessThan(atMost(5_000));
    record(
      'a planned failover',
      'The same; `SENTINEL FAILOVER` while visitors log in and out.',
      figures,
      recovery,
    );
  }, 90_000);

  it('cut off from all others, but not from applications: no confirmed logout comes back', async () => {
    const master = await set.master();
    const since = performance.now();
    proxy.stall();
    await set.replaced(master);
    const recovery = await recovered(since);
    await pause(Math.max(0, bound(8_000, 4_000) - (performance.now() - since)));
    proxy.calm();
    const figures = await audit();
    expectKept(figures);
    expect(recovery).toBeLessThan(atMost(5_000));
    record(
      'split brain for 8 s',
      'The same; nothing passes between the master and the others for 8 s, while applications still reach all of them. The others elect a new master; the old one acknowledges what it then loses.',
      figures,
      recovery,
    );
  }, 90_000);
});

/** One of them is master, and all others have what it has. */
async function isWhole(servers: readonly RedisServer[]): Promise<boolean> {
  const infos = await Promise.all(servers.map((server) => infoOf(server.connect())));
  const masters = infos.filter((info) => info.includes('role:master'));
  const inSync = infos.filter((info) => info.includes('master_link_status:up'));
  return masters.length === 1 && inSync.length === servers.length - 1;
}

async function infoOf(client: Redis): Promise<string> {
  try {
    return await client.info('replication');
  } catch {
    return '';
  } finally {
    client.disconnect();
  }
}
