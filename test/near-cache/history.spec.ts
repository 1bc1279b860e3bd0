import { afterEach, describe, expect, it } from '@jest/globals';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { SessionService } from 'nestjs-distributed-session';
import { ADAPTERS, SECRET, until, type AdapterName, type TestApp } from '../support/app.js';
import { Opened } from '../support/opened.js';
import type { RedisConnection, RedisUnderTest } from '../support/redis-under-test.js';
import { startRedis, TOPOLOGY, trialsOf } from '../support/redis-under-test.js';
import { RedisProbe } from '../support/redis-probe.js';
import { Administrator, Browser, Counter, Household, World } from './history-players.js';
import { Network, type Weather } from './history-network.js';
import { Findings, seeded } from './history.js';

const OPERATIONS = Number(process.env.OPERATIONS ?? trialsOf(10_000));
/** The same seed sends the same requests, though not at the same moments. */
const SEED = Number(process.env.SEED ?? Date.now() % 1_000_000);
const HOUSEHOLDS = 12;
const BROWSERS = 24;

/** Most read; some do little else. */
const HABITS = { near: 0.72, strong: 0.82, raise: 0.96, regenerate: 0.99 };
const READS_MOSTLY = { near: 0.93, strong: 0.97, raise: 0.99, regenerate: 0.995 };
/** Milliseconds that a read may be behind. */
const BEHIND = 100;
/** Milliseconds at most that one node hears late of changes. */
const LATE = 30;
/** How old copies may be, in milliseconds, where nothing tells of changes; less than it takes to notice that. */
const MAX_AGE = 600;

/** How long nothing of this process ran at a time: what is told meanwhile is heard after. */
const pauses = monitorEventLoopDelay({ resolution: 5 });

