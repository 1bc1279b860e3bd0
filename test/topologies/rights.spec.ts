import { afterEach, describe, expect, it } from '@jest/globals';
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
import { RedisServer } from '../support/redis-server.js';
import type { RedisConnection } from '../support/redis-under-test.js';
import { documentedForEvents, documentedInCluster, documentedUser } from '../support/redis-user.js';

const user = (more: readonly string[] = []) => {
  const documented = documentedUser();
  return { ...documented, rules: [...documented.rules, ...more] };
};

// What is refused to the user fails the end of each test: servers remember it.
describe('an application with no more rights than needed', () => {
  const opened = new Opened();
  afterEach(opened.close, 60_000);

  const boot = async (redis: RedisConnection, options: SessionModuleOptions = {}) => {
    const session = { redis, maxSessions: 3, ...options };
    const { app } = await opened.app({ adapter: 'express', session });
    return app.get(SessionService);
  };
  const works = async (sessions: SessionService) => {
    for (let i = 0; i < 20; i++) await sessions.create({ principal: `user-${i}` });
    expect(await sessions.forPrincipal('user-7').list()).toHaveLength(1);
    expect(await sessions.count()).toBe(20);
    expect(await sessions.revokeAllPrincipals()).toBe(20);
  };

  it('works in a Cluster with replicas', async () => {
    const cluster = await RedisCluster.start(3, { replicas: 1, user: user(documentedInCluster()) });
    opened.add({ close: () => cluster.stop() });
    await works(await boot(cluster.connection()));
  }, 60_000);

  it.each(['alone', 'in a Cluster'])(
    'is told of events %s, and does not boot without the rights for that',
    async (where) => {
      const inCluster = where !== 'alone';
      const start = (rules: readonly string[]) =>
        inCluster
          ? RedisCluster.start(3, { user: user([...documentedInCluster(), ...rules]) })
          : RedisServer.start([], { user: user(rules) });
      const redis = await start(documentedForEvents());
      opened.add({ close: () => redis.stop() });
      const sessions = await boot(redis.connection(), { events: true });
      const heard: SessionEvent[] = [];
      const { app } = await opened.app({
        adapter: 'express',
        session: { redis: redis.connection(), events: true },
      });
      app.get(SessionEvents).events$.subscribe((event) => heard.push(event));
      await works(sessions);
      await until('all ends', () => heard.filter(({ type }) => type === 'revoked').length === 20);
      expect(heard.filter(({ type }) => type === 'created')).toHaveLength(20);

      const poor = await start([]);
      opened.add({ close: () => poor.stop() });
      await expect(boot(poor.connection(), { events: true })).rejects.toThrow(
        /events need further rights/,
      );
      for (const master of await poor.currentMasters()) {
        const admin = master.connect();
        await admin.call('ACL', 'LOG', 'RESET');
        admin.disconnect();
      }
    },
    120_000,
  );

  it('works by Sentinel, and goes on with the next master', async () => {
    const sentinelUser = documentedUser('redis-cli -p 26379');
    const redis = await RedisSentinel.start({ user: user(), sentinelUser });
    opened.add({ close: () => redis.stop() });
    const sessions = await boot(redis.connection());
    await works(sessions);
    const { handle } = await sessions.create({ principal: 'alice' });
    const master = await redis.failover();
    expect(await redis.replicas()).not.toContain(master);
    const found = () => sessions.find(handle).catch(() => undefined);
    expect((await until('the next master serves', found))?.principal).toBe('alice');
    await sessions.forPrincipal('alice').revokeAll();
    expect(await sessions.count()).toBe(0);
    expect(await Promise.all(redis.sentinels.map((one) => one.refused()))).toEqual([[], [], []]);
  }, 60_000);
});
