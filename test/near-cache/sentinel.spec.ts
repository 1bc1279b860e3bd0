import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { setTimeout as pause } from 'node:timers/promises';
import { until, type TestApp } from '../support/app.js';
import { atMost } from '../support/fault-record.js';
import type { HttpClient } from '../support/http-client.js';
import { openHandles } from '../support/fault-stage.js';
import { areLive, changesDuring, figuresOf, nearApp } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { RedisSentinel } from '../support/redis-sentinel.js';

/** How long something may be out of date, in milliseconds, while changes are told. */
const TOLD = atMost(100);

describe('copies of what a master behind sentinels has', () => {
  const opened = new Opened();
  let set: RedisSentinel;
  let nodes: TestApp[];
  let writer: HttpClient;
  let reader: HttpClient;

  beforeAll(async () => {
    set = await RedisSentinel.start({ downAfter: 1_000, failoverTimeout: 3_000 });
    const start = () => opened.app(nearApp(set.connection()));
    nodes = [await start(), await start()];
    await areLive(nodes);
    writer = opened.browser(nodes[0]!);
    await writer.post('/login/alice');
    reader = opened.browser(nodes[1]!, writer.jar);
  }, 60_000);

  afterAll(async () => {
    await opened.close();
    await set?.stop();
    // After a failover ioredis keeps timers of that length for its connections to the sentinels.
    await pause(2_000);
  }, 30_000);

  it.each(['replaced', 'killed'])(
    'are none of one that was %s, and are told of by the next',
    async (how) => {
      await writer.post('/note');
      const before = await set.master();
      const { flushes } = figuresOf(nodes[1]!);
      const seen = await changesDuring(writer, reader, async () => {
        if (how === 'killed') await before.kill();
        await (how === 'killed' ? set.replaced(before) : set.failover());
        await until('it is noticed', () => figuresOf(nodes[1]!).flushes > flushes);
        await areLive(nodes);
        await until('it takes writes', async () => (await writer.post('/note')).status === 200);
        await pause(300);
      });
      // Until its sentinel says so a node is at who was master, and so is one that keeps no copies.
      expect(seen.stale).toBeLessThan(how === 'killed' ? TOLD : 2_000);
      const { hits } = figuresOf(nodes[1]!);
      const after = await changesDuring(writer, reader, () => pause(500));
      expect(after.stale).toBeLessThan(TOLD);
      expect(figuresOf(nodes[1]!).hits).toBeGreaterThan(hits);
    },
  );

  it('leave nothing open when the application ends while no sentinel answers', async () => {
    await opened.close();
    await pause(2_200);
    const handles = openHandles();
    const apart = new Opened();
    const node = await apart.app(nearApp(set.connection()));
    await areLive([node]);
    const master = await set.master();
    await Promise.all(set.sentinels.map((sentinel) => sentinel.kill()));
    const admin = master.connect();
    await admin.call('CLIENT', 'KILL', 'TYPE', 'pubsub');
    await until('it is noticed', () => !figuresOf(node).live);
    await pause(200);
    expect(figuresOf(node)).toMatchObject({ live: false, entries: 0 });
    admin.disconnect();
    await apart.close();
    await until('all is closed', () => openHandles() <= handles);
  });
});
