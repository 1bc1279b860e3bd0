import { describe, expect, it } from '@jest/globals';
import { APP_GUARD } from '@nestjs/core';
import { SessionCsrfGuard, SessionGuard } from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { io } from 'socket.io-client';
import { until } from '../support/app.js';
import { NEST } from '../support/nest.js';
import { IO } from '../support/socket-clients.js';
import { STACKS, startNode, type ChatOptions } from './gateways.js';

/** Before, nothing that is global runs in gateways. */
const fromNest12 = NEST < 12 ? describe.skip : describe;

describe.each(STACKS)('a message: %s', (_, platform, adapter) => {
  const start = (options?: ChatOptions) => startNode(platform, adapter, options);

  it('is judged by guards, with the code of a refusal', async () => {
    const node = await start();
    const socket = await node.connect(await node.login('alice'));
    expect(await socket.ask('who')).toEqual({ principal: 'alice', roles: [], known: true });
    expect(await socket.ask('admin')).toEqual({
      status: 'error',
      code: 'SESSION_FORBIDDEN',
      message: 'The session is not allowed to do this.',
    });
    const root = await node.connect(await node.login('root', ['admin']));
    expect(await root.ask('admin')).toBe('done');
    const [client] = node.sockets.ofPrincipal('root');
    expect(node.sockets.principalOf(client as object)).toBe('root');
    expect(node.sockets.principalOf({})).toBeUndefined();
    await node.open();
    expect(node.waiting.greeted).toEqual(['alice', 'root', undefined]);
  });

  fromNest12('where something is global', () => {
    it('is judged by it; but it is no request that another site could send', async () => {
      const providers = [
        { provide: APP_GUARD, useClass: SessionCsrfGuard },
        { provide: APP_GUARD, useClass: SessionGuard },
      ];
      const node = await start({ providers, session: { csrf: { token: 'always' } } });
      const socket = await node.open();
      expect(await socket.ask('plain')).toMatchObject({ code: 'SESSION_REQUIRED' });
      expect(await socket.ask('add', 1)).toMatchObject({ code: 'SESSION_UNAVAILABLE' });
    });
  });

  it('changes data, stored before its answer leaves', async () => {
    const node = await start();
    const browser = await node.login();
    const socket = await node.connect(browser);
    expect(await socket.ask('add', 2)).toBe(2);
    expect((await browser.get('/data')).json).toMatchObject({ n: 2 });
    expect(await socket.ask('add', 3)).toBe(5);
    expect((await browser.get('/data')).json).toMatchObject({ n: 5 });
  });

  it('loses nothing when others change the session at the same time', async () => {
    const node = await start();
    const browser = await node.login();
    const sockets = await Promise.all([1, 2, 3].map(() => node.connect(browser)));
    for (let i = 0; i < 10; i++) for (const socket of sockets) socket.send('add', 1);
    await until('all are counted', async () => (await browser.get('/data')).json.n === 30);
  });

  it('stores what a handler changed that fails', async () => {
    const node = await start();
    const browser = await node.login();
    const socket = await node.connect(browser);
    expect(await socket.ask('fail')).toMatchObject({ message: 'Internal server error' });
    expect((await browser.get('/data')).json).toMatchObject({ failed: true });
  });

  it('stores what a stream changes before each of its values', async () => {
    const node = await start();
    const browser = await node.login();
    const socket = await node.connect(browser);
    expect(await socket.ask('count')).toBe(10);
    expect(((await browser.get('/data')).json as { n: number }).n).toBeGreaterThan(0);
    await until('the stream is over', () => socket.received.length === 3);
    expect(socket.received.map(({ data }) => data)).toEqual([10, 21, 32]);
    expect((await browser.get('/data')).json).toMatchObject({ n: 3 });
  });

  it('is handled to its end, and stored, if the client leaves meanwhile', async () => {
    const node = await start();
    const browser = await node.login();
    const socket = await node.connect(browser);
    socket.send('slow');
    await node.waiting.latch.reached;
    await socket.close();
    await until('it is known that the client left', () => node.sockets.count() === 0);
    node.waiting.latch.open();
    await until('it is stored', async () => (await browser.get('/data')).json.slow === 'done');
  });

  it.each([
    ['login', 'a login'],
    ['elevate', 'a further factor'],
  ])('cannot get the session a new id: %s', async (event) => {
    const node = await start();
    const browser = await node.login();
    const socket = await node.connect(browser);
    expect(await socket.ask(event)).toMatchObject({ status: 'error', code: 'SESSION_UNAVAILABLE' });
    expect(node.app.logger.texts('error').join()).toContain('over HTTP');
    expect(await socket.ask('who')).toMatchObject({ principal: 'alice' });
    expect((await browser.get('/data')).json).toMatchObject({ principal: 'alice' });
  });

  it('cannot begin a session: what it would lose is an error', async () => {
    const node = await start();
    const socket = await node.open();
    for (const event of ['add', 'put', 'login']) {
      expect(await socket.ask(event, 1)).toMatchObject({ code: 'SESSION_UNAVAILABLE' });
    }
  });

  it.each(['destroy', 'logout'])(
    'can end the session, and its socket with it: %s',
    async (event) => {
      for (const events of [true, false]) {
        const node = await start({ session: { events } });
        const browser = await node.login();
        const [socket, other] = [await node.connect(browser), await node.connect(browser)];
        socket.send(event);
        expect(await socket.closed).toEqual(platform.ended('logout'));
        expect((await browser.get('/look')).json).toEqual({ principal: null });
        if (events) expect(await other.closed).toEqual(platform.ended('logout'));
        else expect(await other.ask('who')).toMatchObject({ code: 'SESSION_REQUIRED' });
      }
    },
  );

  it('is activity, unless its handler is passive; a sign of life is none', async () => {
    const clock = new FakeClock();
    const session = { clock, idleTimeout: '30m', touchAfter: '1m' } as const;
    const node = await start({
      session,
      ...(platform.name !== 'ws' && { gateway: { pingInterval: 20, pingTimeout: 5_000 } }),
    });
    const browser = await node.login();
    const socket = await node.connect(browser);
    const alive = async () => (await browser.get('/look')).json.principal === 'alice';
    for (let i = 0; i < 3; i++) {
      clock.advance('20m');
      expect(await socket.ask('plain')).toBe('heard');
    }
    expect(await alive()).toBe(true);
    clock.advance('20m');
    expect(await socket.ask('poll')).toBe('alice');
    await socket.ping();
    clock.advance('9m');
    expect(await alive()).toBe(true);
    clock.advance('2m');
    expect(await alive()).toBe(false);
    expect(await socket.ask('plain')).toMatchObject({ code: 'SESSION_REQUIRED' });
  });
});

