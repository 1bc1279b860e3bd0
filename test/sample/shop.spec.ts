import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createConnection } from 'node:net';
import { inParallel, until } from '../support/app.js';
import { AppProcess } from '../support/app-process.js';
import { HttpClient, parseSetCookie } from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { freePort, RedisServer } from '../support/redis-server.js';
import { oneOf } from '../support/redis-under-test.js';

const BOOT = 180_000;
const ALICE = { username: 'alice', password: 'wonderland' };
const ANYBODY = [
  { ...ALICE, roles: [] },
  { username: 'bob', password: 'builder', roles: [] },
  { username: 'admin', password: 'changeit', roles: ['admin'] },
];

describe.each(oneOf('express', 'fastify'))('the shop on %s', (adapter) => {
  let redis: RedisServer;
  let probe: RedisProbe;
  let app: AppProcess;
  let client: HttpClient;
  let visitor: HttpClient;

  beforeAll(async () => {
    redis = await RedisServer.start();
    probe = await RedisProbe.start(redis);
    // In the middle of what an application sends ioredis cannot begin it.
    await probe.watch();
    app = await AppProcess.start({ ADAPTER: adapter, REDIS_URL: redis.url });
    client = new HttpClient(app.port);
  }, BOOT);

  afterAll(async () => {
    client?.close();
    await app?.stop();
    await probe?.stop();
    await redis?.stop();
  });

  const newVisitor = () => (visitor = client.another());
  const login = (credentials = ALICE) => visitor.post('/auth/login', { json: credentials });

  it('says first where the sessions are, and that several nodes need one secret', () => {
    const [first = '', second = ''] = app.log.split('\n');
    expect(first).toContain(`Redis at redis://127.0.0.1:${redis.port} (REDIS_URL)`);
    expect(second).toContain('SESSION_SECRET is not set');
  });

  describe('users', () => {
    it.each(ANYBODY)('$username logs in, is known, and logs out', async (user) => {
      newVisitor();
      const { roles, ...credentials } = user;
      const loggedIn = await login(credentials);
      expect(loggedIn.status).toBe(200);
      expect(loggedIn.json).toEqual({ principal: user.username, roles });

      const me = await visitor.get('/auth/me');
      expect(me.status).toBe(200);
      expect(me.json).toEqual({ principal: user.username, roles });

      expect((await visitor.get('/auth/logout')).status).toBe(405);
      expect((await visitor.get('/auth/me')).status).toBe(200);
      const loggedOut = await visitor.post('/auth/logout');
      expect(loggedOut.status).toBe(204);
      expect(loggedOut.text).toBe('');
      expect((await visitor.get('/auth/me')).status).toBe(401);
    });

    it.each([
      ['a wrong password', { username: 'alice', password: 'builder' }],
      ['an unknown user', { username: 'mallory', password: 'wonderland' }],
      ['a name that objects have', { username: '__proto__', password: 'wonderland' }],
    ])('%s is refused alike, without a session', async (_, credentials) => {
      newVisitor();
      const refused = await login(credentials);
      expect(refused.status).toBe(401);
      expect(refused.json).toMatchObject({ code: 'LOGIN_FAILED' });
      expect(refused.setCookie).toEqual([]);
    });

    it('an unknown user costs the time of a known one', async () => {
      newVisitor();
      const timeOf = async (username: string) => {
        const before = performance.now();
        await login({ username, password: 'wrong' });
        return performance.now() - before;
      };
      const known = Math.min(await timeOf('alice'), await timeOf('alice'));
      expect(await timeOf('mallory')).toBeGreaterThan(known / 2);
    });

    it.each([
      ['no body', {}],
      ['no password', { json: { username: 'alice' } }],
      ['an object for a name', { json: { username: { $ne: '' }, password: 'wonderland' } }],
      ['an empty password', { json: { username: 'alice', password: '' } }],
      ['a list', { json: [ALICE] }],
      ['no JSON', { body: '{', headers: { 'content-type': 'application/json' } }],
      ['an endless password', { json: { ...ALICE, password: 'x'.repeat(10_000) } }],
    ])('a login with %s is a bad request', async (_, sending) => {
      newVisitor();
      expect((await visitor.post('/auth/login', sending)).status).toBe(400);
    });

    it('/auth/me without a session tells a program what is missing', async () => {
      const answer = await newVisitor().get('/auth/me');
      expect(answer.status).toBe(401);
      expect(answer.json).toMatchObject({ statusCode: 401, code: 'SESSION_REQUIRED' });
    });

    it('logging out twice, or without a session, is no error', async () => {
      newVisitor();
      expect((await visitor.post('/auth/logout')).status).toBe(204);
      await login();
      const cookies = [...visitor.jar];
      for (let i = 0; i < 2; i++) {
        expect((await client.another(cookies).post('/auth/logout')).status).toBe(204);
      }
    });

    it('a logged-out session is not revived by a slow request', async () => {
      newVisitor();
      await login();
      const cookies = [...visitor.jar];
      const slow = visitor.post('/notes/late?delay=300', { json: { value: 'x' } });
      expect((await client.another(cookies).post('/auth/logout')).status).toBe(204);
      expect((await slow).setCookie).toEqual([]);
      expect((await client.another(cookies).get('/auth/me')).status).toBe(401);
      expect((await client.another(cookies).get('/notes/late')).json).toEqual({ value: null });
    });
  });

  describe('the cookie', () => {
    it('comes with the first thing worth keeping: HttpOnly, Lax, and not to be cached', async () => {
      newVisitor();
      expect((await visitor.get('/cart')).setCookie).toEqual([]);
      const answer = await visitor.post('/cart/items', { json: { sku: 'mug', qty: 1 } });
      expect(answer.setCookie).toHaveLength(1);
      const cookie = parseSetCookie(answer.setCookie[0]!);
      expect(cookie.name).toBe('session');
      expect(cookie.attributes).toEqual({ path: '/', httponly: '', samesite: 'Lax' });
      expect(answer.headers['cache-control']).toBe('no-store');
    });

    it('is another one after the login, and the old one opens nothing', async () => {
      newVisitor();
      await visitor.post('/cart/items', { json: { sku: 'mug', qty: 1 } });
      const planted = [...visitor.jar];
      await login();
      expect([...visitor.jar]).not.toEqual(planted);
      expect((await client.another(planted).get('/auth/me')).status).toBe(401);
      expect((await client.another(planted).get('/cart')).json).toEqual({ items: [] });
    });

    it('is in no log line, and its id in no key', async () => {
      newVisitor();
      await login();
      const token = visitor.jar.get('session')!;
      const id = token.split('.')[0]!;
      expect(id.length).toBeGreaterThan(40);
      expect(app.log).not.toContain(id);
      expect((await probe.client.keys('*')).join('\n')).not.toContain(id);
    });
  });

  describe('the cart', () => {
    it('is everybody’s, adds up, and forgets what is removed', async () => {
      newVisitor();
      expect((await visitor.get('/cart')).json).toEqual({ items: [] });
      const added = await visitor.post('/cart/items', { json: { sku: 'mug', qty: 2 } });
      expect(added.status).toBe(201);
      expect(added.json).toEqual({ items: [{ sku: 'mug', qty: 2 }] });
      await visitor.post('/cart/items', { json: { sku: 'a/b c', qty: 1 } });
      const more = await visitor.post('/cart/items', { json: { sku: 'mug', qty: 1 } });
      expect(more.json).toEqual({
        items: [
          { sku: 'mug', qty: 3 },
          { sku: 'a/b c', qty: 1 },
        ],
      });
      const removed = await visitor.send('DELETE', '/cart/items/a%2Fb%20c');
      expect(removed.status).toBe(200);
      expect(removed.json).toEqual({ items: [{ sku: 'mug', qty: 3 }] });
      await visitor.send('DELETE', '/cart/items/mug');
      expect((await visitor.get('/cart')).json).toEqual({ items: [] });
    });

    it('survives the login', async () => {
      newVisitor();
      await visitor.post('/cart/items', { json: { sku: 'tea', qty: 4 } });
      await login();
      expect((await visitor.get('/cart')).json).toEqual({ items: [{ sku: 'tea', qty: 4 }] });
    });

    it('of one user is not handed on to the next', async () => {
      newVisitor();
      await login();
      await visitor.post('/cart/items', { json: { sku: 'tea', qty: 4 } });
      await login();
      expect((await visitor.get('/cart')).json).toEqual({ items: [{ sku: 'tea', qty: 4 }] });
      await login({ username: 'bob', password: 'builder' });
      expect((await visitor.get('/cart')).json).toEqual({ items: [] });
    });

    it.each([
      ['no number', { sku: 'mug' }],
      ['a text for a number', { sku: 'mug', qty: '1' }],
      ['nothing', { sku: 'mug', qty: 0 }],
      ['less than nothing', { sku: 'mug', qty: -1 }],
      ['a fraction', { sku: 'mug', qty: 1.5 }],
      ['very many', { sku: 'mug', qty: 1e9 }],
      ['no product', { qty: 1 }],
      ['a product without a name', { sku: '', qty: 1 }],
    ])('%s of a product is a bad request, and changes nothing', async (_, json) => {
      newVisitor();
      const answer = await visitor.post('/cart/items', { json });
      expect(answer.status).toBe(400);
      expect(answer.setCookie).toEqual([]);
    });

    it('that is only looked at, or emptied while empty, leaves nothing in Redis', async () => {
      newVisitor();
      const before = await probe.client.dbsize();
      await visitor.get('/cart');
      const emptied = await visitor.send('DELETE', '/cart/items/mug');
      expect(emptied.json).toEqual({ items: [] });
      expect(emptied.setCookie).toEqual([]);
      expect(await probe.client.dbsize()).toBe(before);
    });

    it('keeps everything that parallel requests put in', async () => {
      newVisitor();
      await visitor.post('/cart/items', { json: { sku: 'mug', qty: 1 } });
      const skus = Array.from({ length: 12 }, (_, i) => `p${i}`);
      await Promise.all(skus.map((sku) => visitor.post('/cart/items', { json: { sku, qty: 1 } })));
      const { items } = (await visitor.get('/cart')).json as { items: { sku: string }[] };
      expect(items.map((item) => item.sku).sort()).toEqual(['mug', ...skus].sort());
    });
  });

  describe('counter and notes', () => {
    it('each parallel count is answered with a number of its own', async () => {
      newVisitor();
      expect((await visitor.get('/counter')).json).toEqual({ count: 0 });
      expect((await visitor.post('/counter')).json).toEqual({ count: 1 });
      const answers = await inParallel(30, 10, () => visitor.post('/counter'));
      const counts = answers.map(({ json }) => json.count as number).sort((a, b) => a - b);
      expect(counts).toEqual(Array.from({ length: 30 }, (_, i) => i + 2));
      expect((await visitor.get('/counter')).json).toEqual({ count: 31 });
    });

    it('notes set at the same time all stay, also by slow requests', async () => {
      newVisitor();
      await visitor.post('/counter');
      const keys = Array.from({ length: 8 }, (_, i) => `k${i}`);
      await Promise.all(
        keys.map((key, i) =>
          visitor.post(`/notes/${key}?delay=${40 * (8 - i)}`, { json: { value: { i } } }),
        ),
      );
      for (const [i, key] of keys.entries()) {
        expect((await visitor.get(`/notes/${key}`)).json).toEqual({ value: { i } });
      }
    });

    it('a note does not reach other attributes', async () => {
      newVisitor();
      await visitor.post('/counter');
      await visitor.post('/notes/counter', { json: { value: 'x' } });
      await visitor.post('/notes/__proto__', { json: { value: 'x' } });
      expect((await visitor.get('/counter')).json).toEqual({ count: 1 });
      expect((await visitor.get('/notes/counter')).json).toEqual({ value: 'x' });
      expect((await visitor.get('/notes/__proto__')).json).toEqual({ value: 'x' });
    });

    it('a note without a value is a bad request, one that is too large is refused', async () => {
      newVisitor();
      expect((await visitor.post('/notes/a', { json: {} })).status).toBe(400);
      expect((await visitor.post('/notes/a?delay=x', { json: { value: 1 } })).status).toBe(400);
      const large = await visitor.post('/notes/a', { json: { value: 'x'.repeat(70_000) } });
      expect(large.status).toBe(413);
      expect(large.json).toMatchObject({ code: 'SESSION_TOO_LARGE' });
      expect(large.setCookie).toEqual([]);
    });

    it('a slow reader holds nobody up', async () => {
      newVisitor();
      await login();
      let answered = false;
      const slow = visitor.get('/slow?ms=1000').finally(() => (answered = true));
      expect((await visitor.post('/counter')).json).toEqual({ count: 1 });
      expect(answered).toBe(false);
      expect((await slow).json).toEqual({ principal: 'alice', waitedMs: 1_000 });
      expect((await visitor.get('/slow')).json).toEqual({ principal: 'alice', waitedMs: 0 });
    });
  });

  describe('how the session stands', () => {
    it('nothing is told where there is none', async () => {
      const answer = await newVisitor().get('/session');
      expect(answer.status).toBe(204);
      expect(answer.text).toBe('');
    });

    it('a visitor learns who he is and how long it lasts, and asking does not make it last longer', async () => {
      newVisitor();
      await visitor.post('/counter');
      expect((await visitor.get('/session')).json).toMatchObject({ principal: null, roles: [] });
      await login({ username: 'admin', password: 'changeit' });
      const first = (await visitor.get('/session')).json;
      expect(first).toMatchObject({ principal: 'admin', roles: ['admin'] });
      expect(first.remainingMs).toBeLessThanOrEqual(30 * 60_000);
      expect(first.remainingMs).toBeGreaterThan(29 * 60_000);
      await visitor.get('/slow?ms=20');
      const second = (await visitor.get('/session')).json;
      expect(second.remainingMs).toBeLessThan(first.remainingMs as number);
    });

    it('ping, products and page touch no session: no command reaches Redis', async () => {
      newVisitor();
      await login();
      const commands = await probe.commandsDuring(async () => {
        for (const path of ['/ping', '/products', '/', '/shop.js', '/shop.css', '/favicon.svg']) {
          const answer = await visitor.get(path);
          expect([path, answer.status]).toEqual([path, 200]);
          expect(answer.setCookie).toEqual([]);
        }
      });
      expect(commands).toEqual([]);
    });
  });

  describe('the page', () => {
    it('is served as what it is, and runs nothing but its own files', async () => {
      const page = await newVisitor().get('/');
      expect(page.headers['content-type']).toBe('text/html; charset=utf-8');
      const policy = page.headers['content-security-policy'];
      expect(policy).toContain(`default-src 'none'`);
      expect(policy).toContain(`script-src 'self'`);
      expect(policy).not.toContain('unsafe');
      expect(page.headers['x-content-type-options']).toBe('nosniff');
      expect(page.headers['x-powered-by']).toBeUndefined();
      expect(page.headers['strict-transport-security']).toBeUndefined();
      expect(page.text).not.toMatch(/ style=|<style|<script(?![^>]* src=)| on[a-z]+=/);
      const types = { '/shop.js': /javascript/, '/shop.css': /css/, '/favicon.svg': /svg/ };
      for (const [path, type] of Object.entries(types)) {
        expect((await visitor.get(path)).headers['content-type']).toMatch(type);
      }
    });

    it('other sites cannot act for a visitor, programs and the page itself can', async () => {
      newVisitor();
      const from = (headers: Record<string, string>) => visitor.post('/counter', { headers });
      expect((await from({ 'sec-fetch-site': 'cross-site' })).status).toBe(403);
      expect((await from({ 'sec-fetch-site': 'same-site' })).status).toBe(403);
      expect((await from({ origin: 'http://evil.example' })).status).toBe(403);
      expect(visitor.jar.size).toBe(0);
      expect((await from({ 'sec-fetch-site': 'same-origin' })).json).toEqual({ count: 1 });
      expect((await from({ origin: app.url, host: `127.0.0.1:${app.port}` })).json).toEqual({
        count: 2,
      });
    });
  });

  it('while Redis is down it says so, keeps cookies, and works again when it is back', async () => {
    newVisitor();
    await login();
    const jar = [...visitor.jar];
    expect((await visitor.get('/health')).json).toEqual({ status: 'ok' });

    await redis.kill();
    await until('the outage is noticed', async () => (await visitor.get('/health')).status === 503);
    for (const [method, path] of [
      ['GET', '/auth/me'],
      ['GET', '/cart'],
      ['GET', '/session'],
      ['POST', '/counter'],
      ['POST', '/auth/logout'],
    ] as const) {
      const before = performance.now();
      const answer = await visitor.send(method, path);
      expect([path, answer.status, answer.setCookie]).toEqual([path, 503, []]);
      expect(performance.now() - before).toBeLessThan(600);
    }
    expect((await visitor.get('/ping')).status).toBe(200);
    expect((await visitor.get('/')).status).toBe(200);

    await redis.run();
    await until('it works again', async () => (await visitor.get('/health')).status === 200);
    expect([...visitor.jar]).toEqual(jar);
    // Redis kept nothing: the session is gone, and only now the cookie.
    expect((await visitor.get('/auth/me')).status).toBe(401);
    expect(visitor.jar.size).toBe(0);
    expect((await visitor.post('/counter')).json).toEqual({ count: 1 });
  });

  it('ends when it is told to, and logs no error on its way', async () => {
    expect(await app.stop('SIGTERM')).toBe(0);
    expect(app.log).not.toMatch(/\bERROR\b|UnhandledPromise/);
  });
});

