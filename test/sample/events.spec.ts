import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { EventSource } from 'eventsource';
import type { SessionEvent } from 'nestjs-distributed-session';
import { until } from '../support/app.js';
import { AppProcess } from '../support/app-process.js';
import { HttpClient } from '../support/http-client.js';
import { RedisServer } from '../support/redis-server.js';
import { oneOf } from '../support/redis-under-test.js';
import { expectNoIds } from '../support/secrets.js';
import { IO, SocketRefusal, type TestSocket } from '../support/socket-clients.js';

const ALICE = { username: 'alice', password: 'wonderland' };
const BOB = { username: 'bob', password: 'builder' };
const SESSION_SECRET = 'every-node-has-to-be-told-the-same-one';
const TYPES = ['created', 'authenticated', 'modified', 'destroyed', 'revoked', 'expired', 'gap'];

/** A stream of the shop, as a browser reads it. */
class Stream {
  readonly events: SessionEvent[] = [];
  readonly types: string[] = [];
  lastId = '';
  opened = 0;
  errors = 0;
  readonly #source: EventSource;

  constructor(port: number, browser: HttpClient, after?: string) {
    this.#source = new EventSource(`http://127.0.0.1:${port}/events`, {
      fetch: (url, init) => {
        const headers = init.headers as Record<string, string>;
        const { cookieHeader: cookie } = browser;
        const first = after !== undefined && { 'last-event-id': after };
        return fetch(url, { ...init, headers: { ...first, ...headers, cookie } });
      },
    });
    this.#source.addEventListener('open', () => this.opened++);
    this.#source.addEventListener('error', () => this.errors++);
    for (const type of TYPES) {
      this.#source.addEventListener(type, ({ lastEventId, data }) => {
        this.types.push(type);
        this.lastId = lastEventId;
        if (type !== 'gap') this.events.push(JSON.parse(String(data)) as SessionEvent);
      });
    }
  }

  close(): void {
    this.#source.close();
  }
}

/** How it is answered who asks for a stream, and leaves. */
async function statusOf({ port, cookieHeader: cookie }: HttpClient): Promise<number> {
  const abort = new AbortController();
  const { signal } = abort;
  const { status } = await fetch(`http://127.0.0.1:${port}/events`, {
    headers: { cookie },
    signal,
  });
  abort.abort();
  return status;
}

