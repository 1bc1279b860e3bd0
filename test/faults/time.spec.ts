import { afterEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { SessionService } from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { setTimeout as pause } from 'node:timers/promises';
import {
  ADAPTERS,
  inParallel,
  SECRET,
  until,
  type AdapterName,
  type TestApp,
} from '../support/app.js';
import { atMost, bound, recordFault } from '../support/fault-record.js';
import { FaultShop } from '../support/fault-shop.js';
import { Opened, pass } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';

const HOUR = 3_600_000;
const START = Date.now();

const opened = new Opened();
let server: RedisServer;

afterEach(async () => {
  await opened.close();
  await server?.stop();
});

describe.each(ADAPTERS)('a node whose clock is wrong, on %s', (adapter) => {
  it.each([
    ['1 h ahead', HOUR],
    ['1 h behind', -HOUR],
  ])('%s: nobody is logged out, and sessions end', async (wrong, offset) => {
    server = await RedisServer.start();
    const clocks = [new FakeClock(START), new FakeClock(START + offset)];
    const [right, other] = (await Promise.all(
      clocks.map((clock) =>
        startNode(adapter, { clock, absoluteTimeout: '4h', idleTimeout: '2h' }),
      ),
    )) as [TestApp, TestApp];
    const warnings = [right, other].map(({ logger }) => logger.texts('warn').join());
    expect(warnings[0]).not.toContain('clock');
    const where = offset > 0 ? 'ahead of' : 'behind';
    expect(warnings[1]).toContain(`The clock of this node is 60 minutes ${where} that of Redis`);
    const advance = (by: number) => clocks.forEach((clock) => clock.advance(by));
    const users = await inParallel(50, 10, async (i) => {
      const user = opened.browser(i % 2 === 0 ? right : other);
      expect((await user.post(`/login/user-${i}`)).status).toBe(200);
      return [...user.jar];
    });
    const at = (node: TestApp, some = users) => {
      const browsers = some.map((cookies) => opened.browser(node, cookies));
      return pass('/me', browsers).then((all) => all.filter(Boolean).length);
    };
    const loggedOut: number[] = [];
    for (let minutes = 0; minutes < 120; minutes += 30, advance(HOUR / 2)) {
      for (const node of [right, other, right]) loggedOut.push(users.length - (await at(node)));
    }
    expect(Math.max(...loggedOut)).toBe(0);
    for (const cookies of users) {
      const browser = opened.browser(other, cookies);
      expect((await browser.post('/write')).status).toBe(200);
      expect([...browser.jar]).toEqual(cookies);
    }

    // Their absolute end, by the clock of the node that they began on; by the other, an hour sooner or later.
    advance(2 * HOUR);
    const own = users.filter((_, i) => i % 2 === 0);
    const [met, unmet] = [own.slice(0, 10), own.slice(10)];
    const alive = await at(right, met);
    expect(alive).toBe(0);
    expect(await at(other, met)).toBe(0);
    advance(HOUR);
    const later = await at(other, unmet);
    expect(later).toBe(0);
    if (adapter === 'express') {
      recordFault({
        fault: `A node whose clock is ${wrong}`,
        done: `Two nodes on one Redis; 50 users log in, half of them on each, and go back and forth for two hours (\`absoluteTimeout: '4h'\`).`,
        figures: {
          more: {
            'Users logged out meanwhile': Math.max(...loggedOut),
            'Sessions alive on the right node after their absolute end': alive,
            'The same on the other node, an hour later': later,
          },
        },
      });
    }
  });
});

it.each(ADAPTERS)(
  'many sessions end at once, and a request hardly notices, on %s',
  async (adapter) => {
    const many = bound(300_000, 20_000);
    server = await RedisServer.start();
    const node = await startNode(adapter, {});
    const sessions = node.app.get(SessionService);
    await inParallel(many, 200, (i) => sessions.create({ principal: `user-${i % 1_000}` }));
    const reader = opened.browser(node);
    await reader.post('/login/reader');
    await reader.post('/write');
    const admin = server.connect();
    opened.add({ close: () => admin.disconnect() });
    expect(await sessions.count()).toBe(many + 1);

    const { handles } = (await reader.get('/devices/reader')).json as { handles: string[] };
    const end = Date.now() + bound(8_000, 1_500);
    await endAt(admin, end, handles[0]!);
    expect(Date.now()).toBeLessThan(end);
    await pause(end - Date.now() - 200);

    const times: number[] = [];
    const expired = async () =>
      Number(/expired_keys:(\d+)/.exec(await admin.info('stats'))?.[1]) >= many;
    let isOver = false;
    const reading = inParallel(4, 4, async () => {
      while (!isOver) {
        const at = performance.now();
        const { json } = await reader.get('/read');
        times.push(performance.now() - at);
        expect(json).toEqual({ n: 1 });
        await pause(2);
      }
    });
    await until('Redis has dropped them', expired, { within: 45_000 }).finally(() => {
      isOver = true;
    });
    const took = Date.now() - end;
    await reading;
    times.sort((a, b) => a - b);
    const p99 = times[Math.ceil(times.length * 0.99) - 1]!;
    expect(times.length).toBeGreaterThan(50);
    expect(p99).toBeLessThan(atMost(100));
    expect(await sessions.count()).toBe(1);
    for (const i of [0, 1, 999]) {
      expect(await sessions.forPrincipal(`user-${i}`).list()).toEqual([]);
    }
    recordFault({
      fault: `300 000 sessions that end at once, on ${adapter}`,
      done: 'All idle windows end at the same moment; four browsers read meanwhile.',
      figures: {
        requests: { 200: times.length },
        p99,
        longest: times.at(-1)!,
        more: { 'Redis had dropped them after': `${took} ms` },
      },
    });
  },
  240_000,
);

function startNode(adapter: AdapterName, session: object): Promise<TestApp> {
  const options = { redis: server.url, secret: SECRET, ...session };
  return opened.app({ adapter, controllers: [FaultShop], session: options });
}

/** Moves the ends of all sessions but one to the same moment. */
async function endAt(admin: Redis, end: number, except: string): Promise<void> {
  let cursor = '0';
  do {
    const [next, keys] = await admin.scan(cursor, 'MATCH', '*:s:*', 'COUNT', 5_000);
    const moved = keys.filter((key) => !key.endsWith(except));
    const pipeline = admin.pipeline();
    for (const key of moved) pipeline.pexpireat(key, end);
    await pipeline.exec();
    cursor = next;
  } while (cursor !== '0');
}
