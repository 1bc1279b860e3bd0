import { afterEach, describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import {
  SessionEvents,
  SessionService,
  type SessionEvent,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { until } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisSentinel } from '../support/redis-sentinel.js';
import type { RedisConnection } from '../support/redis-under-test.js';
import { SlotMove } from '../support/slot-move.js';

describe('what happens to sessions is heard', () => {
  const opened = new Opened();
  afterEach(opened.close, 60_000);

  const listen = async (redis: RedisConnection, more: SessionModuleOptions = {}) => {
    const session = { redis, events: true, ...more };
    const { app } = await opened.app({ adapter: 'express', session });
    const heard: SessionEvent[] = [];
    app.get(SessionEvents).events$.subscribe((event) => heard.push(event));
    return { sessions: app.get(SessionService), heard };
  };
  /** Sessions that were made, as far as that was acknowledged, until it is stopped. */
  const traffic = (sessions: SessionService) => {
    const made = new Set<string>();
    let isOver = false;
    const run = async () => {
      for (let i = 0; !isOver; i++) {
        const session = await sessions.create({ principal: `user-${i % 500}` }).catch(() => null);
        if (session) made.add(session.handle);
        await delay(2);
      }
    };
    const running = run();
    const stop = () => ((isOver = true), running);
    return { made, stop };
  };
  const heardAll = async (made: ReadonlySet<string>, heard: readonly SessionEvent[]) => {
    const missing = () => {
      const created = new Set(heard.map(({ type, handle }) => type === 'created' && handle));
      return [...made].filter((handle) => !created.has(handle));
    };
    await until('all that was made', () => missing().length === 0, { within: 20_000 }).catch(
      () => undefined,
    );
    expect(missing()).toEqual([]);
    expect(new Set(heard.map(({ id }) => id)).size).toBe(heard.length);
  };

  it('in a Cluster, while slots move under traffic', async () => {
    const cluster = await RedisCluster.start(3);
    opened.add({ close: () => cluster.stop() });
    const [{ sessions, heard }, other] = [
      await listen(cluster.connection()),
      await listen(cluster.connection()),
    ];
    const { made, stop } = traffic(sessions);
    await until('some traffic', () => made.size > 200);
    for (const bucket of ['0a', '7f', 'c3', 'ee']) {
      const move = await SlotMove.begin(cluster, `{sess:${bucket}}:e`);
      await move.keys();
      await move.end();
    }
    await delay(1_000);
    await stop();
    await heardAll(made, heard);
    await heardAll(made, other.heard);
  }, 90_000);

  it('in a Cluster, of no session that lives while its slot is under way', async () => {
    const cluster = await RedisCluster.start(3);
    opened.add({ close: () => cluster.stop() });
    const { sessions, heard } = await listen(cluster.connection(), {
      idleTimeout: '2s',
      events: { sweepEvery: 100 },
    });
    const { handle } = await sessions.create({ principal: 'alice' });
    const hash = `{sess:${handle.slice(0, 2)}}`;
    // It was used since, whoever did that.
    const client = cluster.connect();
    expect(await client.pexpire(`${hash}:s:${handle}`, 9_000)).toBe(1);
    client.disconnect();
    const move = await SlotMove.begin(cluster, `${hash}:e`);
    // What is beside the record has gone ahead.
    await move.keys((key) => !key.includes(':s:'));
    await delay(3_500);
    await move.keys();
    await move.end();
    // What was told meanwhile is heard by now.
    await delay(1_500);
    expect(heard.map(({ type }) => type)).toEqual(['created', 'authenticated']);
    await until('its end', () => heard.length === 3, { within: 15_000 });
    expect(heard[2]).toMatchObject({ type: 'expired', handle });
  }, 60_000);

  it('in a Cluster, when a master is gone', async () => {
    const cluster = await RedisCluster.start(3, { replicas: 1 });
    opened.add({ close: () => cluster.stop() });
    const { sessions, heard } = await listen(cluster.connection());
    const { made, stop } = traffic(sessions);
    await until('some traffic', () => made.size > 200);
    const [master] = await cluster.currentMasters();
    await master?.kill();
    await until('another is master', async () => (await cluster.currentMasters()).length === 3, {
      within: 20_000,
    });
    const before = made.size;
    await until('traffic goes on', () => made.size > before + 500, { within: 30_000 });
    await stop();
    // What a master had acknowledged and its replica has not is lost, with what was told of it.
    const kept = new Set<string>();
    for (const handle of made) if (await sessions.find(handle)) kept.add(handle);
    await heardAll(kept, heard);
  }, 120_000);

  it('by Sentinel, after a failover', async () => {
    const redis = await RedisSentinel.start({});
    opened.add({ close: () => redis.stop() });
    const { sessions, heard } = await listen(redis.connection());
    const { made, stop } = traffic(sessions);
    await until('some traffic', () => made.size > 200);
    await redis.failover();
    const before = made.size;
    await until('traffic goes on', () => made.size > before + 300, { within: 30_000 });
    await stop();
    const kept = new Set<string>();
    for (const handle of made) {
      // Connections to the old master are cut once more while it becomes a replica.
      const { found } = await until('the store answers', () =>
        sessions.find(handle).then(
          (session) => ({ found: session !== undefined }),
          () => undefined,
        ),
      );
      if (found) kept.add(handle);
    }
    await heardAll(kept, heard);
  }, 90_000);
});
