import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { setTimeout as pause } from 'node:timers/promises';
import { SessionService, type SessionModuleOptions } from 'nestjs-distributed-session';
import { inParallel, until, type TestApp } from '../support/app.js';
import { atMost } from '../support/fault-record.js';
import type { HttpClient } from '../support/http-client.js';
import { openHandles } from '../support/fault-stage.js';
import { areLive, changesDuring, figuresOf, nearApp } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { RedisCluster } from '../support/redis-cluster.js';
import type { RedisServer } from '../support/redis-server.js';
import { SlotMove } from '../support/slot-move.js';

/** How long something may be out of date, in milliseconds, while changes are told. */
const TOLD = atMost(100);

describe('copies of what a Cluster has', () => {
  const opened = new Opened();
  let cluster: RedisCluster;
  let nodes: TestApp[];
  let writer: HttpClient;
  let reader: HttpClient;

  beforeAll(async () => {
    cluster = await RedisCluster.start(3, { replicas: 1, nodeTimeout: 1_000 });
  }, 60_000);

  afterEach(opened.close);
  afterAll(() => cluster?.stop(), 30_000);

  const boot = async (more: SessionModuleOptions = {}) => {
    const start = () => opened.app(nearApp(cluster.connection(), more));
    nodes = [await start(), await start()];
    await areLive(nodes);
    writer = opened.browser(nodes[0]!);
    await writer.post('/login/alice');
    await writer.post('/note');
    reader = opened.browser(nodes[1]!, writer.jar);
    await isCopied();
  };
  const isCopied = async () => {
    const { hits } = figuresOf(nodes[1]!);
    await until('a copy is served', async () => {
      const { status } = await reader.get('/me');
      return status === 200 && figuresOf(nodes[1]!).hits > hits;
    });
  };
  const placeOf = async (principal: string): Promise<string> => {
    const sessions = nodes[0]!.app.get(SessionService).forPrincipal(principal);
    const [session] = await sessions.list();
    return `{sess:${session!.handle.slice(0, 2)}}`;
  };
  const holderOf = async (place: string): Promise<RedisServer> => {
    const client = cluster.connect();
    const slot = Number(await client.cluster('KEYSLOT', place));
    const ranges = (await client.cluster('SLOTS')) as unknown as [
      number,
      number,
      [string, number],
    ][];
    const range = ranges.find(([first, last]) => first <= slot && slot <= last);
    return cluster.servers.find(({ port }) => port === range?.[2][1])!;
  };
  const isAsEver = async () => {
    await isCopied();
    const after = await changesDuring(writer, reader, () => pause(500));
    expect(after.stale).toBeLessThan(TOLD);
    expect(after.reads).toEqual({ 200: expect.any(Number) });
  };

  it('are as young as ever while the slot moves to and fro, and from whoever has it then', async () => {
    await boot();
    const place = await placeOf('alice');
    const owners = new Set<number>();
    const seen = await changesDuring(writer, reader, async () => {
      for (let i = 0; i < 4; i++) {
        const move = await SlotMove.begin(cluster, place);
        owners.add(move.target);
        await pause(50);
        await move.keys();
        await pause(50);
        await move.end();
        await pause(50);
      }
    });
    expect(owners.size).toBeGreaterThan(1);
    expect(seen.stale).toBeLessThan(TOLD);
    expect(seen.reads[200]).toBeGreaterThan(50);
    expect(Object.keys(seen.reads)).toEqual(['200']);
    expect(await areLive(nodes)).toBeLessThan(atMost(1_000));
    await isAsEver();
  });

  it('of all masters are kept, and each tells of its own', async () => {
    await boot();
    const browsers = await inParallel(30, 5, async (i) => {
      const browser = opened.browser(nodes[0]!);
      await browser.post(`/login/user-${i}`);
      const beside = opened.browser(nodes[1]!, browser.jar);
      await beside.get('/me');
      return { browser, beside };
    });
    const { hits } = figuresOf(nodes[1]!);
    for (const { beside } of browsers) expect((await beside.get('/me')).status).toBe(200);
    expect(figuresOf(nodes[1]!).hits).toBe(hits + 30);
    await Promise.all(browsers.map(({ browser }) => browser.post('/logout')));
    await until('all are out', async () => {
      const answers = browsers.map(({ beside }) => beside.another(beside.jar).get('/me'));
      return (await Promise.all(answers)).every(({ status }) => status === 401);
    });
  });

  it('are kept again when the connections to one master were killed', async () => {
    await boot();
    const admin = (await holderOf(await placeOf('alice'))).connect();
    const seen = await changesDuring(writer, reader, async () => {
      for (const type of ['pubsub', 'normal', 'pubsub']) {
        await admin.call('CLIENT', 'KILL', 'TYPE', type);
        await pause(300);
        await areLive(nodes);
      }
    });
    admin.disconnect();
    expect(seen.stale).toBeLessThan(TOLD);
    await isAsEver();
  });

  it('leave nothing open when the application ends', async () => {
    const masters = cluster.masters.map((master) => master.connect());
    const connections = async () => {
      const lists = masters.map(async (one) =>
        String(await one.client('LIST')).match(/ sub=1 | flags=\w*t/g),
      );
      return (await Promise.all(lists)).map((found) => found?.length ?? 0);
    };
    expect(await connections()).toEqual([0, 0, 0]);
    await boot();
    expect(await connections()).toEqual([4, 4, 4]);
    const handles = openHandles();
    await opened.close();
    const all = async () => (await connections()).every((count) => count === 0);
    await until('all is closed', all);
    // Nor does anything come again.
    await pause(1_200);
    expect(await connections()).toEqual([0, 0, 0]);
    expect(openHandles()).toBeLessThan(handles);
    for (const one of masters) one.disconnect();
  });

  it('are none of a master that was killed; those of the next one are told of', async () => {
    await boot();
    const place = await placeOf('alice');
    const victim = await holderOf(place);
    const seen = await changesDuring(writer, reader, async () => {
      await victim.kill();
      await until('it is noticed', () => !figuresOf(nodes[1]!).live);
      const next = async () => {
        const current = await holderOf(place).catch(() => victim);
        return current !== victim && (await writer.post('/note')).status === 200;
      };
      await until('the next master takes writes', next, { within: 15_000 });
      await areLive(nodes);
      await pause(300);
    });
    expect(seen.stale).toBeLessThan(TOLD);
    expect(seen.reads[503]).toBeGreaterThan(0);
    await isAsEver();
    await cluster.run();
    await isAsEver();
  });
});
