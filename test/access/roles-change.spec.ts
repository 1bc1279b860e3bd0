import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Get, HttpCode, Post } from '@nestjs/common';
import {
  MemorySessionStore,
  PassiveSession,
  RequireFresh,
  RequirePermission,
  RequireRole,
  RequireSession,
  Session,
  SessionService,
  type AuthenticateOptions,
  type SessionGrantOptions,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, inParallel, Latch, type TestApp } from '../support/app.js';
import { type HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

const COOKIE = '__Host-session';

/** Handlers wait here, where a test has put a latch. */
const gate: { latch?: Latch | undefined } = {};

@Controller()
class Office {
  constructor(private readonly sessions: SessionService) {}

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name, ...options }: AuthenticateOptions & { name: string },
  ) {
    await session.load();
    await gate.latch?.wait();
    await session.authenticate(name, options);
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await gate.latch?.wait();
    await session.destroy();
  }

  @Post('act-as') @HttpCode(200) async actAs(
    @Session() session: Session,
    @Body() { name, ...grants }: SessionGrantOptions & { name: string },
  ) {
    await session.switchPrincipal(name, grants);
  }

  @Post('act-as-oneself') @HttpCode(200) async actAsOneself(@Session() session: Session) {
    await session.switchBack();
  }

  @Get('me') me(@Session() session: Session) {
    const { principal, roles, permissions, claims, createdAt, authenticatedAt, data } = session;
    const { label } = session;
    return { principal, roles, permissions, claims, label, createdAt, authenticatedAt, data };
  }

  @PassiveSession() @Get('poll') poll(@Session() session: Session) {
    return { roles: session.roles };
  }

  @PassiveSession() @RequireRole('editor') @Get('poll-as-editor') pollAsEditor() {
    return {};
  }

  @RequireRole('editor') @Get('edit') edit() {
    return {};
  }

  @RequirePermission('publish') @RequireFresh('5m') @Get('publish') publish() {
    return {};
  }

  @RequireSession() @Post('write') @HttpCode(200) async write(
    @Session() session: Session,
    @Body() body?: { note?: string },
  ) {
    session.increment('written');
    if (body?.note !== undefined) session.set(body.note, true);
    await gate.latch?.wait();
  }

  @Post('write-and-promote-oneself') @HttpCode(200) async promote(@Session() session: Session) {
    session.increment('written');
    const sessions = this.sessions.forPrincipal(session.principal as string);
    return { changed: await sessions.updateGrants({ roles: ['editor'] }) };
  }
}

const tokenOf = (client: HttpClient) => client.jar.get(COOKIE);
const login = async (client: HttpClient, options: AuthenticateOptions & { name?: string } = {}) =>
  expect((await client.post('/login', { json: { name: 'alice', ...options } })).status).toBe(200);

