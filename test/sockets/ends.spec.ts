import { describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import {
  MemorySessionStore,
  SessionService,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { SECRET, until } from '../support/app.js';
import { startRedis } from '../support/redis-under-test.js';
import { HANDSHAKES, Node, STACKS, startNode, type ChatOptions } from './gateways.js';

const REFUSED = { status: 'error', code: 'SESSION_REQUIRED' };

describe.each(HANDSHAKES)('a socket ends with its session: %s', (_, platform, adapter) => {
  const start = (session: SessionModuleOptions = {}, more: ChatOptions = {}) =>
    startNode(platform, adapter, { ...more, session: { events: true, ...session } });

  /** Two nodes of one application. */
  async function startTwo(session: SessionModuleOptions = {}): Promise<[Node, Node]> {
    const store = new MemorySessionStore(session.clock ?? { now: () => performance.now() });
    return [await start({ ...session, store }), await start({ ...session, store })];
  }

  it('on another node, by a logout', async () => {
    const [one, other] = await startTwo();
    const browser = await one.login();
    const bystander = await other.connect(await other.login('bob'));
    const sockets = [await one.connect(browser), await other.connect(browser)];
    await browser.post('/logout');
    for (const socket of sockets) expect(await socket.closed).toEqual(platform.ended('logout'));
    expect(await bystander.ask('who')).toMatchObject({ principal: 'bob' });
    expect([one.sockets.count(), other.sockets.count()]).toEqual([0, 1]);
  });

  it('by whoever ends it, or all of a principal', async () => {
    const node = await start();
    const sessions = node.app.app.get(SessionService);
    const { handle } = await sessions.create({ principal: 'alice' });
    const [first, second] = [await node.login(), await node.login()];
    const sockets = await Promise.all([first, second].map((browser) => node.connect(browser)));
    expect(await sessions.revoke(handle)).toBe(true);
    expect(sockets.some(({ isClosed }) => isClosed)).toBe(false);
    await sessions.forPrincipal('alice').revokeAll();
    for (const socket of sockets) expect(await socket.closed).toEqual(platform.ended('all'));
    expect(node.sockets.count()).toBe(0);
  });

  it('by time', async () => {
    const clock = new FakeClock();
    const node = await start({ clock, idleTimeout: '30m', events: { sweepEvery: 50 } });
    const socket = await node.connect(await node.login());
    clock.advance('31m');
    expect(await socket.closed).toEqual(platform.ended('idle'));
  });

  it('by a login, also if nobody was logged in before', async () => {
    const node = await start();
    const browser = node.browser();
    await browser.post('/begin');
    const before = await node.connect(browser);
    await browser.post('/login', { json: { principal: 'alice' } });
    expect(await before.closed).toEqual(platform.ended('login'));
    const alice = await node.connect(browser);
    await browser.post('/login', { json: { principal: 'bob' } });
    expect(await alice.closed).toEqual(platform.ended('login'));
  });

  it('when somebody begins to act as another one', async () => {
    const node = await start();
    const browser = await node.login();
    const socket = await node.connect(browser);
    await browser.post('/switch');
    expect(await socket.closed).toEqual(platform.ended('switch'));
  });

  it('of any of its sessions', async () => {
    const node = await start({}, { admin: { cookie: { name: 'admin', secure: false } } });
    const browser = await node.login();
    await browser.post('/login-admin');
    const socket = await node.connect(browser);
    await browser.post('/logout-admin');
    expect(await socket.closed).toEqual(platform.ended('logout'));
    expect(await (await node.connect(browser)).ask('who')).toMatchObject({ principal: 'alice' });
  });
});

describe.each(STACKS)('a socket: %s', (_, platform, adapter) => {
  const start = (session: SessionModuleOptions = {}) => startNode(platform, adapter, { session });

  it('goes on while its session gets new ids', async () => {
    for (const encryption of [undefined, { mode: 'store-blind', keys: SECRET }] as const) {
      const session = { events: true, encryption, regenerateGrace: 0, onReplay: 'end' } as const;
      const node = await start(session);
      const browser = await node.login();
      const socket = await node.connect(browser);
      expect(await socket.ask('add', 1)).toBe(1);
      for (const renewal of ['/regenerate', '/elevate', '/regenerate']) {
        await browser.post(renewal);
        expect(await socket.ask('who')).toMatchObject({ principal: 'alice' });
      }
      expect(await socket.ask('add', 1)).toBe(2);
      expect((await browser.get('/data')).json).toMatchObject({ n: 2, principal: 'alice' });
      await browser.post('/logout');
      expect(await socket.closed).toEqual(platform.ended('logout'));
    }
  });

  it('goes on however long it was silent', async () => {
    const clock = new FakeClock();
    const node = await start({ clock, events: true, idleTimeout: '30m', touchAfter: 0 });
    const browser = await node.login();
    const socket = await node.connect(browser);
    for (let i = 0; i < 4; i++) {
      await browser.post('/regenerate');
      clock.advance('20m');
    }
    expect(await socket.ask('who')).toMatchObject({ principal: 'alice' });
  });

  it('finds its session by itself without events, however many ids that had since', async () => {
    for (const encryption of [undefined, { mode: 'store-blind', keys: SECRET }] as const) {
      const node = await start({ encryption, regenerateGrace: 0, onReplay: 'end' });
      const browser = await node.login();
      const socket = await node.connect(browser);
      for (let i = 0; i < 9; i++) await browser.post('/regenerate');
      expect(await socket.ask('add', 1)).toBe(1);
      await browser.post('/elevate');
      expect(await socket.ask('add', 1)).toBe(2);
      expect((await browser.get('/data')).json).toMatchObject({ n: 2, principal: 'alice' });
    }
  });

  it.each([
    ['a logout', '/logout', {}],
    ['the login of another one', '/login', { principal: 'bob' }],
    ['a switch to another one', '/switch', {}],
  ])('without events is refused its next message after %s, and ends', async (_what, path, json) => {
    const node = await start();
    const browser = await node.login();
    for (const event of ['plain', 'who', 'anybody', 'add', 'poll']) {
      if (path !== '/logout') break;
      const fresh = await node.login();
      const socket = await node.connect(fresh);
      await fresh.post(path);
      expect(await socket.ask(event, 1)).toMatchObject(REFUSED);
      expect(await socket.closed).toEqual(platform.ended('ended'));
    }
    const socket = await node.connect(browser);
    await browser.post(path, { json });
    expect(await socket.ask('plain')).toMatchObject(REFUSED);
    expect(await socket.closed).toEqual(platform.ended('ended'));
    expect(node.sockets.count()).toBe(0);
  });

  it('without events is refused after a login, though nobody was logged in before', async () => {
    const node = await start();
    const browser = node.browser();
    await browser.post('/begin');
    const socket = await node.connect(browser);
    expect(await socket.ask('anybody')).toEqual({ principal: null, n: 1 });
    await browser.post('/login', { json: { principal: 'alice' } });
    expect(await socket.ask('anybody')).toMatchObject(REFUSED);
  });

  it('gets what is sent to its principal, and nobody else', async () => {
    const store = new MemorySessionStore({ now: () => performance.now() });
    const nodes = [
      await start({ store, events: true }),
      await start({ store, events: true }),
    ] as const;
    const browser = await nodes[0].login();
    const sockets = await Promise.all(nodes.map((node) => node.connect(browser)));
    const others = [await nodes[1].open(), await nodes[1].connect(await nodes[0].login('bob'))];
    expect(nodes[1].sockets.ofPrincipal('alice')).toHaveLength(1);
    const heard = sockets.map((socket) => socket.next('paid'));
    await nodes[0].sockets.toPrincipal('alice').emit('paid', { order: 7 });
    for (const one of heard) expect(await one).toEqual({ order: 7 });
    await nodes[0].sockets.toPrincipal('alice', { name: undefined }).emit('disconnect', {});
    await nodes[0].sockets.toPrincipal('bob').emit('bye');
    await until('bob is told', () => others[1]?.received.some(({ event }) => event === 'bye'));
    expect(others[0]?.received).toEqual([]);
    expect(others[1]?.received).toHaveLength(1);
  });

  it('gets nothing without events, and whoever sends is told what is missing', async () => {
    const node = await start();
    await node.connect(await node.login());
    await expect(node.sockets.toPrincipal('alice').emit('paid')).rejects.toThrow(/option `events`/);
  });

  it('is closed when its node goes down, after what is under way is done', async () => {
    const store = new MemorySessionStore({ now: () => performance.now() });
    const [node, other] = [await start({ store }), await start({ store })];
    const browser = await node.login();
    const [socket, idle] = [await node.connect(browser), await node.connect(browser)];
    const answer = socket.ask('slow');
    await node.waiting.latch.reached;
    const closing = node.close();
    await delay(20);
    node.waiting.latch.open();
    expect(await answer).toBe('done');
    expect(await socket.closed).toEqual(platform.leaving);
    expect(await idle.closed).toEqual(platform.leaving);
    await closing;
    expect((await other.here(browser).get('/data')).json).toMatchObject({ slow: 'done' });
  });

  it('leaves nothing behind, a thousand times', async () => {
    const node = await start({ events: true });
    const browser = await node.login();
    const waves = Array.from({ length: 20 });
    for (const _wave of waves) {
      const sockets = await Promise.all(Array.from({ length: 50 }, () => node.connect(browser)));
      expect(node.sockets.count()).toBe(50);
      await Promise.all(sockets.map((socket) => socket.close()));
      await until('all are gone', () => node.sockets.count() === 0);
    }
    expect(node.sockets.ofPrincipal('alice')).toEqual([]);
    expect(node.followed).toEqual(0);
  });

  it('leaves nothing behind that was refused', async () => {
    const node = await startNode(platform, adapter, {
      session: { events: true },
      required: true,
    });
    const browser = node.browser();
    await browser.post('/begin');
    for (let i = 0; i < 5; i++) {
      await expect(node.connect(browser)).rejects.toMatchObject({ status: 401 });
    }
    expect([node.sockets.count(), node.followed]).toEqual([0, 0]);
  });
});

describe.each(STACKS)('with sessions in Redis: %s', (_, platform, adapter) => {
  it('a logout, a login elsewhere and what is sent reach sockets on all nodes', async () => {
    const redis = await startRedis();
    try {
      const session = { redis: redis.connection(), store: undefined, events: true };
      const one = await startNode(platform, adapter, { session });
      const other = await startNode(platform, adapter, { session });
      const browser = await one.login();
      const socket = await other.connect(browser);
      const told = socket.next('paid');
      await one.sockets.toPrincipal('alice').emit('paid', 7);
      expect(await told).toBe(7);
      await browser.post('/regenerate');
      expect(await socket.ask('add', 1)).toBe(1);
      const begun = performance.now();
      await browser.post('/logout');
      expect(await socket.closed).toEqual(platform.ended('logout'));
      expect(performance.now() - begun).toBeLessThan(1_000);
      await one.close();
      await other.close();
    } finally {
      await redis.stop();
    }
  });
});
