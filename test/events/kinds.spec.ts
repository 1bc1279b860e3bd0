import { afterEach, describe, expect, it } from '@jest/globals';
import { Test } from '@nestjs/testing';
import {
  getSessionServiceToken,
  MemorySessionStore,
  SessionEvents,
  SessionModule,
  SessionService,
  type SessionEvent,
  type SessionStore,
} from 'nestjs-distributed-session';
import { FakeClock, SessionTestingModule } from 'nestjs-distributed-session/testing';
import { asInThisRun, SECRET, until } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis } from '../support/redis-under-test.js';

describe('events', () => {
  const opened = new Opened();
  afterEach(opened.close);

  const listenTo = (events: SessionEvents): SessionEvent[] => {
    const heard: SessionEvent[] = [];
    events.events$.subscribe((event) => heard.push(event));
    return heard;
  };

  it.each(['in Redis', 'in memory'])(
    'of named sessions tell the name, and are kept apart %s',
    async (where) => {
      const redis =
        where === 'in Redis' ? await startRedis({ keyPrefixes: ['sess.admin'] }) : undefined;
      if (redis) opened.add({ close: () => redis.stop() });
      const session = redis ? { redis: redis.connection() } : { store: 'memory' as const };
      const { app } = await opened.app({
        adapter: 'fastify',
        imports: [
          SessionModule.forRoot(asInThisRun({ ...session, events: true })),
          SessionModule.forFeature('admin', { idleTimeout: '5m' }),
        ],
      });
      const events = app.get(SessionEvents);
      const heard = listenTo(events);
      const ofAdmin: SessionEvent[] = [];
      events.of('alice', { name: 'admin' }).subscribe((event) => ofAdmin.push(event));
      const admins = app.get<SessionService>(getSessionServiceToken('admin'));
      const admin = await admins.create({ principal: 'alice' });
      await app.get(SessionService).create({ principal: 'alice' });
      await admins.revoke(admin.handle);
      await until('all', () => heard.length === 5);
      expect(heard.map(({ type, name }) => `${type} ${name}`).toSorted()).toEqual([
        'authenticated admin',
        'authenticated undefined',
        'created admin',
        'created undefined',
        'revoked admin',
      ]);
      expect(ofAdmin.map(({ type }) => type)).toEqual(['created', 'authenticated', 'revoked']);
      expect(() => events.of('alice', { name: 'nobody' })).toThrow(/no sessions named "nobody"/);
    },
  );

  it('of applications in tests go by the clock that the test moves', async () => {
    const clock = new FakeClock();
    const module = await Test.createTestingModule({
      imports: [SessionTestingModule.forRoot({ clock, events: { sweepEvery: 50 } })],
    }).compile();
    const app = module.createNestApplication();
    opened.add(app);
    await app.init();
    const heard = listenTo(app.get(SessionEvents));
    const { handle } = await app.get(SessionService).create({ principal: 'alice' });
    clock.advance('31m');
    await until('the end', () => heard.length === 3);
    expect(heard[2]).toMatchObject({ type: 'expired', reason: 'idle', handle });
  });

  it.each(['keys', 'store-blind'] as const)(
    'tell nothing of a session to who has only Redis, with %s',
    async (mode) => {
      const redis = await startRedis();
      opened.add({ close: () => redis.stop() });
      const probe = await RedisProbe.start(redis);
      opened.add({ close: () => probe.stop() });
      await probe.watch();
      const session = {
        redis: redis.connection(),
        encryption: { keys: SECRET, mode },
        events: { projection: () => ({ mark: 'of-the-projection' }) },
      };
      const { app } = await opened.app({ adapter: 'express', session });
      const heard = listenTo(app.get(SessionEvents));
      const sessions = app.get(SessionService);
      const { handle } = await sessions.create({
        principal: 'alice-the-principal',
        label: 'the-label',
        client: { browser: 'the-browser' },
      });
      const calls: unknown[] = [];
      app.get(SessionEvents).calls$.subscribe((call) => calls.push(call));
      await app.get(SessionEvents).callPrincipal('alice-the-principal', 'paid', 'the-amount');
      const inRedis = JSON.stringify([...(await probe.dump())]);
      await sessions.revoke(handle);
      await until('all', () => heard.length === 3 && calls.length === 1);
      const seen = inRedis + (await probe.everythingSent()).join('\n');
      expect(seen).toContain(handle);
      expect(seen).not.toMatch(/the-principal|the-label|the-browser|of-the-projection|the-amount/);
      expect(heard[2]).toMatchObject({
        principal: 'alice-the-principal',
        label: 'the-label',
        client: { browser: 'the-browser' },
        attributes: { mark: 'of-the-projection' },
      });
      expect(calls).toEqual([
        { principal: 'alice-the-principal', event: 'paid', data: 'the-amount', name: undefined },
      ]);
    },
  );

  it('need a store that tells them', async () => {
    const store = new MemorySessionStore(new FakeClock());
    const mute = { ...methodsOf(store), news: undefined } as SessionStore;
    const boot = opened.app({ adapter: 'express', session: { store: mute, events: true } });
    await expect(boot).rejects.toThrow(/events need a store that tells them/);
    const { app } = await opened.app({ adapter: 'express', session: { store, events: true } });
    expect(app.get(SessionEvents).on).toBe(true);
  });
});

/** A store with the verbs of another one, and nothing else. */
function methodsOf(store: MemorySessionStore): SessionStore {
  return {
    load: (...args) => store.load(...args),
    create: (...args) => store.create(...args),
    save: (...args) => store.save(...args),
    touch: (...args) => store.touch(...args),
    delete: (...args) => store.delete(...args),
    count: () => store.count(),
    ping: () => store.ping(),
  };
}