describe('what three nodes with near caches have served', () => {
  const opened = new Opened();
  afterEach(opened.close, 60_000);

  const start = (adapter: AdapterName, redis: RedisConnection, nearCache: object) =>
    opened.app({
      adapter,
      controllers: [Counter],
      session: { redis, secret: SECRET, cookie: { secure: false }, nearCache },
    });

  const theRedis = async (): Promise<RedisUnderTest> => {
    const redis = await startRedis();
    opened.add({ close: () => redis.stop() });
    return redis;
  };

  const network = async (redis: RedisUnderTest, weather: Weather): Promise<Network> =>
    opened.add(await Network.start(redis, weather));

  /** One is near to Redis; one hears late of changes, and one hears late of all else. */
  const threeNodes = async (redis: RedisUnderTest, nearCache: object): Promise<TestApp[]> => {
    const lateEar = await network(redis, { ear: LATE, data: 0 });
    const lateData = await network(redis, { ear: 0, data: LATE / 3 });
    const nodes = [
      await start('express', patient(redis.connection()), nearCache),
      await start('fastify', patient(lateEar.connection), nearCache),
      await start('express', patient(lateData.connection), nearCache),
    ];
    await until('copies are kept', () => nodes.every((node) => figuresOf(node).live));
    return nodes;
  };

  it('is never older than it may be', async () => {
    const redis = await theRedis();
    const nodes = await threeNodes(redis, { maxAge: '10s', touchAfter: '1s' });
    const world = opened.add(new World(nodes));
    await play(world, OPERATIONS);
    const findings = new Findings(world.lines);
    report('all well', findings, nodes);

    expect({ SEED, ...findings.wrong }).toEqual({ SEED, ...NOTHING_WRONG });
    expect(findings.p999).toBeLessThanOrEqual(BEHIND);
    // One that is not told of a change shows here: copies live for longer.
    expect(findings.max).toBeLessThanOrEqual(BEHIND + pauses.max / 1e6);
    expect(findings.outages).toBe(0);
    expect(findings.ahead).toEqual([]);
    const hits = nodes.reduce((sum, node) => sum + figuresOf(node).hits, 0);
    expect(hits).toBeGreaterThan(findings.staleness.length / 4);
  }, 240_000);

  it('is neither while connections are cut again and again', async () => {
    const redis = await theRedis();
    const probe = await RedisProbe.start(redis);
    opened.add({ close: () => probe.stop() });
    const nodes = await threeNodes(redis, { maxAge: '10s', touchAfter: '1s' });
    const world = opened.add(new World(nodes));
    world.faulty = true;
    const work = play(world, Math.max(1_500, OPERATIONS / 5));
    let cuts = 0;
    const cutting = setInterval(() => {
      const type = cuts++ % 2 === 0 ? 'pubsub' : 'normal';
      for (const node of probe.nodes)
        void node.call('CLIENT', 'KILL', 'TYPE', type, 'SKIPME', 'yes');
    }, 200);
    await work.finally(() => clearInterval(cutting));
    const findings = new Findings(world.lines);
    report(`${cuts} cuts`, findings, nodes);

    expect({ SEED, ...findings.wrong }).toEqual({ SEED, ...NOTHING_WRONG });
    expect(findings.p999).toBeLessThanOrEqual(BEHIND);
    expect(cuts).toBeGreaterThan(1);
  }, 240_000);

  it.each<[string, (node: SessionService, handle: string) => Promise<unknown>]>([
    ['has read', async () => undefined],
    ['has saved', (node, handle) => node.update(handle, (one) => one.set('other', 1))],
    ['has granted', (node) => node.forPrincipal('alice').updateGrants({ claims: { x: 1 } })],
    ['has named', (node, handle) => node.forPrincipal('alice').setLabel(handle, 'Laptop')],
    ['has touched', (node, handle) => node.touch(handle)],
  ])('is told anew after a node %s', async (_, work) => {
    const redis = await theRedis();
    const nodes: TestApp[] = [];
    for (const adapter of ADAPTERS) nodes.push(await start(adapter, redis.connection(), {}));
    const world = opened.add(new World(nodes));
    const [here, there] = world.services as [SessionService, SessionService];
    const session = await here.create({ principal: 'alice', roles: ['0'] });
    const browser = world.clients[0]!.another([['session', here.tokenOf(session)]]);
    for (let count = 1; count <= 3; count++) {
      const { handle } = (await browser.get('/near')).json as { handle: string };
      await work(here, handle);
      await there.update(handle, (one) => void one.increment('count'));
      const isSeen = async () => (await browser.get('/near')).json['count'] === count;
      await until('the change is seen', isSeen, { within: 1_000 });
    }
  });

  // Who hears of changes cannot be told from outside where all is encrypted.
  it.each(TOPOLOGY === 'tls' ? (['all'] as const) : (['ears', 'all'] as const))(
    'is never older than maxAge on a node whose connections are open, and nothing comes by them: %s',
    async (dead) => {
      const redis = await theRedis();
      const nearCache = { maxAge: MAX_AGE };
      const way = await network(redis, { ear: 0, data: 0 });
      const nodes = [
        await start('express', redis.connection(), nearCache),
        await start('fastify', way.connection, nearCache),
      ];
      await until('copies are kept', () => nodes.every((node) => figuresOf(node).live));
      const world = opened.add(new World(nodes));
      world.faulty = true;
      let phase: Phase = 'busy';
      const working = Promise.all(
        Array.from({ length: 8 }, (_, i) =>
          readAcross(world, `user-${i}`, { ends: i % 2 === 0, phase: () => phase }),
        ),
      );
      await delay(300);
      phase = 'quiet';
      await delay(100);
      way.weather = { ear: 0, data: 0, dead };
      phase = 'dead';
      await working;
      const findings = new Findings(world.lines);
      report(`dead: ${dead}`, findings, nodes);

      expect({ ...findings.wrong }).toEqual(NOTHING_WRONG);
      // Something was served that nobody told was out of date, and so were sessions that were ended.
      expect(findings.max).toBeGreaterThan(MAX_AGE / 4);
      expect(findings.afterEnd.at(-1)).toBeGreaterThan(MAX_AGE / 4);
      expect(findings.max).toBeLessThan(MAX_AGE);
    },
    60_000,
  );
});