describe('how the shop starts', () => {
  const started: AppProcess[] = [];
  const start = async (environment: Record<string, string>) => {
    const app = await AppProcess.start(environment);
    started.push(app);
    return app;
  };

  afterAll(() => Promise.all(started.map((app) => app.stop('SIGKILL'))));

  it.each(['SIGINT', 'SIGKILL'] as const)(
    'without REDIS_URL it has a redis-server of its own, which ends with it on %s',
    async (signal) => {
      const app = await start({});
      const port = /^.*Redis at redis:\/\/127\.0\.0\.1:(\d+) \(a redis-server/.exec(app.log)?.[1];
      expect(app.log.split('\n')[0]).toContain(`:${port} (`);
      const client = new HttpClient(app.port);
      expect((await client.post('/counter')).json).toEqual({ count: 1 });
      expect((await client.post('/counter')).json).toEqual({ count: 2 });
      client.close();
      expect(await accepts(Number(port))).toBe(true);
      expect(await app.stop(signal)).toBe(signal === 'SIGKILL' ? 'SIGKILL' : 0);
      await until('its Redis ends', async () => !(await accepts(Number(port))));
    },
    BOOT,
  );

  it('without any redis-server it keeps sessions in memory, and says so first', async () => {
    const app = await start({ PATH: '/nowhere' });
    expect(app.log.split('\n')[0]).toContain('in the memory of this process');
    const client = new HttpClient(app.port);
    expect((await client.get('/health')).json).toEqual({ status: 'ok' });
    expect((await client.post('/counter')).json).toEqual({ count: 1 });
    expect((await client.post('/counter')).json).toEqual({ count: 2 });
    client.close();
  });

  it('in production, or with ALLOW_HTTP=0, the cookie is for https only', async () => {
    const app = await start({ PATH: '/nowhere', NODE_ENV: 'production' });
    const client = new HttpClient(app.port);
    const answer = await client.post('/counter');
    const cookie = parseSetCookie(answer.setCookie[0]!);
    expect(cookie.name).toBe('__Host-session');
    expect(cookie.attributes).toEqual({ path: '/', httponly: '', secure: '', samesite: 'Lax' });
    expect(answer.headers['strict-transport-security']).toContain('max-age=');
    client.close();
  });

  it('does not start while a given Redis is down, and says why', async () => {
    const app = await AppProcess.launch({
      REDIS_URL: `redis://:geheim@127.0.0.1:${await freePort()}`,
    });
    expect(await app.ended).toBe(1);
    expect(app.log).toContain('The shop cannot start: The session store is unavailable');
    expect(app.log).not.toContain('geheim');
  });

  it('with REDIS_OPTIONAL=1 it does, and serves as soon as Redis is there', async () => {
    const redis = await RedisServer.start();
    try {
      await redis.kill();
      const app = await start({ REDIS_URL: redis.url, REDIS_OPTIONAL: '1' });
      const client = new HttpClient(app.port);
      expect((await client.get('/health')).status).toBe(503);
      expect((await client.get('/cart')).status).toBe(200);
      expect((await client.post('/counter')).status).toBe(503);
      await redis.run();
      await until('it is healthy', async () => (await client.get('/health')).status === 200);
      expect((await client.post('/counter')).json).toEqual({ count: 1 });
      client.close();
    } finally {
      await redis.stop();
    }
  });

  it.each([
    ['PORT', 'http', 'use a number'],
    ['IDLE_TIMEOUT', 'soon', 'idleTimeout'],
  ])('a wrong %s is named, with the remedy', async (name, value, remedy) => {
    const app = await AppProcess.launch({ PATH: '/nowhere', [name]: value });
    expect(await app.ended).toBe(1);
    expect(app.log).toContain('The shop cannot start');
    expect(app.log).toContain(remedy);
  });
});

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1');
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
    socket.once('close', () => socket.destroy());
    socket.once('connect', () => socket.destroy());
  });
}