describe.each(oneOf('fastify', 'express'))('what the shop on %s tells by itself', (adapter) => {
  let redis: RedisServer;
  let app: AppProcess;
  let other: AppProcess;
  const open: { close(): unknown }[] = [];

  const start = (more = {}, which: string = adapter) =>
    AppProcess.start({ ADAPTER: which, REDIS_URL: redis.url, SESSION_SECRET, ...more });

  beforeAll(async () => {
    redis = await RedisServer.start();
    app = await start();
    other = await start({}, adapter === 'express' ? 'fastify' : 'express');
  }, 180_000);

  afterEach(async () => {
    for (const one of open.splice(0)) await one.close();
  });

  afterAll(async () => {
    await app?.stop();
    await other?.stop();
    await redis?.stop();
  });

  const keep = <T extends { close(): unknown }>(one: T): T => {
    open.push(one);
    return one;
  };
  const logIn = async (json: object = ALICE, at = app) => {
    const browser = keep(new HttpClient(at.port));
    expect((await browser.post('/auth/login', { json })).status).toBe(200);
    return browser;
  };
  const stream = async (browser: HttpClient, after?: string, at = app) => {
    const opened = keep(new Stream(at.port, browser, after));
    await until('the stream is open', () => opened.opened > 0);
    return opened;
  };
  const socketOf = async (browser: HttpClient, at = app): Promise<TestSocket> =>
    keep(await IO.open(at.port, { headers: { cookie: browser.cookieHeader } }));
  const put = (browser: HttpClient, sku: string, qty = 1) =>
    browser.post('/cart/items', { json: { sku, qty } });

  describe('GET /events', () => {
    it('is for users: others are told what is missing', async () => {
      const visitor = keep(new HttpClient(app.port));
      for (let i = 0; i < 2; i++) {
        const answer = await visitor.get('/events');
        expect(answer.status).toBe(401);
        expect(answer.json).toMatchObject({ code: 'SESSION_REQUIRED' });
        expect(answer.headers['content-type']).toContain('application/json');
        // A session of nobody does not help.
        await put(visitor, 'mug');
      }
    });

    it('is a stream that no proxy holds back, and no cache keeps', async () => {
      const { cookieHeader: cookie } = await logIn();
      const abort = new AbortController();
      const { signal } = abort;
      const answer = await fetch(`${app.url}/events`, { headers: { cookie }, signal });
      expect(answer.status).toBe(200);
      const { headers } = answer;
      expect(headers.get('content-type')).toContain('text/event-stream');
      expect(headers.get('cache-control')).toContain('no-store');
      expect(headers.get('x-accel-buffering')).toBe('no');
      expect(headers.getSetCookie()).toEqual([]);
      abort.abort();
    });

    it('tells what happens to the own sessions on any node, with no more data than how much', async () => {
      const browser = await logIn();
      const { events } = await stream(browser);
      const bob = await logIn(BOB, other);
      await put(bob, 'tea', 5);
      const elsewhere = await logIn(ALICE, other);
      await put(elsewhere, 'honey', 3);
      await put(browser, 'mug', 2);
      await elsewhere.post('/auth/logout');
      await until('the logout is told', () => events.at(-1)?.type === 'destroyed');
      expect(events.map(({ type, reason, attributes }) => [type, reason, attributes])).toEqual([
        ['created', undefined, { items: 0 }],
        ['authenticated', 'login', { items: 0 }],
        ['modified', 'contents', { items: 3 }],
        ['modified', 'contents', { items: 2 }],
        ['destroyed', 'logout', { items: 3 }],
      ]);
      expect(events.map(({ principal }) => principal)).toEqual(events.map(() => 'alice'));
      const told = JSON.stringify(events);
      expect(told).not.toMatch(/honey|mug|tea/);
      expectNoIds('an event', [told]);
    });

    it('goes on where it was cut, on another node', async () => {
      const browser = await logIn();
      const first = await stream(browser);
      await put(browser, 'mug');
      await until('a change is told', () => first.events.length === 1);
      first.close();
      await put(browser, 'tea', 2);
      await browser.another(browser.jar).get('/cart');
      const elsewhere = await logIn(ALICE, other);
      const second = await stream(browser, first.lastId, other);
      await until('what was missed is told', () => second.types.includes('authenticated'));
      await elsewhere.post('/auth/logout');
      await until('and what happens now', () => second.types.includes('destroyed'));
      expect(second.types).toEqual(['modified', 'created', 'authenticated', 'destroyed']);
      expect(second.events[0]?.attributes).toEqual({ items: 3 });
      expect(new Set(second.events.map(({ id }) => id)).size).toBe(4);

      const third = await stream(browser, 'an-event-that-nobody-knows', other);
      await until('it says that some may be missing', () => third.types.includes('gap'));
    });

    it('ends with the session', async () => {
      const browser = await logIn();
      const opened = await stream(browser);
      await browser.another(browser.jar).post('/auth/logout');
      await until('it has ended', () => opened.errors > 0);
      // Nobody is told of it who has no session any more.
      expect((await browser.get('/events')).status).toBe(401);
    });
  });

  describe('the socket of the cart', () => {
    it('has the cart of an anonymous visitor and of a user, as it is on whatever node', async () => {
      const visitor = keep(new HttpClient(app.port));
      await put(visitor, 'mug');
      const socket = await socketOf(visitor, other);
      const mug = { sku: 'mug', qty: 1 };
      expect(await socket.ask('cart')).toEqual({ items: [mug] });
      let told = socket.next('cart');
      await put(visitor, 'tea', 2);
      expect(await told).toEqual({ items: [mug, { sku: 'tea', qty: 2 }] });

      // The session becomes the user's: the socket was opened by nobody.
      await visitor.post('/auth/login', { json: ALICE });
      expect(await socket.closed).toEqual({ reason: 'login' });

      const again = await socketOf(visitor);
      expect(await again.ask('cart')).toEqual({ items: [mug, { sku: 'tea', qty: 2 }] });
      // The same user under another id.
      told = again.next('cart');
      await visitor.post('/auth/login', { json: ALICE });
      await told;
      told = again.next('cart');
      await visitor.send('DELETE', '/cart/items/mug');
      expect(await told).toEqual({ items: [{ sku: 'tea', qty: 2 }] });
      await visitor.post('/auth/logout');
      expect(await again.closed).toEqual({ reason: 'logout' });
    });

    it('has nothing of the cart of another device, nor of who is nobody', async () => {
      const [browser, elsewhere] = [await logIn(), await logIn(ALICE, other)];
      const [socket, stranger] = [await socketOf(elsewhere), await socketOf(new HttpClient(0))];
      expect(await socket.ask('cart')).toEqual({ items: [] });
      expect(await stranger.ask('cart')).toEqual({ items: [] });
      await put(browser, 'mug');
      const told = socket.next('cart');
      await put(elsewhere, 'honey');
      expect(await told).toEqual({ items: [{ sku: 'honey', qty: 1 }] });
      expect(socket.received).toHaveLength(2);
      expect(stranger.received).toHaveLength(1);
    });

    it('is not for the pages of others', async () => {
      const { cookieHeader: cookie } = await logIn();
      const headers = { cookie, origin: 'https://elsewhere.example' };
      const refused = await IO.open(app.port, { headers }).catch((error: Error) => error);
      expect(refused).toBeInstanceOf(SocketRefusal);
      expect(refused).toMatchObject({ status: 403 });
    });
  });

  it('a cart that was left behind is noted once, by one of the nodes, without what is in it', async () => {
    const hurried = [await start({ IDLE_TIMEOUT: '1s' }), await start({ IDLE_TIMEOUT: '1s' })];
    try {
      const visitor = keep(new HttpClient(hurried[0]!.port));
      await put(visitor, 'mug', 2);
      await put(visitor, 'tea');
      const user = await logIn(BOB, hurried[1]);
      // To open streams is no activity: for all of these the session ends, with nothing in its cart.
      const ended = async () => (await statusOf(user)) === 401;
      await until('the session is over', ended, { within: 5_000 });
      const log = () => [app, other, ...hurried].map((node) => node.log).join('\n');
      const notes = () => [...log().matchAll(/\[Shop\] (A cart .*)$/gm)].map(([, text]) => text);
      await until('it is noted', () => notes().length > 0, { within: 30_000 });
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      expect(notes()).toEqual([
        expect.stringMatching(/^A cart with 3 items was left behind \(handle [\w-]{45}\)$/),
      ]);
      expectNoIds('the log', [log()]);
    } finally {
      await Promise.all(hurried.map((node) => node.stop()));
    }
  });

  it('the end of a node waits neither for streams nor for sockets; clients look for another', async () => {
    const node = await start();
    const browsers = await Promise.all([logIn(ALICE, node), logIn(BOB, node), logIn(BOB, node)]);
    const streams = await Promise.all(browsers.map((browser) => stream(browser, undefined, node)));
    const sockets = await Promise.all(browsers.map((browser) => socketOf(browser, node)));
    const since = performance.now();
    expect(await node.stop()).toBe(0);
    expect(performance.now() - since).toBeLessThan(5_000);
    expect(await Promise.all(sockets.map(({ closed }) => closed))).toEqual(
      sockets.map(() => IO.leaving),
    );
    await until('streams have ended', () => streams.every(({ errors }) => errors > 0));
  });
});