/** A machine that has much else to do is no outage. */
const patient = (connection: RedisConnection): RedisConnection => ({
  ...(typeof connection === 'string' ? { url: connection } : connection),
  commandTimeout: 5_000,
});

const NOTHING_WRONG = {
  ownMissed: [],
  strongStale: [],
  sameNodeStale: [],
  lost: [],
  loggedOut: [],
};

const figuresOf = ({ app }: TestApp) => app.get(SessionService).nearCache()!;

/** Before the connections die nobody writes for a moment: there are copies of all then. */
type Phase = 'busy' | 'quiet' | 'dead';

/** One browser that writes on the first node, and one with its cookie that reads on the second. */
async function readAcross(
  world: World,
  principal: string,
  { ends, phase }: { ends: boolean; phase: () => Phase },
): Promise<void> {
  const household = new Household(world, principal);
  const [writer, reader] = [0, 1].map((i) => new Browser(household, seeded(i + 1), HABITS));
  await writer!.join();
  await reader!.join();
  let isOver = false;
  const reading = (async () => {
    while (!isOver) {
      await reader!.read('near', 1);
      await delay(5);
    }
  })();
  while (phase() !== 'dead') {
    if (phase() === 'busy') await writer!.raise(0);
    await delay(10);
  }
  const since = performance.now();
  let hasEnded = false;
  while (performance.now() - since < 2 * MAX_AGE) {
    if (!ends) await writer!.raise(0);
    else if (!hasEnded) await writer!.logout(0);
    hasEnded = true;
    await delay(20);
  }
  isOver = true;
  await reading;
}

/** Browsers of several households, and administrators, until so much was done. */
async function play(world: World, operations: number): Promise<void> {
  pauses.reset();
  pauses.enable();
  const random = seeded(SEED);
  const households = Array.from(
    { length: HOUSEHOLDS },
    // Two have the same principal: they are revoked together.
    (_, i) => new Household(world, `user-${i >> 1}`),
  );
  const browsers = Array.from({ length: BROWSERS }, (_, i) => {
    const habits = i % HOUSEHOLDS < HOUSEHOLDS / 2 ? HABITS : READS_MOSTLY;
    return new Browser(households[i % HOUSEHOLDS]!, seeded(Math.floor(random() * 1e9)), habits);
  });
  const administrators = [0, 1].map((i) => {
    const theirs = households.filter((_, at) => (at >> 1) % 2 === i);
    return new Administrator(world, theirs, seeded(Math.floor(random() * 1e9)));
  });
  let done = 0;
  let failed = false;
  const working = async (player: { step(): Promise<void> }, pause: () => boolean) => {
    while (done < operations && !failed) {
      if (pause()) await delay(10);
      else {
        done++;
        await player.step().catch((error: unknown) => {
          failed = true;
          throw error;
        });
      }
    }
  };
  let turn = 0;
  await Promise.all([
    ...browsers.map((one) => working(one, () => false)),
    // They have less to do.
    ...administrators.map((one) => working(one, () => turn++ % 2 === 0)),
  ]);
  for (const one of browsers) await one.last();
}

function report(what: string, findings: Findings, nodes: readonly TestApp[]): void {
  const pause = (pauses.max / 1e6).toFixed(0);
  pauses.disable();
  const figures = nodes.map((node) => {
    const { hits, misses, behind, invalidations, flushes } = figuresOf(node);
    return `${hits} hits, ${misses} misses, ${behind} behind, ${invalidations} told, ${flushes} flushes`;
  });
  process.stdout.write(
    `${what}, seed ${SEED}, longest pause ${pause} ms: ${findings.text}\n  ${figures.join('\n  ')}\n`,
  );
}
