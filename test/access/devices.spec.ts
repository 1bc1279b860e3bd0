import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Get, HttpCode, Post } from '@nestjs/common';
import {
  MemorySessionStore,
  RequireSession,
  Session,
  SessionLimitError,
  SessionService,
  type AuthenticateOptions,
  type LimitedSession,
  type ListedSession,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, SECRET, until, type TestApp } from '../support/app.js';
import { type HttpClient } from '../support/http-client.js';
import { Opened, pass } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { expectNoIds } from '../support/secrets.js';
import { WatchedStore } from '../support/session-world.js';

const COOKIE = '__Host-session';

type Login = AuthenticateOptions & { name: string };

@Controller()
class Devices {
  constructor(private readonly sessions: SessionService) {}

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name, ...options }: Login,
  ) {
    await session.authenticate(name, options);
    return { handle: session.handle };
  }

  @Post('login-if-there-is-room') @HttpCode(200) async careful(
    @Session() session: Session,
    @Body() { name }: Login,
  ) {
    await session.authenticate(name);
    try {
      await session.save();
      return { room: true };
    } catch (error) {
      return { room: !(error instanceof SessionLimitError) };
    }
  }

  @Post('act-as') @HttpCode(200) async actAs(
    @Session() session: Session,
    @Body() { name }: { name: string },
  ) {
    await session.switchPrincipal(name);
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @Post('elevate') @HttpCode(200) async elevate(@Session() session: Session) {
    await session.elevate('otp');
  }

  @Post('regenerate') @HttpCode(200) async regenerate(@Session() session: Session) {
    await session.regenerate();
  }

  @Post('set') @HttpCode(200) set(
    @Session() session: Session,
    @Body() body: Record<string, unknown>,
  ) {
    for (const [key, value] of Object.entries(body)) session.set(key, value ?? undefined);
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal };
  }

  @Get('data') data(@Session() session: Session) {
    return session.data;
  }

  @RequireSession() @Get('devices') list(@Session() session: Session) {
    return this.sessions.forPrincipal(session.principal as string).list();
  }

  @RequireSession() @Post('leave-others') @HttpCode(200) async others(@Session() session: Session) {
    const sessions = this.sessions.forPrincipal(session.principal as string);
    return { ended: await sessions.revokeOthers(session) };
  }

  @RequireSession() @Post('elevate-and-leave-others') @HttpCode(200) async elevateAndOthers(
    @Session() session: Session,
  ) {
    await session.elevate('otp');
    const sessions = this.sessions.forPrincipal(session.principal as string);
    return { ended: await sessions.revokeOthers(session) };
  }
}

const tokenOf = (client: HttpClient) => client.jar.get(COOKIE);
const handlesIn = (sessions: readonly ListedSession[]) => sessions.map(({ handle }) => handle);

