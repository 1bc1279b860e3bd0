import { afterEach, describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import {
  SessionEvents,
  SessionService,
  type SessionFigures,
  type SessionModuleOptions,
  type SessionObserver,
} from 'nestjs-distributed-session';
import type { StoreNews } from '../../lib/core/store-news.interface.js';
import { bucketName, bucketOf, BUCKETS } from '../../lib/core/session-id.js';
import type { EventSource } from '../../lib/events/event-source.js';
import { ExpirySweeper } from '../../lib/events/expiry-sweeper.js';
import { PrincipalCensus } from '../../lib/events/principal-census.js';
import { inParallel, Latch, SECRET, until, type TestApp } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';
import { patient, startRedis } from '../support/redis-under-test.js';

const MINUTE = 60_000;
const BLIND = { encryption: { keys: SECRET, mode: 'store-blind' } } as const;

/** What an application's figures are read by. */
class Watcher implements SessionObserver {
  #figures: SessionFigures | undefined;

  step = <T>(_step: unknown, run: () => Promise<T>): Promise<T> => run();
  rejected = (): void => undefined;
  watch = (figures: SessionFigures) => {
    this.#figures = figures;
    return () => undefined;
  };

  get expiry() {
    return this.#figures?.expiry();
  }
}

/** How often Redis has carried out a command, sent or in a script. */
async function callsOf(probe: RedisProbe, name: string): Promise<number> {
  const told = await Promise.all(probe.nodes.map((node) => node.info('commandstats')));
  const calls = told.map((one) => new RegExp(`^cmdstat_${name}:calls=(\\d+)`, 'm').exec(one)?.[1]);
  return calls.reduce((sum, one) => sum + Number(one ?? 0), 0);
}

/** A store that a test steps in before; its lease is to be had although an application has it. */
const steppedInto = (store: StoreNews, stepIn: Partial<StoreNews>): StoreNews =>
  new Proxy(store, {
    get(target, name) {
      if (name in stepIn) return stepIn[name as 'sample'];
      if (name === 'lease') return async () => true;
      const value: unknown = Reflect.get(target, name);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });

describe('how many principals are live', () => {
  const opened = new Opened();
  afterEach(opened.close, 60_000);

  const begin = async () => {
    const redis = await startRedis();
    opened.add({ close: () => redis.stop() });
    const probe = await RedisProbe.start(redis);
    opened.add({ close: () => probe.stop() });
    return { redis, probe };
  };
  /** Sweeps by itself once only, at its start, unless it is told otherwise. */
  const open = (session: SessionModuleOptions): Promise<TestApp> =>
    opened.app({ adapter: 'fastify', session: { events: { sweepEvery: '1h' }, ...session } });
  const sourceOf = ({ app }: TestApp) => app.get(SessionEvents).sources[0] as EventSource;
  const countWith = async (source: EventSource, sample?: number) => {
    const census = new PrincipalCensus(source, sample === undefined ? {} : { sample });
    census.begin();
    await inParallel(BUCKETS.length, 16, (i) => census.count(BUCKETS[i] as string));
    return census.principals as number;
  };
  const sweepAll = ({ store, news }: EventSource) =>
    inParallel(BUCKETS.length, 16, async (i) => {
      const sweep = () => store.sweep(BUCKETS[i] as string, news.message(['expired']));
      while ((await sweep()).more);
    });

  it.each([
    ['3,000', 'within 5 %', 'as it is', 3_000, 20, {}],
    ['600', 'within 15 %', 'where the store is blind', 600, 4, BLIND],
  ] as const)(
    'is estimated of %s with 1 to 9 sessions each %s, %s',
    async (_number, bound, _how, many, sample, encrypted) => {
      const { redis, probe } = await begin();
      const app = await open({ redis: patient(redis), ...encrypted });
      const sessions = app.app.get(SessionService);
      const owners = Array.from({ length: many }, (_, i) =>
        Array<string>(1 + (i % 9)).fill(`user-${i}`),
      );
      // Others are nobody's.
      const all = [...owners.flat(), ...Array<undefined>(many).fill(undefined)];
      const made = await inParallel(all.length, 50, async (i) => {
        const principal = all[i];
        const { handle } = await sessions.create(principal === undefined ? {} : { principal });
        return { principal, handle };
      });
      // A third ends by time. They stand in their places still, and some had all of theirs among them.
      const ended = made.filter((_one, i) => i % 3 === 0).map(({ handle }) => handle);
      await probe.endOver(ended, -10_000, -5_000);
      const source = sourceOf(app);
      await sweepAll(source);
      const left = made.filter(({ principal }, i) => i % 3 > 0 && principal !== undefined);
      const truth = new Set(left.map(({ principal }) => principal)).size;
      expect(truth).toBeLessThan(many);
      const errorOf = (count: number) => (100 * (count - truth)) / truth;

      const before = [await callsOf(probe, 'evalsha'), await callsOf(probe, 'hget')] as const;
      const sampled = errorOf(await countWith(source, sample));
      const sent = (await callsOf(probe, 'evalsha')) - before[0];
      const read = (await callsOf(probe, 'hget')) - before[1];
      expect(Math.abs(sampled)).toBeLessThan(parseFloat(bound.slice('within '.length)));
      expect(sent).toBeGreaterThan(BUCKETS.length);
      // Beside, the application keeps its lease.
      expect(sent).toBeLessThan(2 * BUCKETS.length + 20);
      expect(read).toBeGreaterThan((BUCKETS.length * sample) / 2);
      expect(read).toBeLessThanOrEqual(BUCKETS.length * sample);
      const usual = errorOf(await countWith(source));
      expect(Math.abs(usual)).toBeLessThan(1);
      // All that there are.
      expect(await countWith(source, 1_000)).toBe(truth);
      process.stdout.write(
        `${truth} principals: ${sampled.toFixed(2)} % off by ${sample} sessions of each bucket, ${usual.toFixed(2)} % by 100\n`,
      );
    },
    120_000,
  );

  it('is about one for somebody with hundreds of sessions', async () => {
    const { redis, probe } = await begin();
    const app = await open({ redis: redis.connection() });
    const sessions = app.app.get(SessionService);
    const made = await inParallel(400, 50, () => sessions.create({ principal: 'alice' }));
    const ended = made.filter((_one, i) => i % 4 === 0).map(({ handle }) => handle);
    await probe.endOver(ended, -10_000, -5_000);
    const source = sourceOf(app);
    await sweepAll(source);
    // How many of theirs live is estimated, too.
    expect([1, 2]).toContain(await countWith(source));
    // Where their place was dropped, those that are seen are theirs at least.
    for (const key of await probe.keys('*:p:*')) await probe.client.del(key);
    expect(await countWith(source)).toBe(3);
  });

  it('is told once a minute, where somebody is told, and follows what happens', async () => {
    const { redis, probe } = await begin();
    const watcher = new Watcher();
    let ahead = 0;
    const clock = { now: () => Date.now() + ahead };
    const app = await open({
      redis: redis.connection(),
      events: { sweepEvery: 50 },
      observer: watcher,
      clock,
    });
    const sessions = app.app.get(SessionService);
    await until('a first count', () => watcher.expiry?.principals === 0);
    for (let i = 0; i < 60; i++) await sessions.create({ principal: `user-${i % 20}` });
    await until('they are alive', () => watcher.expiry?.sessions === 60);
    expect(watcher.expiry?.principals).toBe(0);
    ahead += MINUTE;
    await until('they are counted', () => watcher.expiry?.principals === 20);

    await sessions.forPrincipal('user-3').revokeAll();
    await sessions.revoke((await sessions.forPrincipal('user-4').list())[0]!.handle);
    const before = await callsOf(probe, 'zrandmember');
    await until('they have ended', () => watcher.expiry?.sessions === 56);
    ahead += MINUTE;
    await until('that is counted', () => watcher.expiry?.principals === 19);
    await delay(300);
    expect((await callsOf(probe, 'zrandmember')) - before).toBe(BUCKETS.length);

    // A clock that was set back does not stop it.
    await sessions.create({ principal: 'somebody' });
    ahead -= 60 * MINUTE;
    await until('it goes on', () => watcher.expiry?.principals === 20);
  }, 60_000);

  it('costs nothing where nobody is told', async () => {
    const { redis, probe } = await begin();
    const { app } = await open({ redis: redis.connection(), events: { sweepEvery: 50 } });
    await app.get(SessionService).create({ principal: 'alice' });
    const before = await callsOf(probe, 'zrandmember');
    const swept = () => callsOf(probe, 'zrangebyscore');
    const rounds = (await swept()) + 3 * BUCKETS.length;
    await until('three rounds', async () => (await swept()) >= rounds);
    expect((await callsOf(probe, 'zrandmember')) - before).toBe(0);
  });

  it('is told by one node, and by the next when that leaves, which counts at once', async () => {
    const { redis } = await begin();
    const maker = await open({ redis: redis.connection() });
    await maker.app.get(SessionService).create({ principal: 'alice' });
    await maker.close();
    opened.drop(maker);
    const watchers = [new Watcher(), new Watcher()];
    const nodes = [];
    for (const observer of watchers) {
      nodes.push(await open({ redis: redis.connection(), events: { sweepEvery: 50 }, observer }));
    }
    await until('one tells', () => watchers[0]!.expiry?.principals === 1);
    expect(watchers[1]!.expiry).toBeUndefined();
    await nodes[0]!.close();
    opened.drop(nodes[0]!);
    await until('the other tells', () => watchers[1]!.expiry?.principals === 1);
  }, 30_000);

  it('is forgotten by a node that another took the work from, and counted at once when it is back', async () => {
    const { redis } = await begin();
    const app = await open({ redis: redis.connection() });
    const sessions = app.app.get(SessionService);
    await sessions.create({ principal: 'alice' });
    const source = sourceOf(app);
    let isHeld = true;
    const store = steppedInto(source.store, { lease: async () => isHeld });
    const onTrouble = () => undefined;
    const sweeper = new ExpirySweeper({ ...source, store }, { every: 20, counts: true, onTrouble });
    opened.add({ close: () => sweeper.stop() });
    sweeper.start();
    await until('it tells', () => sweeper.figures?.principals === 1);
    isHeld = false;
    await until('it tells no more', () => sweeper.figures === undefined);
    await sessions.create({ principal: 'bob' });
    isHeld = true;
    await until('it tells again', () => sweeper.figures?.principals !== undefined);
    expect(sweeper.figures).toMatchObject({ sessions: 2, principals: 2 });
  });

  it('is left out while a bucket cannot be counted, and what ends is told of all the same', async () => {
    const { redis } = await begin();
    let ahead = 0;
    const app = await open({
      redis: redis.connection(),
      clock: { now: () => Date.now() + ahead },
    });
    const source = sourceOf(app);
    await app.app.get(SessionService).create({ principal: 'alice' });
    let fails = true;
    const troubles: unknown[] = [];
    const store = steppedInto(source.store, {
      sample: async (bucket, limit) => {
        if (fails && bucket === bucketName(bucketOf('alice')))
          throw new Error('a bucket that cannot be counted');
        return source.store.sample!(bucket, limit);
      },
    });
    const sweeper = new ExpirySweeper(
      { ...source, store },
      { every: 20, counts: true, onTrouble: (error) => troubles.push(error) },
    );
    opened.add({ close: () => sweeper.stop() });
    sweeper.start();
    const first = await until('a round', () => sweeper.figures);
    expect(first).toMatchObject({ sessions: 1, principals: undefined });
    await delay(500);
    expect(sweeper.figures).toMatchObject({ sessions: 1, principals: undefined });
    expect(troubles).toHaveLength(1);
    fails = false;
    ahead += MINUTE;
    await until('it is told', () => sweeper.figures?.principals === 1);
    fails = true;
    ahead += MINUTE;
    await until('the next fails', () => troubles.length === 2);
    ahead += MINUTE;
    await until('it is left out', () => sweeper.figures?.principals === undefined);
  }, 30_000);

  it('holds up nobody who stops', async () => {
    const { redis } = await begin();
    const app = await open({ redis: redis.connection() });
    const source = sourceOf(app);
    const latch = new Latch();
    let asked = 0;
    const store = steppedInto(source.store, {
      sample: async (bucket, limit) => {
        asked++;
        await latch.wait();
        return source.store.sample!(bucket, limit);
      },
    });
    const onTrouble = () => undefined;
    const sweeper = new ExpirySweeper({ ...source, store }, { every: 20, counts: true, onTrouble });
    sweeper.start();
    await latch.reached;
    const stopped = sweeper.stop();
    latch.open();
    await stopped;
    // Of all lanes what was under way, and no more.
    expect(asked).toBeLessThan(10);
  });

  it('is left out without the right to it, which keeps nobody from booting or sweeping', async () => {
    const rules = ['>only-for-the-looks', '~*', '&*', '+@all', '-zrandmember'];
    const user = { username: 'shop', password: 'only-for-the-looks', rules };
    const redis = await RedisServer.start([], { user });
    opened.add({ close: () => redis.stop() });
    const admin = redis.connect();
    opened.add({ close: () => admin.disconnect() });
    const watcher = new Watcher();
    let ahead = 0;
    const app = await open({
      redis: redis.connection(),
      events: { sweepEvery: 50 },
      observer: watcher,
      clock: { now: () => Date.now() + ahead },
    });
    await app.app.get(SessionService).create({ data: {} } as never);
    await until('it sweeps', () => watcher.expiry?.sessions === 1);
    expect(watcher.expiry).toMatchObject({ principals: undefined });
    expect(app.logger.texts('error')).toEqual([]);
    await admin.call('ACL', 'SETUSER', user.username, '+zrandmember');
    await app.app.get(SessionService).create({ principal: 'alice' });
    ahead += MINUTE;
    await until('it is told', () => watcher.expiry?.principals === 1);
    // It was refused, as it should.
    await admin.call('ACL', 'LOG', 'RESET');
  }, 30_000);

  it('is exact in memory, however many sessions somebody has', async () => {
    const watcher = new Watcher();
    let ahead = 0;
    const app = await open({
      store: 'memory',
      events: { sweepEvery: 50 },
      observer: watcher,
      clock: { now: () => Date.now() + ahead },
    });
    const sessions = app.app.get(SessionService);
    for (let i = 0; i < 250; i++) await sessions.create({ principal: 'alice' });
    for (let i = 0; i < 50; i++) await sessions.create({ principal: `user-${i}` });
    ahead += MINUTE;
    await until('they are counted', () => watcher.expiry?.principals === 51);
    expect(watcher.expiry?.sessions).toBe(300);
  }, 30_000);
});
