import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import {
  getSessionServiceToken,
  SessionEvents,
  SessionModule,
  SessionService,
  type SessionEvent,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { writeFileSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { SECRET, until } from '../support/app.js';
import { runCli, runJson, type CliOptions } from '../support/cli-run.js';
import { areLive, figuresOf, nearApp } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { RedisSentinel } from '../support/redis-sentinel.js';
import { freePort, RedisServer } from '../support/redis-server.js';

const byName = (one: string, other: string) => one.localeCompare(other);

/** What no output may have in it. */
const DATA = 'nobody-may-read-this';

function expectNone(secrets: readonly string[], said: string): void {
  for (const one of secrets) expect(said).not.toContain(one);
}

describe('the program', () => {
  const opened = new Opened();
  let redis: RedisServer;
  let admin: Redis;
  const ids: string[] = [];
  const outputs: string[] = [];

  beforeEach(async () => {
    redis = await RedisServer.start();
    admin = redis.connect();
  });
  afterEach(async () => {
    await opened.close();
    admin.disconnect();
    await redis.stop();
    expectNone([...ids.splice(0), DATA, SECRET], outputs.splice(0).join('\n'));
  });

  const node = async (options: SessionModuleOptions = {}) => {
    const session = { redis: redis.url, nearCache: false, ...options };
    const { app } = await opened.app({ adapter: 'express', session });
    return app;
  };
  const begin = async (sessions: SessionService, principal?: string) => {
    const session = await sessions.create({ principal, data: { note: DATA }, label: 'Phone' });
    ids.push(session.id);
    return session;
  };
  const run = async (args: readonly string[], options?: CliOptions) => {
    const outcome = await runCli([...args, '--redis', redis.url], options);
    outputs.push(outcome.stdout, outcome.stderr);
    return outcome;
  };
  const json = async <T>(args: readonly string[], options?: CliOptions) => {
    const outcome = await runJson<T>([...args, '--redis', redis.url], options);
    outputs.push(JSON.stringify(outcome));
    return outcome;
  };
  const secretFile = () => {
    const file = join(redis.directory, 'secret');
    writeFileSync(file, `${SECRET}\n`);
    return ['--secret-file', file];
  };

  it('counts sessions, principals and memory', async () => {
    const sessions = (await node()).get(SessionService);
    for (let i = 0; i < 10; i++) await begin(sessions, `user-${i % 4}`);
    await begin(sessions);
    const { json: told, stderr } = await json<Record<string, unknown>>(['stats']);
    expect(told).toMatchObject({
      sessions: 11,
      principals: 4,
      events: false,
      redis: { masters: 1 },
    });
    expect(told.bytesPerSession).toBeGreaterThan(100);
    const buckets = told.buckets as { sessions: number }[];
    expect(buckets.reduce((sum, one) => sum + one.sessions, 0)).toBe(11);
    expect(stderr).toContain('walks the whole store');
    expect((await run(['stats'])).stdout).toMatch(/sessions +11\n/);
    expect(await json(['stats', '--prefix', 'other'])).toMatchObject({ json: { sessions: 0 } });
  });

  it('lists the sessions of a principal, page by page, never their data', async () => {
    const sessions = (await node({ idleTimeout: '30m' })).get(SessionService);
    const theirs = [await begin(sessions, 'alice'), await begin(sessions, 'alice')];
    await begin(sessions, 'bob');
    const args = ['list', '--principal', 'alice'];
    const { json: told } = await json<{ count: number; sessions: Record<string, string>[] }>(args);
    expect(told.count).toBe(2);
    expect(told.sessions.map(({ handle }) => handle as string).toSorted(byName)).toEqual(
      theirs.map(({ handle }) => handle).toSorted(byName),
    );
    expect(told.sessions[0]).toMatchObject({
      device: 'Phone',
      createdAt: expect.stringMatching(/Z$/),
    });
    expect(told.sessions[0]).not.toHaveProperty('lastAccessedAt');
    const exact = await json<{ sessions: object[] }>([...args, '--idle-timeout', '30m']);
    expect(exact.json.sessions[0]).toHaveProperty('lastAccessedAt');
    const first = await json<{ sessions: object[] }>([...args, '--limit', '1']);
    expect(first.json.sessions).toHaveLength(1);
    expect((await run(args)).stdout).toMatch(/handle +device.*\n\S{45} +Phone/);
    expect((await run(['list', '--principal', 'nobody'])).stdout).toMatch(/No sessions/);
  });

  it('shows a session, and its data only if asked for', async () => {
    const sessions = (await node()).get(SessionService);
    const session = await sessions.create({ principal: 'alice', data: { note: 'tea' } });
    const args = ['show', session.handle];
    const { json: told } = await json<object>(args);
    expect(told).toMatchObject({ principal: 'alice', encrypted: false, rememberMe: false });
    expect(told).not.toHaveProperty('data');
    expect((await json([...args, '--data'])).json).toMatchObject({ data: { note: 'tea' } });
    expect((await run(args)).stdout).toMatch(/^handle +\S{45}\nprincipal +alice\n/);
    // Neither what is none, nor the secret itself.
    expect((await run(['show', handleOf(newSessionId())])).code).toBe(1);
    const typed = await run(['show', session.id]);
    expect(typed.code).toBe(2);
    expect(typed.stderr).not.toContain(session.id);
  });

  it('ends a session on all nodes: by its handle, and by one that it had before', async () => {
    const sessions = (await node()).get(SessionService);
    const session = await begin(sessions, 'alice');
    const old = session.handle;
    await session.regenerate();
    await session.save();
    ids.push(session.id);
    expect(await json(['revoke', old])).toMatchObject({
      code: 0,
      json: { revoked: true, told: false },
    });
    expect(await sessions.find(session.handle)).toBeUndefined();
    expect(await json(['revoke', old])).toMatchObject({ code: 1, json: { revoked: false } });
    expect(await sessions.forPrincipal('alice').count()).toBe(0);
  });

  it('tells nodes that listen, and their near caches', async () => {
    const app = await node({ events: true, nearCache: true });
    const heard: SessionEvent[] = [];
    app.get(SessionEvents).events$.subscribe((event) => heard.push(event));
    const sessions = app.get(SessionService);
    const one = await begin(sessions, 'alice');
    for (let i = 0; i < 3; i++) await begin(sessions, 'bob');
    expect(await json(['revoke', one.handle])).toMatchObject({
      json: { revoked: true, told: true },
    });
    const revoked = () => heard.filter(({ type }) => type === 'revoked');
    await until('the node hears it', () => revoked().length === 1);
    expect(revoked()[0]).toMatchObject({ handle: one.handle, principal: 'alice', reason: 'named' });
    const all = await json(['revoke-all', '--principal', 'bob']);
    expect(all.json).toEqual({ revoked: 3, told: true });
    await until('the node hears all', () => revoked().length === 4);
    expect(revoked().filter(({ reason }) => reason === 'all')).toHaveLength(3);
    const quiet = await begin(sessions, 'carol');
    expect((await json(['revoke', quiet.handle, '--no-events'])).json).toMatchObject({
      told: false,
    });
  });

  it('reaches copies that a node keeps, although nobody listens to events', async () => {
    const shop = await opened.app(nearApp({ url: redis.url, connectionName: 'shop' }));
    await areLive([shop]);
    const browser = opened.browser(shop);
    await browser.post('/login/alice');
    const { hits } = figuresOf(shop);
    await until('a copy is served', async () => {
      expect((await browser.get('/me')).status).toBe(200);
      return figuresOf(shop).hits > hits;
    });
    const { json: told } = await json<{ sessions: { handle: string }[] }>([
      'list',
      '--principal',
      'alice',
    ]);
    expect((await json(['revoke', told.sessions[0]!.handle])).json).toEqual({
      revoked: true,
      told: false,
    });
    await until('it is out', async () => (await browser.get('/me')).status === 401, {
      within: 5_000,
    });
  });

  it('asks before it ends everything', async () => {
    const sessions = (await node()).get(SessionService);
    for (let i = 0; i < 5; i++) await begin(sessions, `user-${i}`);
    const anonymous = await begin(sessions);
    const unasked = await run(['revoke-all']);
    expect(unasked.code).toBe(2);
    expect(unasked.stderr).toContain('--yes');
    const refused = await run(['revoke-all'], { typed: 'n\n' });
    expect(refused).toMatchObject({ code: 1, stdout: 'Nothing was done.\n' });
    expect(await sessions.count()).toBe(6);
    const agreed = await run(['revoke-all'], { typed: 'yes\n' });
    expect(agreed.stdout).toContain('5 sessions');
    expect(await json(['revoke-all', '--yes'])).toMatchObject({ code: 0, json: { revoked: 0 } });
    // Nobody is logged in there.
    expect(await sessions.find(anonymous.handle)).toBeDefined();
  });

  it('takes dead entries out of indexes, and tells of what ended by time', async () => {
    const app = await node({ events: { sweepEvery: '1h' } });
    const heard: SessionEvent[] = [];
    app.get(SessionEvents).events$.subscribe((event) => heard.push(event));
    const sessions = app.get(SessionService);
    for (let i = 0; i < 4; i++) await begin(sessions, 'alice');
    const [record] = await admin.keys('{sess:*}:s:*');
    const [due] = await admin.keys('{sess:*}:x');
    await admin.del(record!);
    await admin.zadd(due!, 1, record!.slice(record!.lastIndexOf(':') + 1));
    const [place] = await admin.keys('{sess:*}:p:*');
    expect(await admin.zcard(place!)).toBe(4);
    const { json: told } = await json(['sweep']);
    expect(told).toMatchObject({ places: 1, removed: 1, told: true });
    expect(await admin.zcard(place!)).toBe(3);
    await until('the node hears it', () => heard.some(({ type }) => type === 'expired'));
    expect((await json(['sweep'])).json).toMatchObject({ removed: 0, expiredTold: 0 });
  });

  it.each(['keys', 'store-blind'] as const)(
    'does what it can with encryption by %s',
    async (mode) => {
      const sessions = (await node({ secret: SECRET, encryption: { mode } })).get(SessionService);
      const [one, two] = [await begin(sessions, 'alice'), await begin(sessions, 'alice')];
      const hidden = await json(['list', '--principal', 'alice']);
      expect(hidden.json).toMatchObject({ count: 2, unreadable: 2, sessions: [] });
      expect(hidden.stderr).toContain('--secret-file');
      const listed = await json(['list', '--principal', 'alice', ...secretFile()]);
      expect(listed.json).toMatchObject({ count: 2, unreadable: 0 });
      expect(await json(['show', one.handle])).toMatchObject({
        code: 1,
        json: { error: { code: 'ENCRYPTED' } },
      });
      const env = { SESSION_SECRET: SECRET };
      expect((await json(['show', one.handle], { env })).json).toMatchObject({
        principal: 'alice',
        encrypted: true,
      });
      const wrong = { SESSION_SECRET: 'Zq8w3nR5tY7uI9oP1aS2dF4gH6jK8lX0' };
      expect((await json(['show', one.handle], { env: wrong })).json).toMatchObject({
        error: { code: 'ENCRYPTED' },
      });
      if (mode === 'store-blind') {
        const data = await json(['show', one.handle, '--data'], { env });
        expect(data.json).toMatchObject({ error: { code: 'STORE_BLIND' } });
      }
      // Without a key, and with a wrong one.
      expect(await json(['revoke', one.handle])).toMatchObject({
        code: 0,
        json: { revoked: true },
      });
      expect(await json(['revoke', two.handle], { env: wrong })).toMatchObject({
        json: { revoked: true },
      });
      expect(await sessions.forPrincipal('alice').list()).toEqual([]);
      await begin(sessions, 'alice');
      expect((await json(['revoke-all', '--principal', 'alice'])).json).toMatchObject({
        revoked: 1,
      });
      expect(await sessions.count()).toBe(0);
    },
  );

  it('measures, and leaves nothing behind', async () => {
    const { json: told } = await json<{ steps: { step: string; p50: number; p99: number }[] }>([
      'bench',
      '--sessions',
      '50',
    ]);
    expect(told.steps.map(({ step }) => step)).toEqual([
      'create',
      'load',
      'touch',
      'save',
      'delete',
    ]);
    for (const { p50, p99 } of told.steps) expect(p99).toBeGreaterThanOrEqual(p50);
    expect(await admin.dbsize()).toBe(0);
    expect((await run(['bench', '--sessions', '0'])).code).toBe(2);
  });

  describe('says what is wrong with a connection', () => {
    const stats = async (args: readonly string[], env = {}) => {
      const { code, json: told } = await runJson<{ error: { code: string; message: string } }>(
        ['stats', ...args],
        { env },
      );
      outputs.push(JSON.stringify(told));
      return { exit: code, ...told.error };
    };

    it('that cannot be meant', async () => {
      const meant = [
        [],
        ['--redis', 'nonsense'],
        ['--redis', 'http://host'],
        ['--cluster', 'host'],
        ['--sentinel', 'a:1'],
      ];
      for (const args of [...meant, ['--redis', redis.url, '--cluster', 'a:1']]) {
        expect(await stats(args)).toMatchObject({
          exit: 2,
          code: 'CLI_USAGE',
          message: expect.stringMatching(/--|redis:\/\/|host:port/),
        });
      }
    });

    it('that nobody answers', async () => {
      const url = `redis://shop:${SECRET}@127.0.0.1:${await freePort()}`;
      expect(await stats(['--redis', url])).toMatchObject({
        exit: 1,
        code: 'NO_CONNECTION',
        message: expect.stringContaining('ECONNREFUSED'),
      });
    });

    it('that somebody takes and never answers', async () => {
      const silent = createServer().listen(0, '127.0.0.1');
      opened.add({ close: () => void silent.close() });
      await until('it listens', () => silent.listening);
      const { port } = silent.address() as AddressInfo;
      expect(await stats(['--redis', `redis://127.0.0.1:${port}`])).toMatchObject({
        exit: 1,
        code: 'NO_CONNECTION',
      });
    });

    it('that wants a login, another one, or another user', async () => {
      await admin.config('SET', 'requirepass', 'let-me-in-please');
      const { port } = redis;
      expect(await stats(['--redis', redis.url])).toMatchObject({ exit: 1, code: 'NOAUTH' });
      expect(await stats(['--redis', `redis://:wrong@127.0.0.1:${port}`])).toMatchObject({
        exit: 1,
        code: 'WRONGPASS',
      });
      await admin.call('ACL', 'SETUSER', 'poor', 'on', '>poor', '~*', '-@all', '+ping', '+info');
      const poor = await stats(['--redis', `redis://poor:poor@127.0.0.1:${port}`]);
      expect(poor).toMatchObject({
        exit: 1,
        code: 'NOPERM',
        message: expect.stringContaining('docs/cli.md'),
      });
      const login = { REDIS_URL: redis.url, REDIS_PASSWORD: 'let-me-in-please' };
      expect((await runCli(['stats'], { env: login })).code).toBe(0);
      await admin.config('SET', 'requirepass', '');
    });

    it('that does not speak TLS', async () => {
      const url = redis.url.replace('redis:', 'rediss:');
      expect(await stats(['--redis', url])).toMatchObject({
        exit: 1,
        code: 'NO_CONNECTION',
        message: expect.stringContaining('(redis://)'),
      });
    });
  });

  it('speaks TLS, with a certificate of its own', async () => {
    const secure = await RedisServer.start([], { tls: true });
    opened.add({ close: () => secure.stop() });
    const args = ['stats', '--redis', secure.url];
    const { certFile = '' } = secure.certificate ?? {};
    expect((await runCli([...args, '--ca', certFile])).code).toBe(0);
    expect(await runJson(args)).toMatchObject({ code: 1, json: { error: { code: 'TLS' } } });
  });

  it('finds the master by Sentinels', async () => {
    const behind = await RedisSentinel.start({ replicas: 1, sentinels: 1 });
    opened.add({ close: () => behind.stop() });
    const { sentinels } = behind.connection() as { sentinels: { name: string; nodes: unknown[] } };
    const nodes = behind.sentinels.map(({ port }) => `127.0.0.1:${port}`).join(',');
    const where = ['--sentinel', nodes, '--master', sentinels.name];
    expect(await runJson(['stats', ...where])).toMatchObject({ code: 0, json: { sessions: 0 } });
    const doctor = await runJson<{ findings: { code: string }[] }>(['doctor', ...where]);
    expect(doctor.json.findings.map(({ code }) => code)).toEqual(['NO_PERSISTENCE']);
  });

  it('looks after named sessions', async () => {
    const { app } = await opened.app({
      adapter: 'express',
      imports: [
        SessionModule.forRoot({ redis: redis.url, events: true }),
        SessionModule.forFeature('admin'),
      ],
    });
    const heard: SessionEvent[] = [];
    app.get(SessionEvents).events$.subscribe((event) => heard.push(event));
    const sessions = app.get<SessionService>(getSessionServiceToken('admin'));
    const { handle } = await begin(sessions, 'root');
    expect((await json(['stats'])).json).toMatchObject({ sessions: 0 });
    expect((await json(['stats', '--name', 'admin'])).json).toMatchObject({ sessions: 1 });
    const revoked = await json(['revoke', handle, '--name', 'admin']);
    expect(revoked.json).toEqual({ revoked: true, told: true });
    const isIt = ({ type, name }: SessionEvent) => type === 'revoked' && name === 'admin';
    await until('the node hears it', () => heard.some(isIt));
  });

  it('shows how far it is, to people', async () => {
    const sessions = (await node()).get(SessionService);
    for (let i = 0; i < 20; i++) await begin(sessions, 'alice');
    const watched = await run(['stats'], { typed: '' });
    expect(watched.stderr).toMatch(/keys .*100%/);
    expect((await run(['stats'])).stderr).not.toContain('%');
  });

  it('tells what it can, and what it does not know', async () => {
    expect((await runCli(['--help'])).stdout).toMatch(/Exit codes: 0/);
    expect((await runCli(['fly'])).code).toBe(2);
    expect((await runCli(['show', '--fly'])).code).toBe(2);
    const painted = await run(['stats'], { env: { FORCE_COLOR: '1' } });
    const plain = await run(['stats'], { env: { FORCE_COLOR: '1', NO_COLOR: '1' } });
    expect(painted.stdout).toContain('\u001b[');
    expect(plain.stdout).not.toContain('\u001b[');
  });
});