describe('socket.io', () => {
  it('binds each namespace, also to a token of its own', async () => {
    const node = await startNode(IO, 'express', { namespaces: true });
    const browser = await node.login();
    const socket = await node.open({
      namespace: 'side',
      headers: { cookie: browser.cookieHeader },
    });
    expect(await socket.ask('side')).toBe('alice');
    const nobody = await node.open({ namespace: 'side' });
    expect(await nobody.ask('side')).toMatchObject({ code: 'SESSION_REQUIRED' });
  });

  it('does not bring back a session with a connection that it recovers', async () => {
    const gateway = { connectionStateRecovery: {}, pingInterval: 50 };
    const node = await startNode(IO, 'express', { gateway });
    const browser = await node.login();
    const socket = io(`http://127.0.0.1:${node.app.port}`, {
      transports: ['websocket'],
      extraHeaders: { cookie: browser.cookieHeader },
      reconnectionDelay: 10,
    });
    try {
      const answer = () =>
        new Promise((resolve) => {
          socket.once('who', resolve).once('exception', resolve).emit('who');
        });
      expect(await answer()).toMatchObject({ principal: 'alice' });
      const back = new Promise<void>((resolve) => {
        socket.once('disconnect', () => socket.once('connect', () => resolve()));
      });
      await browser.post('/logout');
      socket.io.engine.close();
      await back;
      expect(socket.recovered).toBe(true);
      expect(await answer()).toMatchObject({ code: 'SESSION_REQUIRED' });
    } finally {
      socket.disconnect();
    }
  });
});
