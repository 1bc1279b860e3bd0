import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Controller, Get, Post, UseGuards } from '@nestjs/common';
import { PrometheusExporter, PrometheusSerializer } from '@opentelemetry/exporter-prometheus';
import {
  Principal,
  Session,
  SessionGuard,
  SessionModule,
  SessionService,
} from 'nestjs-distributed-session';
import { ROOT, tableRows } from '../docs/pages.js';
import { ADAPTERS, inParallel, SECRET, startApp, until, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { RedisServer } from '../support/redis-server.js';
import { expectNoIds, issuedIds } from '../support/secrets.js';
import { Collector, sum } from './collector.js';

@Controller()
class Shop {
  @Post('login') async login(@Session() session: Session) {
    await session.authenticate('alice-in-wonderland', { roles: ['customer'] });
    session.set('teas', ['a-secret-tea']);
    return {};
  }

  @Get('me') @UseGuards(SessionGuard) me(@Principal() principal: string) {
    return { principal };
  }

  @Post('cart') add(@Session() session: Session) {
    return { items: session.increment('items') };
  }

  @Post('logout') async logout(@Session() session: Session) {
    await session.destroy();
    return {};
  }
}

describe('metrics and spans', () => {
  let redis: RedisServer;
  let collector: Collector;
  let app: TestApp | undefined;

  beforeAll(async () => {
    redis = await RedisServer.start();
  });

  afterAll(() => redis.stop());

  beforeEach(async () => {
    const client = redis.connect();
    await client.flushall();
    client.disconnect();
    collector = new Collector();
  });

  afterEach(async () => {
    await app?.close();
    app = undefined;
    await collector.stop();
  });

  const commandCalls = async (): Promise<Record<string, number>> => {
    const client = redis.connect();
    const told = await client.info('commandstats');
    client.disconnect();
    const lines = [...told.matchAll(/^cmdstat_([\w|-]+):calls=(\d+)/gm)];
    return Object.fromEntries(lines.map(([, name, calls]) => [name as string, Number(calls)]));
  };

  describe.each(ADAPTERS)('on %s', (adapter) => {
    const start = async (session = {}) => {
      app = await startApp({
        adapter,
        controllers: [Shop],
        session: {
          redis: redis.url,
          secret: SECRET,
          cookie: { secure: false },
          observer: collector.observer,
          ...session,
        },
      });
      return new HttpClient(app.port);
    };

    it('agree with what Redis and the clients counted', async () => {
      const visitor = await start();
      const [READS, WRITES, USERS] = [400, 100, 10];
      const clients = Array.from({ length: USERS }, () => visitor.another());
      for (const client of clients) expect((await client.post('/login')).status).toBe(201);
      const before = { seen: await collector.collect(), calls: await commandCalls() };
      let answered = 0;
      await inParallel(READS + WRITES, 8, async (i) => {
        const client = clients[i % USERS] as HttpClient;
        const reads = i % 5 > 0;
        const { status } = await (reads ? client.get('/me') : client.post('/cart'));
        expect(status).toBe(reads ? 200 : 201);
        answered++;
      });
      const after = { seen: await collector.collect(), calls: await commandCalls() };
      const since = (name: string, label?: string) =>
        sum(after.seen, name, label) - sum(before.seen, name, label);
      const calls = (...names: string[]) =>
        names.reduce((all, one) => all + (after.calls[one] ?? 0) - (before.calls[one] ?? 0), 0);

      expect(since('session.phase.duration', 'phase=load')).toBe(answered);
      const loads = since('session.store.duration', 'operation=load');
      const saves = since('session.store.duration', 'operation=save');
      // Each verb is one command; what a script does inside of Redis counts beside.
      const isNear = (one: number, other: number) => Math.abs(one - other) <= other / 100;
      expect(saves).toBeGreaterThanOrEqual(WRITES);
      expect(isNear(saves, calls('evalsha', 'eval'))).toBe(true);
      expect(isNear(loads, calls('get', 'getex'))).toBe(true);
      expect(loads).toBeGreaterThanOrEqual(answered);
      const conflicts = since('session.conflicts', '') || (after.seen['session.conflicts'] ?? 0);
      const overtaken = since('session.store.duration', 'outcome=conflict');
      expect(conflicts).toBe(overtaken);
      expect(saves - overtaken).toBe(since('session.store.duration', 'outcome=saved'));
    });

    it('tell no id, no handle, no principal and no data', async () => {
      const visitor = await start({ events: true, nearCache: true });
      await visitor.post('/login');
      await visitor.get('/me');
      await visitor.post('/cart');
      const [cookie] = visitor.jar.keys();
      const forged = visitor.another([[cookie as string, 'x'.repeat(43)]]);
      await forged.get('/me');
      await visitor.post('/logout');
      const told = JSON.stringify([await collector.collect(), collector.spans.map(dump)]);
      expect(collector.spans.map(({ name }) => name)).toEqual(
        expect.arrayContaining(['session.load', 'session.commit', 'store.load', 'store.save']),
      );
      const logged = app!.logger.texts();
      // What was refused is told there: a log that is empty would prove nothing.
      expect(logged.join()).toContain('malformed');
      expectNoIds('telemetry', [told]);
      expectNoIds('the log', logged);
      expect(logged.join()).not.toMatch(/alice|tea\b|a-secret/);
      expect(issuedIds()).toBeGreaterThan(0);
      expect(told).not.toMatch(/alice|tea|items/);
      expect(told).toContain('reason=malformed');
    });

    it('tell how many sessions live, and how late their end was noticed', async () => {
      const visitor = await start({ idleTimeout: '1s', events: { sweepEvery: '100ms' } });
      const users = [visitor, visitor.another(), visitor.another()];
      for (const one of users) await one.post('/login');
      const live = async () => (await collector.collect())['session.live'];
      await until('three live', async () => (await live()) === 3);
      await until('none lives', async () => (await live()) === 0, { within: 10_000 });
      expect((await collector.collect())['session.sweep.lag']).toBeGreaterThanOrEqual(0);
    });

    it('tell how many principals are live, as the keys of their indexes do', async () => {
      let ahead = 0;
      const clock = { now: () => Date.now() + ahead };
      const visitor = await start({ events: { sweepEvery: '100ms' }, clock });
      for (const one of [visitor, visitor.another()]) await one.post('/login');
      await visitor.another().post('/cart');
      const sessions = app!.app.get(SessionService);
      for (let i = 0; i < 70; i++) await sessions.create({ principal: `user-${i % 30}` });
      const collected = async (name: string) => (await collector.collect())[name];
      await until('all live', async () => (await collected('session.live')) === 73);
      const client = redis.connect();
      const indexed = (await client.keys('{sess:??}:p:*')).length;
      client.disconnect();
      expect(indexed).toBe(31);
      ahead = 60_000;
      await until('they count', async () => (await collected('session.principals')) === indexed);
      expect(await collected('session.live')).toBe(73);
    });

    it('tell what the near cache does', async () => {
      const visitor = await start({ nearCache: true });
      await visitor.post('/login');
      await visitor.get('/me');
      for (let i = 0; i < 10; i++) await visitor.get('/me');
      const seen = await collector.collect();
      expect(seen['session.near_cache.live']).toBe(1);
      expect(seen['session.near_cache.hits']).toBeGreaterThanOrEqual(10);
      expect(sum(seen, 'session.store.duration', 'operation=load')).toBeLessThan(4);
      expect(sum(seen, 'session.phase.duration', 'phase=load')).toBeGreaterThanOrEqual(11);
    });
  });

  it('tell sessions of a name apart', async () => {
    app = await startApp({
      adapter: 'express',
      imports: [
        SessionModule.forRoot({
          redis: redis.url,
          secret: SECRET,
          cookie: { secure: false },
          observer: collector.observer,
        }),
        SessionModule.forFeature('admin'),
      ],
      controllers: [Shop],
    });
    const visitor = new HttpClient(app.port);
    await visitor.post('/login');
    const seen = await collector.collect();
    expect(seen['session.breaker.open{session.name=admin}']).toBe(0);
    expect(seen['session.breaker.open']).toBe(0);
  });

  it('tell an outage: what failed, and that the store is not asked', async () => {
    const lost = await RedisServer.start();
    app = await startApp({
      adapter: 'fastify',
      controllers: [Shop],
      session: {
        redis: lost.url,
        secret: SECRET,
        cookie: { secure: false },
        observer: collector.observer,
      },
    });
    const visitor = new HttpClient(app.port);
    await visitor.post('/login');
    lost.signal('SIGSTOP');
    const answers = await inParallel(8, 8, () => visitor.get('/me'));
    expect(answers.map(({ status }) => status)).toEqual(Array(8).fill(503));
    const seen = await collector.collect();
    expect(sum(seen, 'session.phase.duration', 'outcome=failed')).toBe(8);
    expect(seen['session.store.failures']).toBeGreaterThanOrEqual(5);
    expect(seen['session.breaker.open']).toBe(1);
    expect(seen['session.breaker.opened']).toBeGreaterThanOrEqual(1);
    const failed = collector.spans.filter(({ attributes }) => attributes.outcome === 'failed');
    expect(failed.map(({ status }) => status.message)).toContain('SESSION_STORE_UNAVAILABLE');
    lost.signal('SIGCONT');
    await app.close();
    app = undefined;
    await lost.stop();
  }, 30_000);

  it('can be read by Prometheus', async () => {
    const exporter = new PrometheusExporter({ preventServerStart: true });
    const prometheus = new Collector(exporter);
    app = await startApp({
      adapter: 'express',
      controllers: [Shop],
      session: {
        redis: redis.url,
        secret: SECRET,
        cookie: { secure: false },
        observer: prometheus.observer,
      },
    });
    const visitor = new HttpClient(app.port);
    await visitor.post('/login');
    const { resourceMetrics } = await exporter.collect();
    const text = new PrometheusSerializer().serialize(resourceMetrics);
    expect(text).toMatch(/^session_phase_duration_bucket\{.*le="0.001"\} \d/m);
    expect(text).toMatch(/^session_breaker_open(\{.*\})? 0$/m);
    await prometheus.stop();
  });

  it('are refused in a form that cannot work', async () => {
    const wrong = { observer: { step: 1 } as never };
    await expect(startApp({ adapter: 'express', session: wrong })).rejects.toThrow(
      /observer is of type object: use openTelemetry\(\)/,
    );
  });
});

describe('what is written about metrics', () => {
  const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');
  const sources = ['open-telemetry', 'session-gauges'].map((name) =>
    read(`lib/telemetry/${name}.ts`),
  );
  const names = sources.flatMap((text) =>
    [...text.matchAll(/'(session(?:\.[a-z_]+)+)'/g)].map(([, name]) => name as string),
  );

  it('in docs/operations.md is all of them', () => {
    const listed = tableRows(read('docs/operations.md'), 'metrics').map(([name = '']) => name);
    const known = names.filter((name) => name !== 'session.name');
    expect(listed.toSorted()).toEqual(known.map((name) => `\`${name}\``).toSorted());
  });

  it('in docs/grafana.json is there to be asked for', () => {
    const known = new Set([...names, 'session.name'].map((name) => name.replaceAll('.', '_')));
    const asked = read('docs/grafana.json').match(/session_[a-z_]+/g) ?? [];
    const bare = asked.map((name) => name.replace(/_(bucket|count|sum|total)$/, ''));
    expect(bare.filter((name) => !known.has(name))).toEqual([]);
    expect(bare.length).toBeGreaterThan(20);
  });
});

const dump = ({
  name,
  attributes,
  events,
  status,
}: ReturnType<() => Collector['spans'][number]>) => ({
  name,
  attributes,
  events,
  status,
});