describe.each(ADAPTERS)('devices on %s', (adapter) => {
  let clock: FakeClock;
  let running: TestApp;
  const opened = new Opened();

  const start = async (session: SessionModuleOptions = {}): Promise<TestApp> => {
    const all = { store: 'memory', clock, ...session } as const;
    return opened.app({ adapter, controllers: [Devices], session: all });
  };
  const browse = (app = running): HttpClient => {
    return opened.browser(app);
  };
  const sessionsIn = ({ app } = running) => app.get(SessionService);
  const sessionsOf = (principal: string, app = running) => sessionsIn(app).forPrincipal(principal);
  const login = (client: HttpClient, options: Partial<Login> = {}) =>
    client.post('/login', { json: { name: 'alice', ...options } });
  /** A browser that is logged in. */
  const device = async (options: Partial<Login> = {}, app = running) => {
    const client = browse(app);
    expect((await login(client, options)).status).toBe(200);
    return client;
  };
  const areIn = (...clients: HttpClient[]) => pass('/me', clients);

  beforeEach(async () => {
    clock = new FakeClock();
    running = await start();
  });

  afterEach(opened.close);

  describe('the list of a principal', () => {
    it('has the newest login first, and all of theirs but nothing else', async () => {
      for (const label of ['first', 'second', 'third']) {
        await device({ label });
        clock.advance('1m');
      }
      await device({ name: 'bob' });
      await browse().post('/set', { json: { anonymous: true } });
      const list = await sessionsOf('alice').list();
      expect(list.map(({ label }) => label)).toEqual(['third', 'second', 'first']);
      expect(list.every(({ principal }) => principal === 'alice')).toBe(true);
      expect(await sessionsOf('alice').count()).toBe(3);
      expect(await sessionsOf('carol').list()).toEqual([]);
      expect(await sessionsOf('carol').count()).toBe(0);
    });

    it('goes by the last login, not by activity, new ids or factors', async () => {
      const first = await device({ label: 'first' });
      clock.advance('1m');
      const second = await device({ label: 'second' });
      clock.advance('2m');
      await first.get('/me');
      await first.post('/elevate');
      await first.post('/regenerate');
      const labels = async () => (await sessionsOf('alice').list()).map(({ label }) => label);
      expect(await labels()).toEqual(['second', 'first']);
      await login(first, { label: 'first again' });
      expect(await labels()).toEqual(['first again', 'second']);
      expect(await areIn(first, second)).toEqual([true, true]);
    });

    it('tells when each was used and when it ends, which to look at it does not change', async () => {
      const began = clock.now();
      const client = await device();
      clock.advance('10m');
      const seen = async () => {
        const [{ createdAt, lastAccessedAt, expiresAt }] = (await sessionsOf('alice').list()) as [
          ListedSession,
        ];
        return [createdAt, lastAccessedAt, expiresAt].map((at) => (at - began) / 60_000);
      };
      expect(await seen()).toEqual([0, 0, 30]);
      await client.get('/me');
      clock.advance('5m');
      expect(await seen()).toEqual([0, 10, 40]);
      clock.advance('25m');
      expect(await sessionsOf('alice').list()).toEqual([]);
      expect(await sessionsOf('alice').count()).toBe(0);
    });

    it('comes in parts, each session once, also those of one moment', async () => {
      const labels: string[] = [];
      for (let i = 0; i < 11; i++) {
        labels.push(`device ${i}`);
        await device({ label: `device ${i}` });
        if (i % 4 === 3) clock.advance('1m');
      }
      const alice = sessionsOf('alice');
      const all = await alice.list();
      const parts: ListedSession[][] = [];
      for (let after: ListedSession | undefined; ;) {
        const part = await alice.list({ limit: 3, after });
        if (part.length === 0) break;
        parts.push(part);
        after = part.at(-1);
      }
      expect(parts.map(({ length }) => length)).toEqual([3, 3, 3, 2]);
      expect(parts.flat()).toEqual(all);
      expect(new Set(all.map(({ label }) => label))).toEqual(new Set(labels));
      expect(all).toHaveLength(labels.length);
    });

    it('goes on behind a session that ended since', async () => {
      for (let i = 0; i < 5; i++) {
        await device();
        clock.advance('1m');
      }
      const alice = sessionsOf('alice');
      const all = await alice.list();
      const [, after] = all as [ListedSession, ListedSession];
      expect(await alice.revoke(after.handle)).toBe(true);
      expect(await alice.list({ after })).toEqual(all.slice(2));
      const { handle, authenticatedAt } = after;
      expect(await alice.list({ limit: 1, after: { handle, authenticatedAt } })).toEqual([all[2]]);
    });

    it('comes in parts also where others act as the principal', async () => {
      for (const name of ['alice', 'sue', 'alice', 'tom', 'alice']) {
        const client = await device({ name });
        if (name !== 'alice') await client.post('/act-as', { json: { name: 'alice' } });
        clock.advance('1m');
      }
      const alice = sessionsOf('alice');
      const all = await alice.list();
      expect(all.map(({ actor = 'nobody' }) => actor).sort()).toEqual(
        'nobody nobody nobody sue tom'.split(' '),
      );
      for (const [i, after] of all.entries()) {
        expect(await alice.list({ after })).toEqual(all.slice(i + 1));
      }
      // Also if the last one of the part before has ended.
      for (const after of all.toReversed()) {
        expect(await alice.revoke(after.handle)).toBe(true);
        expect(await alice.list({ after })).toEqual([]);
      }
    });

    it.each([0, -1, 1_001, 1.5, Number.NaN, '5' as never])(
      'refuses %p as its limit',
      async (limit) => {
        await expect(sessionsOf('alice').list({ limit })).rejects.toThrow(TypeError);
      },
    );

    it.each(['a:b', '*', '{x}', '__proto__', 'Ünïcödé 🦊', 'x'.repeat(5_000), ' alice', 'ALICE'])(
      'is of exactly the principal %p',
      async (name) => {
        const client = await device({ name });
        await device();
        expect(await sessionsOf(name).count()).toBe(1);
        expect(await sessionsOf('alice').count()).toBe(1);
        expect(await sessionsOf(name).list()).toEqual([
          expect.objectContaining({ principal: name, current: false }),
        ]);
        expect((await client.get('/devices')).json).toEqual([
          expect.objectContaining({ principal: name, current: true }),
        ]);
        expect(await sessionsOf(name).revokeAll()).toBe(1);
        expect(await areIn(client)).toEqual([false]);
        expect(await sessionsOf('alice').count()).toBe(1);
      },
    );

    it.each<[string, SessionModuleOptions]>([
      ['signed', { secret: SECRET }],
      ['unsigned', {}],
    ])('tells nothing by which anybody could use a session, %s or not', async (_, options) => {
      const app = await start(options);
      const clients = [
        await device({ label: 'a', idpSession: 'sid' }, app),
        await device({}, app),
      ] as const;
      const { text } = await clients[0].get('/devices');
      expectNoIds('the list', [text]);
      expect(text).not.toContain(tokenOf(clients[1]));
      const handles = handlesIn(await sessionsOf('alice', app).list());
      expect(handles.every((handle) => text.includes(handle))).toBe(true);
      const runs = [...text.matchAll(/[\w.-]{44,}/g)].map(([run]) => run);
      const tries = runs.flatMap((run) => [
        run,
        ...Array.from({ length: run.length - 43 }, (__, at) => run.slice(at, at + 44)),
      ]);
      expect(tries.length).toBeGreaterThanOrEqual(2 * handles.length);
      for (const token of tries) {
        expect(
          (
            await browse(app)
              .another([[COOKIE, token]])
              .get('/me')
          ).status,
        ).toBe(401);
        expect(await sessionsIn(app).get(token)).toBeUndefined();
      }
    });
  });

  describe('revoke', () => {
    it('ends one session of the principal at once, and tells if there was none', async () => {
      const [one, other] = [await device({ label: 'one' }), await device({ label: 'other' })];
      const list = await sessionsOf('alice').list();
      const handle = list.find(({ label }) => label === 'one')?.handle as string;
      expect(await sessionsOf('alice').revoke(handle)).toBe(true);
      expect(await areIn(one, other)).toEqual([false, true]);
      expect(tokenOf(one)).toBeUndefined();
      expect(await sessionsOf('alice').revoke(handle)).toBe(false);
      expect(handlesIn(await sessionsOf('alice').list())).toEqual(
        handlesIn(list).filter((listed) => listed !== handle),
      );
      expect(await sessionsOf('alice').count()).toBe(1);
    });

    it("is false for another principal's session, which goes on", async () => {
      const ofBob = await device({ name: 'bob' });
      await device();
      const [listed] = await sessionsOf('bob').list();
      expect(await sessionsOf('alice').revoke(listed!.handle)).toBe(false);
      expect(await areIn(ofBob)).toEqual([true]);
      expect(await sessionsOf('bob').revoke(listed!.handle)).toBe(true);
      expect(await areIn(ofBob)).toEqual([false]);
    });

    it('is false for an anonymous session, which goes on', async () => {
      const anonymous = browse();
      await anonymous.post('/set', { json: { n: 1 } });
      const session = await sessionsIn().get(tokenOf(anonymous) as string);
      expect(await sessionsOf('alice').revoke(session!.handle)).toBe(false);
      expect((await anonymous.get('/data')).json).toEqual({ n: 1 });
    });

    it('is false for what names none', async () => {
      const client = await device();
      const [{ handle }] = (await sessionsOf('alice').list()) as [ListedSession];
      const unknown = handle.slice(0, -6) + handle.slice(-6).split('').toReversed().join('');
      expect(unknown).not.toBe(handle);
      const odd = [
        '',
        '*',
        'x',
        '../../x',
        `${handle}x`,
        handle.slice(1),
        tokenOf(client) as string,
      ];
      for (const name of [unknown, ...odd, undefined, null, 7, {}, [handle]]) {
        expect(await sessionsOf('alice').revoke(name as string)).toBe(false);
      }
      expect(await areIn(client)).toEqual([true]);
    });

    it('reaches a session that got a new id since it was listed', async () => {
      const [one, other] = [await device(), await device({ name: 'bob' })];
      const [ofAlice] = await sessionsOf('alice').list();
      const [ofBob] = await sessionsOf('bob').list();
      await one.post('/regenerate');
      expect(await sessionsOf('alice').revoke(ofAlice!.handle)).toBe(true);
      expect(await areIn(one)).toEqual([false]);
      // Whose it was before does not matter: that one has it no more.
      await login(other);
      expect(await sessionsOf('bob').revoke(ofBob!.handle)).toBe(false);
      expect(await areIn(other)).toEqual([true]);
    });
  });

  describe('revokeOthers and revokeAll', () => {
    it('end all sessions but the one that asks, and tell how many', async () => {
      const clients = [await device(), await device(), await device()] as const;
      const ofBob = await device({ name: 'bob' });
      expect((await clients[1].post('/leave-others')).json).toEqual({ ended: 2 });
      expect(await areIn(...clients, ofBob)).toEqual([false, true, false, true]);
      expect((await clients[1].post('/leave-others')).json).toEqual({ ended: 0 });
      expect(await sessionsOf('alice').count()).toBe(1);
    });

    it('keep the one that asks also where it gets a new id in the same request', async () => {
      const clients = [await device(), await device()] as const;
      const old = new Map(clients[0].jar);
      expect((await clients[0].post('/elevate-and-leave-others')).json).toEqual({ ended: 1 });
      expect(await areIn(...clients, clients[0].another(old))).toEqual([true, false, false]);
      expect(await sessionsOf('alice').list()).toEqual([
        expect.objectContaining({ factors: ['otp'] }),
      ]);
    });

    it('end all, tell how many, and leave later logins alone', async () => {
      const clients = [await device(), await device({ clientKind: 'mobile' })];
      const ofBob = await device({ name: 'bob' });
      expect(await sessionsOf('alice').revokeAll()).toBe(2);
      expect(await areIn(...clients, ofBob)).toEqual([false, false, true]);
      expect(await sessionsOf('alice').list()).toEqual([]);
      expect(await sessionsOf('alice').revokeAll()).toBe(0);
      const later = await device();
      expect(await areIn(later)).toEqual([true]);
      expect(await sessionsOf('alice').count()).toBe(1);
    });

    it('reach a session under all of its ids', async () => {
      const client = await device();
      const jars = [new Map(client.jar)];
      for (const path of ['/regenerate', '/elevate', '/regenerate']) {
        await client.post(path);
        jars.push(new Map(client.jar));
      }
      expect(await sessionsOf('alice').revokeAll()).toBe(1);
      const everywhere = jars.map((jar) => client.another(jar));
      expect(await areIn(...everywhere)).toEqual([false, false, false, false]);
    });
  });

  it('revokeAllPrincipals ends everybody, and leaves who is nobody alone', async () => {
    const anonymous = browse();
    await anonymous.post('/set', { json: { cart: ['tea'] } });
    const clients = [
      await device(),
      await device(),
      await device({ name: 'bob', rememberMe: true }),
      await device({ name: 'carol', clientKind: 'mobile' }),
    ];
    expect(await sessionsIn().revokeAllPrincipals()).toBe(4);
    expect(await areIn(...clients)).toEqual([false, false, false, false]);
    expect((await anonymous.get('/data')).json).toEqual({ cart: ['tea'] });
    expect(await sessionsIn().count()).toBe(1);
    expect(await sessionsIn().revokeAllPrincipals()).toBe(0);
  });

  it.each(['', undefined, null, 7, ['alice']])('there is no principal %p', (principal) => {
    expect(() => sessionsOf(principal as string)).toThrow(TypeError);
  });

  describe('what is looked for by an index', () => {
    const indexes: SessionModuleOptions['indexes'] = {
      tenant: (session) => session.data.tenant as string | undefined,
      tag: (session) => session.data.tags as string[] | null | undefined,
      role: (session) => session.roles,
      'claimed-team': (session) => session.claims.team as string | undefined,
    };
    const found = async (app: TestApp, index: string, value: string) =>
      (await sessionsIn(app).findBy(index, value))
        .map(({ principal = 'nobody' }) => principal)
        .sort();

    it('is found by one value, by each of several, and not where there is none', async () => {
      const app = await start({ indexes });
      const anonymous = browse(app);
      await anonymous.post('/set', { json: { tenant: 't1', tags: ['a', 'b'] } });
      const alice = await device({ roles: ['editor', 'reader'], claims: { team: 'red' } }, app);
      await alice.post('/set', { json: { tenant: 't1', tags: ['b'] } });
      await device({ name: 'bob', roles: ['reader'] }, app);
      expect(await found(app, 'tenant', 't1')).toEqual(['alice', 'nobody']);
      expect(await found(app, 'tag', 'a')).toEqual(['nobody']);
      expect(await found(app, 'tag', 'b')).toEqual(['alice', 'nobody']);
      expect(await found(app, 'role', 'reader')).toEqual(['alice', 'bob']);
      expect(await found(app, 'role', 'editor')).toEqual(['alice']);
      expect(await found(app, 'claimed-team', 'red')).toEqual(['alice']);
      for (const value of ['t2', '', 'undefined', 'T1', 't1 ']) {
        expect(await found(app, 'tenant', value)).toEqual([]);
      }
      expect(await found(app, 'tag', 't1')).toEqual([]);
    });

    it('moves with what the session has', async () => {
      const app = await start({ indexes });
      const client = browse(app);
      const places = async () => [
        await found(app, 'tenant', 't1'),
        await found(app, 'tenant', 't2'),
        await found(app, 'tag', 'a'),
        await found(app, 'role', 'reader'),
      ];
      await client.post('/set', { json: { tenant: 't1', tags: ['a'] } });
      expect(await places()).toEqual([['nobody'], [], ['nobody'], []]);
      await client.post('/set', { json: { tenant: 't2' } });
      expect(await places()).toEqual([[], ['nobody'], ['nobody'], []]);
      await login(client, { roles: ['reader'] });
      expect(await places()).toEqual([[], ['alice'], ['alice'], ['alice']]);
      await client.post('/regenerate');
      expect(await places()).toEqual([[], ['alice'], ['alice'], ['alice']]);
      await client.post('/set', { json: { tenant: null, tags: [] } });
      expect(await places()).toEqual([[], [], [], ['alice']]);
      await login(client, { name: 'bob' });
      await client.post('/set', { json: { tenant: 't1' } });
      expect(await places()).toEqual([['bob'], [], [], []]);
      await client.post('/logout');
      expect(await places()).toEqual([[], [], [], []]);
    });

    it('is ended by it, and nothing else is', async () => {
      const app = await start({ indexes });
      const [ofT1, alsoOfT1, ofT2, nobody] = [
        await device({}, app),
        await device({ name: 'bob' }, app),
        await device({}, app),
        browse(app),
      ];
      await ofT1.post('/set', { json: { tenant: 't1' } });
      await alsoOfT1.post('/set', { json: { tenant: 't1', tags: ['a'] } });
      await ofT2.post('/set', { json: { tenant: 't2' } });
      await nobody.post('/set', { json: { tenant: 't1' } });
      expect(await sessionsIn(app).revokeBy({ tenant: 't1' })).toBe(3);
      expect(await areIn(ofT1, alsoOfT1, ofT2)).toEqual([false, false, true]);
      expect((await nobody.get('/data')).json).toEqual({});
      expect(await sessionsIn(app).revokeBy({ tenant: 't1' })).toBe(0);
      expect(await found(app, 'tag', 'a')).toEqual([]);
      expect(await sessionsOf('alice', app).count()).toBe(1);
      expect(await sessionsOf('bob', app).list()).toEqual([]);
    });

    it('is at most as much as is asked for, and marks the session that asks', async () => {
      const app = await start({ indexes });
      for (let i = 0; i < 7; i++) await device({ name: `user ${i}`, roles: ['reader'] }, app);
      const sessions = sessionsIn(app);
      expect(await sessions.findBy('role', 'reader')).toHaveLength(7);
      const some = await sessions.findBy('role', 'reader', { limit: 3 });
      expect(new Set(handlesIn(some)).size).toBe(3);
      expect(some.every(({ current }) => !current)).toBe(true);
      clock.advance('31m');
      expect(await sessions.findBy('role', 'reader')).toEqual([]);
    });

    it('by the session of the identity provider needs no declaration', async () => {
      const clients = [
        await device({ idpSession: 'sid-1' }),
        await device({ idpSession: 'sid-1', name: 'bob' }),
        await device({ idpSession: 'sid-2' }),
      ] as const;
      const sessions = sessionsIn();
      expect(await sessions.findBy('idpSession', 'sid-1')).toHaveLength(2);
      await clients[0].post('/elevate');
      expect(await sessions.findBy('idpSession', 'sid-1')).toHaveLength(2);
      expect(await sessions.revokeBy({ idpSession: 'sid-1' })).toBe(2);
      expect(await areIn(...clients)).toEqual([false, false, true]);
      await login(clients[2]);
      expect(await sessions.revokeBy({ idpSession: 'sid-2' })).toBe(0);
      expect(await areIn(clients[2])).toEqual([true]);
    });

    it.each(['tenants', 'principal', 'constructor', '__proto__', 'p', ''])(
      'is nothing that can be asked by %p: that was not declared',
      async (index) => {
        const app = await start({ indexes });
        const client = await device({}, app);
        const failure = { code: 'SESSION_UNAVAILABLE', message: expect.stringContaining(index) };
        await expect(sessionsIn(app).findBy(index, 'x')).rejects.toMatchObject(failure);
        await expect(sessionsIn(app).revokeBy({ [index]: 'x' })).rejects.toMatchObject(failure);
        expect(await areIn(client)).toEqual([true]);
      },
    );

    it.each([{}, { tenant: 't1', tag: 'a' }, { tenant: undefined }, { tenant: 7 }])(
      'is not guessed from %j',
      async (query) => {
        const app = await start({ indexes });
        const revoking = sessionsIn(app).revokeBy(query as Record<string, string>);
        await expect(revoking).rejects.toThrow(TypeError);
      },
    );
  });

  describe('a store that keeps no indexes', () => {
    const plain = () => new WatchedStore(new MemorySessionStore(clock));
    const NO_INDEXES = { code: 'SESSION_UNAVAILABLE', message: /IndexedSessionStore/ };

    it('says so where sessions are looked for by whose they are', async () => {
      const app = await start({ store: plain() });
      const client = await device({ idpSession: 'sid' }, app);
      const sessions = sessionsIn(app);
      const alice = sessions.forPrincipal('alice');
      const { message, ...failure } = NO_INDEXES;
      for (const ask of [
        () => alice.list(),
        () => alice.count(),
        () => alice.revokeAll(),
        () => alice.revokeOthers({ handle: 'x' }),
        () => alice.updateGrants({ roles: [] }),
        () => sessions.findBy('idpSession', 'sid'),
        () => sessions.revokeBy({ idpSession: 'sid' }),
        () => sessions.revokeAllPrincipals(),
      ]) {
        await expect(ask()).rejects.toMatchObject(failure);
        await expect(ask()).rejects.toThrow(message);
      }
      // All else works.
      await client.post('/elevate');
      expect(await areIn(client)).toEqual([true]);
      await client.post('/logout');
      expect(await areIn(client)).toEqual([false]);
    });

    it.each<[string, SessionModuleOptions]>([
      ['maxSessions', { maxSessions: 3 }],
      ['indexes', { indexes: { tenant: () => 't1' } }],
    ])('does not boot with %s', async (name, options) => {
      const failure = start({ store: plain(), ...options });
      await expect(failure).rejects.toMatchObject({ code: 'SESSION_OPTIONS_INVALID' });
      await expect(failure).rejects.toThrow(name);
    });
  });

  describe('maxSessions', () => {
    const full = (max: number) => ({
      statusCode: 409,
      code: 'SESSION_LIMIT_REACHED',
      error: 'Conflict',
      message: `There are ${max} sessions already, which is the limit: end one of them first.`,
    });

    it('by default ends the session with the oldest login', async () => {
      const app = await start({ maxSessions: 2 });
      const clients = [await device({}, app)];
      clock.advance('1m');
      clients.push(await device({}, app));
      clock.advance('1m');
      await clients[0]!.get('/me');
      clients.push(await device({}, app));
      expect(await areIn(...clients)).toEqual([false, true, true]);
      expect(tokenOf(clients[0]!)).toBeUndefined();
      // Logged in anew, it is the newest.
      clock.advance('1m');
      await login(clients[1]!);
      clock.advance('1m');
      clients.push(await device({}, app));
      expect(await areIn(...clients)).toEqual([false, true, false, true]);
      expect(await sessionsOf('alice', app).count()).toBe(2);
    });

    it('retire-least-recently-used ends the session that was not used for the longest time', async () => {
      const app = await start({ maxSessions: 2, onLimit: 'retire-least-recently-used' });
      const clients = [await device({}, app)];
      clock.advance('2m');
      clients.push(await device({ rememberMe: true }, app));
      clock.advance('2m');
      await clients[0]!.get('/me');
      clients.push(await device({}, app));
      expect(await areIn(...clients)).toEqual([true, false, true]);
      expect(await sessionsOf('alice', app).count()).toBe(2);
    });

    it('reject answers 409, and changes nothing', async () => {
      const app = await start({ maxSessions: 2, onLimit: 'reject' });
      const clients = [await device({}, app), await device({}, app)] as const;
      const late = browse(app);
      await late.post('/set', { json: { cart: ['tea'] } });
      const token = tokenOf(late);
      for (const path of ['/login', '/login-if-there-is-room']) {
        const answer = await late.post(path, { json: { name: 'alice' } });
        expect(answer.setCookie).toEqual([]);
        if (path === '/login') expect(answer).toMatchObject({ status: 409, json: full(2) });
        else expect(answer).toMatchObject({ status: 200, json: { room: false } });
      }
      expect(tokenOf(late)).toBe(token);
      expect((await late.get('/data')).json).toEqual({ cart: ['tea'] });
      expect(await areIn(...clients, late)).toEqual([true, true, false]);
      expect(await sessionsOf('alice', app).count()).toBe(2);
      const stranger = browse(app);
      expect(await login(stranger)).toMatchObject({ status: 409, json: full(2), setCookie: [] });

      await clients[0].post('/logout');
      expect((await login(late)).status).toBe(200);
      expect((await late.get('/data')).json).toEqual({ cart: ['tea'] });
      expect(await areIn(...clients, late)).toEqual([false, true, true]);
      // Nobody else has fewer for it.
      expect((await login(stranger, { name: 'bob' })).status).toBe(200);
    });

    it('counts a login in a session that is theirs already no second time', async () => {
      for (const onLimit of ['reject', 'retire-oldest', 'retire-least-recently-used'] as const) {
        const app = await start({ maxSessions: 2, onLimit });
        const clients = [await device({}, app), await device({}, app)] as const;
        for (let i = 0; i < 3; i++) {
          clock.advance('1m');
          expect((await login(clients[0])).status).toBe(200);
          await clients[0].post('/elevate');
          await clients[0].post('/regenerate');
        }
        expect(await areIn(...clients)).toEqual([true, true]);
        expect(await sessionsOf('alice', app).count()).toBe(2);
      }
    });

    it('counts a login in a session that was of somebody else', async () => {
      const app = await start({ maxSessions: 1, onLimit: 'reject' });
      const [ofAlice, ofBob] = [await device({}, app), await device({ name: 'bob' }, app)];
      expect((await login(ofBob)).status).toBe(409);
      expect((await ofBob.get('/me')).json).toEqual({ principal: 'bob' });
      await ofAlice.post('/logout');
      expect((await login(ofBob)).status).toBe(200);
      expect((await ofBob.get('/me')).json).toEqual({ principal: 'alice' });
      expect((await login(ofAlice, { name: 'bob' })).status).toBe(200);
    });

    it('does not count sessions that ended, in whatever way', async () => {
      const app = await start({ maxSessions: 1, onLimit: 'reject' });
      await device({}, app);
      expect((await login(browse(app))).status).toBe(409);
      clock.advance('30m');
      const client = await device({}, app);
      await client.post('/logout');
      await device({}, app);
      await sessionsOf('alice', app).revokeAll();
      await device({}, app);
      const [{ handle }] = (await sessionsOf('alice', app).list()) as [ListedSession];
      await sessionsIn(app).revoke(handle);
      expect(await areIn(await device({}, app))).toEqual([true]);
      expect((await login(browse(app))).status).toBe(409);
    });

    it('counts kinds of clients apart, and without a kind all of them', async () => {
      const app = await start({ maxSessions: 2 });
      const clients = [
        await device({ clientKind: 'mobile' }, app),
        await device({ clientKind: 'desktop' }, app),
      ];
      for (const clientKind of ['mobile', 'mobile', 'desktop', undefined]) {
        clock.advance('1m');
        clients.push(await device({ clientKind }, app));
        if (clients.length === 4)
          expect(await areIn(...clients)).toEqual([false, true, true, true]);
      }
      // The last one is of no kind: of all others only the newest stays.
      expect(await areIn(...clients)).toEqual([false, false, false, false, true, true]);
    });

    it('can be what a function says, of whom and of what logs in', async () => {
      const asked: [string, LimitedSession][] = [];
      const app = await start({
        onLimit: 'reject',
        maxSessions: async (principal, session) => {
          asked.push([principal, session]);
          await Promise.resolve();
          if (session.roles.includes('root')) return Infinity;
          return session.clientKind === 'kiosk' ? 2 : 1;
        },
      });
      await device({ factors: ['pwd'], claims: { tenant: 't1' }, idpSession: 'sid' }, app);
      expect(asked.splice(0)).toEqual([
        [
          'alice',
          {
            principal: 'alice',
            roles: [],
            permissions: [],
            claims: { tenant: 't1' },
            factors: { pwd: clock.now() },
            authenticatedAt: clock.now(),
            client: { address: '127.0.0.1' },
          },
        ],
      ]);
      expect((await login(browse(app))).json).toEqual(full(1));
      for (let i = 0; i < 2; i++) await device({ clientKind: 'kiosk' }, app);
      expect((await login(browse(app), { clientKind: 'kiosk' })).json).toEqual(full(2));
      for (let i = 0; i < 3; i++) await device({ name: 'admin', roles: ['root'] }, app);
      expect(await sessionsOf('admin', app).count()).toBe(3);
    });

    it.each([0, -1, 1.5, Number.NaN, '2', undefined])(
      'of a function that says %p refuses the login, as an error of the server',
      async (max) => {
        const app = await start({ maxSessions: () => max as number });
        const client = browse(app);
        expect(await login(client)).toMatchObject({ status: 500, setCookie: [] });
        expect(await sessionsIn(app).count()).toBe(0);
      },
    );

    it('holds for sessions that are made outside of requests', async () => {
      const app = await start({ maxSessions: 1, onLimit: 'reject' });
      const sessions = sessionsIn(app);
      await sessions.create({ principal: 'alice' });
      await expect(sessions.create({ principal: 'alice' })).rejects.toMatchObject({
        code: 'SESSION_LIMIT_REACHED',
        maxSessions: 1,
      });
      await sessions.create();
      await sessions.create();
      expect(await sessions.count()).toBe(3);
    });
  });

  describe('in Redis', () => {
    let redis: RedisUnderTest;
    let probe: RedisProbe;
    let app: TestApp;

    const recordOf = async (handle: string) => ((await probe.keys(`*:s:${handle}`)) as [string])[0];
    const entriesIn = async (index: string) => {
      const places = await probe.keys(`*}:${index}:*`);
      const sizes = await Promise.all(places.map((place) => probe.client.zcard(place)));
      return sizes.reduce((sum, size) => sum + size, 0);
    };
    const endings: [string, (key: string) => Promise<unknown>][] = [
      ['was deleted by hand', (key) => probe.client.del(key)],
      [
        'has expired',
        async (key) => {
          await probe.client.pexpire(key, 1);
          await until('the record is gone', async () => (await probe.client.exists(key)) === 0);
        },
      ],
    ];

    beforeAll(async () => {
      redis = await startRedis();
      probe = await RedisProbe.start(redis);
    });

    beforeEach(async () => {
      await probe.flush();
      const indexes = { tenant: () => 't1' };
      const options = {
        redis: redis.connection(),
        store: undefined,
        indexes,
        onLimit: 'reject',
      } as const;
      app = await start({ ...options, clock: { now: () => Date.now() }, maxSessions: 3 });
    });

    afterAll(async () => {
      await probe.stop();
      await redis.stop();
    });

    it.each(endings)('a session whose record %s is neither listed nor counted', async (_, end) => {
      for (let i = 0; i < 3; i++) await device({}, app);
      const alice = sessionsOf('alice', app);
      const [first, ...others] = await alice.list();
      expect(others).toHaveLength(2);
      expect(await entriesIn('p')).toBe(3);
      await end(await recordOf(first!.handle));
      expect(await alice.count()).toBe(2);
      expect(handlesIn(await alice.list())).toEqual(handlesIn(others));
      expect(await entriesIn('p')).toBe(2);
      expect(await sessionsIn(app).findBy('tenant', 't1')).toHaveLength(2);
      expect(await entriesIn('i.tenant')).toBe(2);
      expect(await alice.revoke(first!.handle)).toBe(false);
      expect(await alice.updateGrants({ roles: ['reader'] })).toBe(2);
    });

    it.each(endings)('a session whose record %s takes no place within a limit', async (_, end) => {
      const clients = [await device({}, app), await device({}, app), await device({}, app)];
      expect((await login(browse(app))).status).toBe(409);
      const [newest] = await sessionsOf('alice', app).list();
      await end(await recordOf(newest!.handle));
      clients.push(await device({}, app));
      expect((await login(browse(app))).status).toBe(409);
      expect((await areIn(...clients)).filter(Boolean)).toHaveLength(3);
      expect(await sessionsOf('alice', app).revokeAll()).toBe(3);
    });

    it('nothing is left of sessions that were ended', async () => {
      for (const name of ['alice', 'alice', 'bob']) {
        await device({ name, idpSession: 'sid', clientKind: 'mobile' }, app);
      }
      expect(await sessionsOf('alice', app).revokeAll()).toBe(2);
      const [ofBob] = await sessionsOf('bob', app).list();
      expect(await sessionsOf('bob', app).revoke(ofBob!.handle)).toBe(true);
      expect(await sessionsIn(app).findBy('idpSession', 'sid')).toEqual([]);
      expect(await sessionsIn(app).findBy('tenant', 't1')).toEqual([]);
      expect([await entriesIn('p'), await entriesIn('d'), await entriesIn('i.tenant')]).toEqual([
        0, 0, 0,
      ]);
      expect(await probe.keys('*:s:*')).toEqual([]);
    });

    it('revokeAllPrincipals ends everybody, and leaves who is nobody alone', async () => {
      const anonymous = browse(app);
      await anonymous.post('/set', { json: { cart: ['tea'] } });
      const clients: HttpClient[] = [];
      for (let i = 0; i < 20; i++) clients.push(await device({ name: `user ${i % 10}` }, app));
      expect(await sessionsIn(app).revokeAllPrincipals()).toBe(20);
      expect((await areIn(...clients)).filter(Boolean)).toEqual([]);
      expect((await anonymous.get('/data')).json).toEqual({ cart: ['tea'] });
      expect((await probe.liveRecords()).size).toBe(1);
    });
  });
});
