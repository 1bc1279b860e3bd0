import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import { Body, Controller, Delete, Get, Injectable, Post } from '@nestjs/common';
import {
  Logout,
  OnSessionEvent,
  PassiveSession,
  RequireSession,
  Session,
  SessionService,
  type SessionEvent,
  type SessionEventType,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { ADAPTERS, until, type TestApp } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

@Injectable()
class Heard {
  readonly events: SessionEvent[] = [];

  @OnSessionEvent([
    'created',
    'authenticated',
    'elevated',
    'regenerated',
    'modified',
    'destroyed',
    'revoked',
    'expired',
    'rejected',
  ])
  hear(event: SessionEvent) {
    this.events.push(event);
  }

  types(): string[] {
    return this.events.map(({ type, reason }) => (reason ? `${type} ${reason}` : type));
  }
}

@Controller()
class Pages {
  @Post('set') set(@Session() session: Session, @Body() body: { color: string }) {
    session.set('color', body.color);
    session.set('secret', 'of the visitor');
  }
  @Post('login') async login(@Session() session: Session, @Body() body: { name: string }) {
    await session.authenticate(body.name, { clientKind: 'web' });
  }
  @Post('elevate') async elevate(@Session() session: Session) {
    await session.elevate('totp');
  }
  @Post('renew') async renew(@Session() session: Session) {
    await session.regenerate();
  }
  @Post('act') async act(@Session() session: Session) {
    await session.switchPrincipal('bob');
  }
  @Post('return') async back(@Session() session: Session) {
    await session.switchBack();
  }
  @Logout() @Post('logout') logout() {}
  @PassiveSession() @RequireSession() @Get('me') me(@Session() session: Session) {
    return { handle: session.handle };
  }
  @Delete('nothing') nothing() {}
}

const kinds: [string, () => Promise<RedisUnderTest | undefined>][] = [
  ['in Redis', () => startRedis()],
  ['in memory', () => Promise.resolve(undefined)],
];

describe.each(kinds)('what happens to sessions %s is told', (_, start) => {
  let redis: RedisUnderTest | undefined;
  let probe: RedisProbe | undefined;
  beforeAll(async () => {
    redis = await start();
    probe = redis && (await RedisProbe.start(redis));
  });
  afterAll(async () => {
    await probe?.stop();
    await redis?.stop();
  });
  beforeEach(() => probe?.flush());

  const opened = new Opened();
  afterEach(opened.close);

  describe.each(ADAPTERS)('on %s', (adapter) => {
    let app: TestApp;
    let heard: Heard;

    const open = async (session: SessionModuleOptions = {}) => {
      app = await opened.app({
        adapter,
        session: {
          ...(redis ? { redis: redis.connection() } : { store: 'memory' as const }),
          cookie: { secure: false },
          events: { modified: true, sweepEvery: 100 },
          ...session,
        },
        controllers: [Pages],
        providers: [Heard],
      });
      heard = app.app.get(Heard);
    };
    const types = (...expected: string[]) =>
      until(`the events ${expected.join(', ')}`, () => heard.events.length >= expected.length).then(
        () => expect(heard.types()).toEqual(expected),
      );
    const last = (type: SessionEventType) =>
      heard.events.findLast((event) => event.type === type) as SessionEvent;

    beforeEach(() => open());

    it('a visit, a login, a second factor, a new id, a logout', async () => {
      const browser = opened.browser(app);
      await browser.post('/set', { json: { color: 'red' } });
      await browser.post('/set', { json: { color: 'blue' } });
      await browser.post('/login', { json: { name: 'alice' } });
      const { handle } = (await browser.get('/me')).json as { handle: string };
      await browser.post('/elevate');
      await browser.post('/renew');
      await browser.post('/logout');
      await types(
        'created',
        'modified contents',
        'authenticated login',
        'elevated',
        'regenerated regenerate',
        'destroyed logout',
      );
      const [created, modified, authenticated, elevated, renewed, destroyed] = heard.events;
      expect(modified?.handle).toBe(created?.handle);
      expect(created?.principal).toBeUndefined();
      expect(authenticated).toMatchObject({
        handle,
        previous: created?.handle,
        principal: 'alice',
        clientKind: 'web',
        client: { address: '127.0.0.1' },
        attributes: {},
        name: undefined,
      });
      expect(elevated).toMatchObject({ previous: handle, principal: 'alice' });
      expect(renewed).toMatchObject({ previous: elevated?.handle, principal: 'alice' });
      expect(destroyed).toMatchObject({ handle: renewed?.handle, principal: 'alice' });
      expect(new Set(heard.events.map(({ id }) => id)).size).toBe(6);
      expect(JSON.stringify(heard.events)).not.toContain('of the visitor');
    });

    it('a login without a session before begins one', async () => {
      await opened.browser(app).post('/login', { json: { name: 'alice' } });
      await types('created', 'authenticated login');
      const [created, authenticated] = heard.events;
      expect(created?.handle).toBe(authenticated?.handle);
      expect(authenticated?.previous).toBeUndefined();
    });

    it('nothing, where nothing happens', async () => {
      const browser = opened.browser(app);
      await browser.get('/me');
      await browser.post('/logout');
      await browser.send('DELETE', '/nothing');
      await browser.post('/set', { json: { color: 'red' } });
      await types('created');
      await browser.post('/set', { json: { color: 'red' } });
      await browser.get('/me');
      await browser.post('/login', { json: { name: 'alice' } });
      await types('created', 'authenticated login');
    });

    it('to act as somebody else, and to return', async () => {
      const browser = opened.browser(app);
      await browser.post('/login', { json: { name: 'alice' } });
      await browser.post('/act');
      await browser.post('/return');
      await types('created', 'authenticated login', 'authenticated switch', 'authenticated switch');
      expect(heard.events[2]).toMatchObject({ principal: 'bob', actor: 'alice' });
      expect(heard.events[3]).toMatchObject({ principal: 'alice', actor: undefined });
    });

    it('ends by others: by name, all but one, all', async () => {
      const sessions = app.app.get(SessionService);
      const made = [];
      for (let i = 0; i < 5; i++) made.push(await sessions.create({ principal: 'alice' }));
      const [one, two, three] = made as [Session, Session, Session];
      const alice = sessions.forPrincipal('alice');
      await sessions.revoke(one.handle);
      expect(await alice.revoke(two.handle)).toBe(true);
      expect(await alice.revokeOthers(three)).toBe(2);
      expect(await alice.revokeAll()).toBe(1);
      await until('ends', () => heard.events.length >= 15);
      const ends = heard.events.filter(({ type }) => type === 'revoked');
      expect(ends.map(({ reason }) => reason)).toEqual(['named', 'named', 'all', 'all', 'all']);
      expect(new Set(ends.map(({ handle }) => handle))).toEqual(
        new Set(made.map(({ handle }) => handle)),
      );
      expect(ends.every(({ principal }) => principal === 'alice')).toBe(true);
    });

    it('who gives way to a login beyond the limit', async () => {
      await app.close();
      opened.drop(app);
      await open({ maxSessions: 2 });
      const sessions = app.app.get(SessionService);
      const first = await sessions.create({ principal: 'alice' });
      await delay(5);
      await sessions.create({ principal: 'alice' });
      await sessions.create({ principal: 'alice' });
      await until('an end', () => heard.events.length >= 7);
      expect(last('revoked')).toMatchObject({
        handle: first.handle,
        reason: 'limit',
        principal: 'alice',
      });
    });

    it('grants and labels that are changed by others', async () => {
      const sessions = app.app.get(SessionService);
      const { handle } = await sessions.create({ principal: 'alice' });
      const alice = sessions.forPrincipal('alice');
      await alice.updateGrants({ roles: ['editor'] });
      await alice.setLabel(handle, 'my phone');
      await sessions.revoke(handle);
      await types(
        'created',
        'authenticated login',
        'modified grants',
        'modified grants',
        'revoked named',
      );
      expect(last('revoked').label).toBe('my phone');
    });

    it('what is refused, on the node that refuses it', async () => {
      const browser = opened.browser(app, [['session', 'forged']]);
      await browser.get('/me');
      await types('rejected malformed');
    });

    it('the end of a session that was not used, and of one that lived long enough', async () => {
      await app.close();
      opened.drop(app);
      await open({ idleTimeout: 1_000, absoluteTimeout: 1_000 });
      const sessions = app.app.get(SessionService);
      const { handle } = await sessions.create({ principal: 'alice' });
      await until('the end', () => heard.events.length === 3, { within: 5_000 });
      expect(last('expired')).toMatchObject({ handle, principal: 'alice', reason: 'absolute' });
      const at = last('expired').at - last('created').at;
      expect(at).toBeGreaterThanOrEqual(900);
      expect(at).toBeLessThan(1_500);
    });

    it('chosen attributes, as they were in the end', async () => {
      await app.close();
      opened.drop(app);
      await open({
        idleTimeout: 1_000,
        events: { projection: ({ data }) => ({ color: data['color'] }), sweepEvery: 100 },
      });
      const browser = opened.browser(app);
      await browser.post('/set', { json: { color: 'red' } });
      await browser.post('/set', { json: { color: 'blue' } });
      await until('the end', () => heard.events.length === 2, { within: 5_000 });
      expect(last('created').attributes).toEqual({ color: 'red' });
      expect(last('expired')).toMatchObject({ attributes: { color: 'blue' }, reason: 'idle' });
      expect(JSON.stringify(heard.events)).not.toContain('of the visitor');
    });
  });
});