describe.each(ADAPTERS)('a change of grants, on %s', (adapter) => {
  const clock = new FakeClock();
  const opened = new Opened();
  let running: TestApp;

  const start = async (session: SessionModuleOptions): Promise<TestApp> => {
    const options = { adapter, controllers: [Office], session: { clock, ...session } };
    return opened.app(options);
  };
  const browse = (app = running): HttpClient => {
    return opened.browser(app);
  };
  const sessionsOf = (principal: string, { app } = running) =>
    app.get(SessionService).forPrincipal(principal);
  const loggedIn = async (options: AuthenticateOptions & { name?: string } = {}, app = running) => {
    const client = browse(app);
    await login(client, options);
    return client;
  };

  beforeEach(async () => {
    running = await start({ store: 'memory' });
  });

  afterEach(async () => {
    gate.latch = undefined;
    await opened.close();
  });

  it('reaches a session at its next request, under a new id that the client is given once', async () => {
    const client = await loggedIn({ roles: ['reader'] });
    await client.post('/write', { json: { note: 'kept' } });
    const before = (await client.get('/me')).json;
    const token = tokenOf(client);
    expect((await client.get('/edit')).status).toBe(403);
    clock.advance('2m');

    expect(await sessionsOf('alice').updateGrants({ roles: ['editor', 'reader'] })).toBe(1);
    const answer = await client.get('/edit');
    expect(answer.status).toBe(200);
    expect(answer.setCookie).toHaveLength(1);
    expect(answer.headers['cache-control']).toBe('no-store');
    expect(tokenOf(client)).not.toBe(token);
    expect(await client.get('/me')).toMatchObject({
      setCookie: [],
      json: { ...before, roles: ['editor', 'reader'] },
    });
    expect(await sessionsOf('alice').count()).toBe(1);
  });

  it('takes away as it gives, and the refusal brings the new id', async () => {
    const client = await loggedIn({ roles: ['editor'], permissions: ['publish'] });
    expect((await client.get('/edit')).status).toBe(200);
    const token = tokenOf(client);
    await sessionsOf('alice').updateGrants({ roles: [], permissions: [] });
    const answer = await client.get('/edit');
    expect(answer.status).toBe(403);
    expect(answer.setCookie).toHaveLength(1);
    expect(tokenOf(client)).not.toBe(token);
    expect((await client.get('/publish')).status).toBe(403);
    expect((await client.get('/me')).json).toMatchObject({ principal: 'alice', roles: [] });
  });

  it('replaces what is given, and leaves what is not', async () => {
    const client = await loggedIn({
      roles: ['reader'],
      permissions: ['read'],
      claims: { tenant: 't1', staff: false },
    });
    const grants = async () => {
      const { roles, permissions, claims } = (await client.get('/me')).json;
      return { roles, permissions, claims };
    };
    const alice = sessionsOf('alice');
    await alice.updateGrants({ permissions: ['publish'] });
    expect(await grants()).toEqual({
      roles: ['reader'],
      permissions: ['publish'],
      claims: { tenant: 't1', staff: false },
    });
    expect((await client.get('/publish')).status).toBe(200);
    await alice.updateGrants({ claims: { staff: { since: 2030 } } });
    expect(await grants()).toEqual({
      roles: ['reader'],
      permissions: ['publish'],
      claims: { staff: { since: 2030 } },
    });
    await alice.updateGrants({ roles: ['editor'], permissions: [], claims: {} });
    expect(await grants()).toEqual({ roles: ['editor'], permissions: [], claims: {} });
  });

  it('is no login: it makes nothing fresh, and extends nothing', async () => {
    const client = await loggedIn({ permissions: ['publish'] });
    clock.advance('6m');
    await sessionsOf('alice').updateGrants({ permissions: ['publish', 'more'] });
    expect((await client.get('/publish')).json).toMatchObject({ code: 'SESSION_STEP_UP_REQUIRED' });
    clock.advance('29m');
    await sessionsOf('alice').updateGrants({ permissions: ['publish'] });
    clock.advance('2m');
    expect((await client.get('/me')).json.principal).toBeUndefined();
    expect(await sessionsOf('alice').updateGrants({ permissions: [] })).toBe(0);
  });

  it.each<[string, SessionGrantOptions, object]>([
    ['a string', { roles: 'admin' as never }, { name: 'TypeError' }],
    ['an empty name', { roles: ['editor', ''] }, { name: 'TypeError' }],
    ['numbers', { permissions: [1 as never] }, { name: 'TypeError' }],
    ['a function', { claims: { f: () => 1 } }, { code: 'SESSION_NOT_SERIALIZABLE' }],
    ['more than fits', { claims: { text: 'x'.repeat(70_000) } }, { code: 'SESSION_TOO_LARGE' }],
  ])('to %s is refused, and leaves the session as it was', async (_, grants, failure) => {
    const client = await loggedIn({ roles: ['reader'], claims: { tenant: 't1' } });
    const before = (await client.get('/me')).json;
    await expect(sessionsOf('alice').updateGrants(grants)).rejects.toMatchObject(failure);
    const after = await client.get('/me');
    expect(after.json).toEqual(before);
    expect(after.setCookie).toEqual([]);
    expect((await client.post('/write')).status).toBe(200);
  });

  it('reaches all sessions of the principal, and nobody else', async () => {
    const ofAlice = [await loggedIn(), await loggedIn({ clientKind: 'mobile' }), await loggedIn()];
    const other = await loggedIn({ name: 'bob', roles: ['reader'] });
    const anonymous = browse();
    const ofNobody = await loggedIn({ name: 'Alice' });
    const others = [other, anonymous, ofNobody];
    const tokens = others.map(tokenOf);
    expect(await sessionsOf('alice').updateGrants({ roles: ['editor'] })).toBe(3);
    for (const client of ofAlice) expect((await client.get('/edit')).status).toBe(200);
    for (const client of others) {
      const answer = await client.get('/edit');
      expect([403, 401]).toContain(answer.status);
      expect(answer.setCookie).toEqual([]);
    }
    expect(others.map(tokenOf)).toEqual(tokens);
    expect((await other.get('/me')).json).toMatchObject({ principal: 'bob', roles: ['reader'] });
    expect(await sessionsOf('nobody').updateGrants({ roles: ['editor'] })).toBe(0);
  });

  it('reaches more sessions than are asked about at a time', async () => {
    const { app } = running;
    for (let i = 0; i < 150; i++) await app.get(SessionService).create({ principal: 'alice' });
    expect(await sessionsOf('alice').updateGrants({ roles: ['editor'] })).toBe(150);
    const listed = await sessionsOf('alice').list({ limit: 200 });
    expect(listed.filter(({ roles }) => roles.includes('editor'))).toHaveLength(150);
  });

  describe('and the old id', () => {
    it('leads parallel requests to the same new one within the grace, and nowhere after it', async () => {
      const client = await loggedIn();
      const old = new Map(client.jar);
      await sessionsOf('alice').updateGrants({ roles: ['editor'] });
      const tabs = Array.from({ length: 6 }, () => client.another(old));
      const answers = await Promise.all(tabs.map((tab) => tab.get('/edit')));
      expect(answers.map(({ status }) => status)).toEqual(tabs.map(() => 200));
      const tokens = new Set(tabs.map(tokenOf));
      expect(tokens.size).toBe(1);
      expect(tokens).not.toContain(old.get(COOKIE));

      clock.advance(29_999);
      const late = client.another(old);
      expect((await late.get('/edit')).status).toBe(200);
      expect(tokenOf(late)).toBe(tokenOf(tabs[0] as HttpClient));
      clock.advance(1);
      const tooLate = client.another(old);
      expect((await tooLate.get('/edit')).status).toBe(401);
      expect(tokenOf(tooLate)).toBeUndefined();
      expect((await (tabs[0] as HttpClient).get('/edit')).status).toBe(200);
      expect(await sessionsOf('alice').count()).toBe(1);
    });

    it('stays on passive routes, which see the change all the same', async () => {
      const client = await loggedIn();
      const token = tokenOf(client);
      expect((await client.get('/poll-as-editor')).status).toBe(403);
      await sessionsOf('alice').updateGrants({ roles: ['editor'] });
      for (let i = 0; i < 2; i++) {
        expect(await client.get('/poll')).toMatchObject({
          json: { roles: ['editor'] },
          setCookie: [],
        });
        expect(await client.get('/poll-as-editor')).toMatchObject({ status: 200, setCookie: [] });
      }
      expect(tokenOf(client)).toBe(token);
      expect((await client.get('/edit')).setCookie).toHaveLength(1);
      expect(tokenOf(client)).not.toBe(token);
    });

    it('is given up as well where sessions are loaded before routes are known', async () => {
      const eager = await start({ store: 'memory', loading: 'eager' });
      const client = await loggedIn({}, eager);
      const token = tokenOf(client);
      await sessionsOf('alice', eager).updateGrants({ roles: ['editor'] });
      expect(await client.get('/poll-as-editor')).toMatchObject({ status: 200, setCookie: [] });
      expect((await client.get('/edit')).status).toBe(200);
      expect(tokenOf(client)).not.toBe(token);
      expect(await client.get('/edit')).toMatchObject({ status: 200, setCookie: [] });
    });
  });

  describe('while requests run', () => {
    it('keeps what a request writes that had read the session before', async () => {
      const client = await loggedIn();
      const token = tokenOf(client);
      const latch = (gate.latch = new Latch());
      const writing = client.post('/write', { json: { note: 'meanwhile' } });
      await latch.reached;
      expect(await sessionsOf('alice').updateGrants({ roles: ['editor'] })).toBe(1);
      latch.open();
      expect((await writing).status).toBe(200);
      gate.latch = undefined;
      expect((await client.get('/me')).json).toMatchObject({
        roles: ['editor'],
        data: { written: 1, meanwhile: true },
      });
      expect(tokenOf(client)).not.toBe(token);
    });

    it('keeps what a request writes that had read the session several changes before', async () => {
      const client = await loggedIn();
      const latch = (gate.latch = new Latch());
      const tab = client.another(client.jar);
      const writing = tab.post('/write', { json: { note: 'meanwhile' } });
      await latch.reached;
      gate.latch = undefined;
      for (const role of ['reader', 'writer', 'editor']) {
        await sessionsOf('alice').updateGrants({ roles: [role] });
        expect((await client.get('/me')).setCookie).toHaveLength(1);
      }
      latch.open();
      expect((await writing).status).toBe(200);
      expect(tokenOf(tab)).toBe(tokenOf(client));
      expect((await client.get('/me')).json).toMatchObject({
        roles: ['editor'],
        data: { written: 1, meanwhile: true },
      });
    });

    it('does not bring a session back that ends meanwhile', async () => {
      const client = await loggedIn();
      const old = new Map(client.jar);
      const latch = (gate.latch = new Latch());
      const leaving = client.post('/logout');
      await latch.reached;
      await sessionsOf('alice').updateGrants({ roles: ['editor'] });
      latch.open();
      expect((await leaving).status).toBe(204);
      expect((await client.another(old).get('/edit')).status).toBe(401);
      expect(await sessionsOf('alice').updateGrants({ roles: ['editor'] })).toBe(0);
      expect(await sessionsOf('alice').count()).toBe(0);
    });

    it('gives way to a login, which brings its own grants', async () => {
      const client = await loggedIn();
      const latch = (gate.latch = new Latch());
      const again = client.post('/login', { json: { name: 'alice', roles: ['writer'] } });
      await latch.reached;
      await sessionsOf('alice').updateGrants({ roles: ['editor'] });
      latch.open();
      expect((await again).status).toBe(200);
      expect((await client.get('/me')).json).toMatchObject({ roles: ['writer'] });
    });

    it('can come from the session that it changes', async () => {
      const client = await loggedIn();
      const answer = await client.post('/write-and-promote-oneself');
      expect(answer.json).toEqual({ changed: 1 });
      expect((await client.get('/edit')).status).toBe(200);
      expect((await client.get('/me')).json).toMatchObject({
        roles: ['editor'],
        data: { written: 1 },
      });
    });
  });

  it('reaches who acts as another principal when they act for themselves again', async () => {
    const client = await loggedIn({ roles: ['editor'] });
    await client.post('/act-as', { json: { name: 'bob', roles: ['reader'] } });
    await sessionsOf('alice').updateGrants({ roles: [] });
    expect((await client.get('/me')).json).toMatchObject({ principal: 'bob', roles: ['reader'] });
    await client.post('/act-as-oneself');
    expect((await client.get('/me')).json).toMatchObject({ principal: 'alice', roles: [] });
    expect((await client.get('/edit')).status).toBe(403);
  });

  describe('setLabel', () => {
    it('names a session for people, and nothing else of it changes', async () => {
      const client = await loggedIn({ label: 'a phone', roles: ['reader'] });
      const before = (await client.get('/me')).json;
      expect(before.label).toBe('a phone');
      const [listed] = await sessionsOf('alice').list();
      expect(await sessionsOf('alice').setLabel(listed!.handle, 'my phone <3')).toBe(true);
      const after = await client.get('/me');
      expect(after).toMatchObject({ setCookie: [], json: { ...before, label: 'my phone <3' } });
      expect(await sessionsOf('alice').list()).toEqual([{ ...listed, label: 'my phone <3' }]);
      expect(await sessionsOf('alice').setLabel(listed!.handle, 'x'.repeat(200))).toBe(true);
      expect((await client.get('/me')).json.label).toBe('x'.repeat(200));
      expect(await sessionsOf('alice').setLabel(listed!.handle, undefined)).toBe(true);
      expect((await client.get('/me')).json.label).toBeUndefined();
    });

    it("is false for another principal's session, and for what is none", async () => {
      const client = await loggedIn({ name: 'bob', label: "bob's" });
      const [ofBob] = await sessionsOf('bob').list();
      const { handle } = ofBob!;
      for (const name of [handle, `${handle}x`, handle.replace(/.$/, '*'), '', '../x']) {
        expect(await sessionsOf('alice').setLabel(name, 'mine')).toBe(false);
      }
      expect((await client.get('/me')).json.label).toBe("bob's");
    });

    it.each<[string, unknown, object]>([
      ['empty', '', { name: 'TypeError' }],
      ['no string', { toString: 'x' }, { name: 'TypeError' }],
      ['longer than anybody reads', 'x'.repeat(201), { name: 'TypeError' }],
    ])('refuses a label that is %s', async (_, label, failure) => {
      const client = await loggedIn({ label: 'a phone' });
      const [listed] = await sessionsOf('alice').list();
      const naming = sessionsOf('alice').setLabel(listed!.handle, label as string);
      await expect(naming).rejects.toMatchObject(failure);
      expect((await client.get('/me')).json.label).toBe('a phone');
      expect((await client.post('/write')).status).toBe(200);
    });
  });

  it('reaches a session on every node that shares a store with it', async () => {
    const store = new MemorySessionStore(clock);
    const [one, two] = [await start({ store }), await start({ store })];
    const client = await loggedIn({}, one);
    await sessionsOf('alice', two).updateGrants({ roles: ['editor'] });
    expect((await client.get('/edit')).status).toBe(200);
    const onTwo = opened.browser(two, client.jar);
    expect(await onTwo.get('/edit')).toMatchObject({ status: 200, setCookie: [] });
  });

  describe('over one Redis', () => {
    let redis: RedisUnderTest;
    let probe: RedisProbe;
    let nodes: readonly [TestApp, TestApp];

    beforeAll(async () => {
      redis = await startRedis();
      probe = await RedisProbe.start(redis);
    });

    beforeEach(async () => {
      await probe.flush();
      const session = { redis: redis.connection(), clock: { now: () => Date.now() } };
      nodes = [await start(session), await start(session)];
    });

    afterAll(async () => {
      await probe.stop();
      await redis.stop();
    });

    it('is in force on all nodes at once, wherever a session was used last', async () => {
      const [one, two] = nodes;
      const client = await loggedIn({}, one);
      const onTwo = opened.browser(two, client.jar);
      expect([(await client.get('/edit')).status, (await onTwo.get('/edit')).status]).toEqual([
        403, 403,
      ]);
      expect(await sessionsOf('alice', two).updateGrants({ roles: ['editor'] })).toBe(1);
      expect((await client.get('/edit')).status).toBe(200);
      // The old id leads on at the other node, too.
      expect((await onTwo.get('/edit')).status).toBe(200);
      expect(tokenOf(onTwo)).toBe(tokenOf(client));
      expect(await sessionsOf('alice', one).updateGrants({ roles: [] })).toBe(1);
      expect((await onTwo.get('/edit')).status).toBe(403);
      expect((await probe.liveRecords()).size).toBe(1);
    });

    it('and writes of the session at the same time all take effect', async () => {
      const [one, two] = nodes;
      const client = await loggedIn({}, one);
      // One browser: what one answer brings, the next request sends.
      const tabs = [client, opened.browser(two)] as const;
      Object.defineProperty(tabs[1], 'jar', { value: client.jar });
      const changes = inParallel(8, 1, (i) =>
        sessionsOf('alice', nodes[i % 2]).updateGrants({
          roles: [`role-${i}`],
          claims: { change: i },
        }),
      );
      const writes = await inParallel(120, 4, (i) =>
        tabs[i % 2]!.post('/write', { json: { note: `note-${i}` } }),
      );
      expect(writes.filter(({ status }) => status !== 200).map(({ text }) => text)).toEqual([]);
      expect(await changes).toEqual(Array.from({ length: 8 }, () => 1));
      const { roles, claims, data } = (await client.get('/me')).json as {
        roles: unknown;
        claims: unknown;
        data: object;
      };
      expect({ roles, claims }).toEqual({ roles: ['role-7'], claims: { change: 7 } });
      expect(Object.keys(data)).toHaveLength(121);
      expect(data).toMatchObject({ written: 120 });
      expect((await probe.liveRecords()).size).toBe(1);
    });
  });
});
