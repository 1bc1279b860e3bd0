import { describe, expect, it } from '@jest/globals';
import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import {
  MemorySessionStore,
  SessionService,
  SessionStoreUnavailableError,
  type SessionRejection,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { TestLogger } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { IO, IO_POLLING, WS } from '../support/socket-clients.js';
import { HANDSHAKES, startNode, type ChatOptions } from './gateways.js';

const ALICE = { principal: 'alice', roles: [], known: true };
const tokenOf = (browser: HttpClient) => browser.jar.get('sid') as string;

describe.each(HANDSHAKES)('a handshake: %s', (_, platform, adapter) => {
  const start = (options?: ChatOptions) => startNode(platform, adapter, options);

  it('brings the session by its cookie', async () => {
    const node = await start();
    const socket = await node.connect(await node.login());
    expect(await socket.ask('who')).toEqual(ALICE);
  });

  it.each([
    ['x-auth-token', (token: string) => ({ 'x-auth-token': token })],
    ['authorization', (token: string) => ({ authorization: `Session ${token}` })],
  ] as const)('brings the session by the header %s', async (transport, headersOf) => {
    const node = await start({ session: { transport } });
    const sessions = node.app.app.get(SessionService);
    const token = sessions.tokenOf(await sessions.create({ principal: 'alice' }));
    const socket = await node.open({ headers: headersOf(token) });
    expect(await socket.ask('who')).toEqual(ALICE);
  });

  it('brings the session by a transport of the application', async () => {
    const transport = {
      read: (request: { header(name: string): string | undefined }) =>
        [request.header('x-own')].filter((token) => token !== undefined),
      write: () => undefined,
      clear: () => undefined,
    };
    const node = await start({ session: { transport } });
    const sessions = node.app.app.get(SessionService);
    const token = sessions.tokenOf(await sessions.create({ principal: 'alice' }));
    expect(await (await node.open({ headers: { 'x-own': token } })).ask('who')).toEqual(ALICE);
  });

  it('without a session connects, and guards decide', async () => {
    const node = await start();
    const socket = await node.open();
    expect(await socket.ask('who')).toEqual({
      status: 'error',
      code: 'SESSION_REQUIRED',
      message: expect.stringContaining('log in'),
    });
    expect(await socket.ask('anybody')).toEqual({ principal: null, n: null });
  });

  it('with a token that is none of ours connects as nobody', async () => {
    const node = await start();
    const socket = await node.open({ headers: { cookie: 'sid=forged' } });
    expect(await socket.ask('anybody')).toEqual({ principal: null, n: null });
  });

  it('is refused by 401 where somebody is required', async () => {
    const node = await start({ required: true });
    const refused = { status: 401, code: 'SESSION_REQUIRED' };
    await expect(node.open()).rejects.toMatchObject(refused);
    const browser = node.browser();
    await browser.post('/begin');
    await expect(node.connect(browser)).rejects.toMatchObject(refused);
    expect(await (await node.connect(await node.login())).ask('who')).toEqual(ALICE);
    expect(node.sockets.count()).toBe(1);
  });

  type Headers = (own: string) => Record<string, string>;

  it.each<[string, Headers]>([
    ['a page of another host', () => ({ origin: 'http://evil.example' })],
    ['a page of another port', () => ({ origin: 'http://127.0.0.1:1' })],
    ['a page of nowhere', () => ({ origin: 'null' })],
    ['a sibling', (own) => ({ origin: `http://${own}`, 'sec-fetch-site': 'same-site' })],
    ['a site that names no origin', () => ({ 'sec-fetch-site': 'cross-site' })],
  ])('from %s is refused by 403', async (_where, headersOf) => {
    const rejections: SessionRejection[] = [];
    const onRejected = (rejection: SessionRejection) => rejections.push(rejection);
    const node = await start({ session: { onRejected } });
    const browser = await node.login();
    const refused = node.connect(browser, headersOf(`127.0.0.1:${node.app.port}`));
    await expect(refused).rejects.toMatchObject({ status: 403 });
    expect(rejections).toEqual([{ reason: 'csrf', handle: undefined, name: undefined }]);
    expect(node.sockets.count()).toBe(0);
  });

  it.each<[string, Headers]>([
    ['the same origin', (own) => ({ origin: `http://${own}` })],
    ['behind a proxy that ended TLS', (own) => ({ origin: `https://${own}` })],
    ['where the browser says so', () => ({ origin: 'http://a', 'sec-fetch-site': 'same-origin' })],
    ['an origin that is named', () => ({ origin: 'https://app.example' })],
    ['no page', () => ({})],
  ])('from %s passes', async (_where, headersOf) => {
    const node = await start({ session: { csrf: { origins: ['https://app.example'] } } });
    const browser = await node.login();
    const socket = await node.connect(browser, headersOf(`127.0.0.1:${node.app.port}`));
    expect(await socket.ask('who')).toEqual(ALICE);
  });

  it('is refused while the store does not answer: who would wait for whose session it is?', async () => {
    const store = new FailingStore(new FakeClock());
    const node = await start({ session: { store, onStoreFailure: 'anonymous' } });
    const browser = await node.login();
    store.fails = true;
    const refused = { status: 503, code: 'SESSION_STORE_UNAVAILABLE' };
    await expect(node.connect(browser)).rejects.toMatchObject(refused);
    store.fails = false;
    expect(await (await node.connect(browser)).ask('who')).toEqual(ALICE);
  });

  it('is no activity', async () => {
    const clock = new FakeClock();
    const session = { clock, idleTimeout: '30m', touchAfter: 0 } as const;
    const node = await start({ session });
    const browser = await node.login();
    clock.advance('20m');
    await node.connect(browser);
    clock.advance('20m');
    expect((await browser.get('/look')).json).toEqual({ principal: null });
  });

  it('comes from the address that trusted proxies tell, as requests do', async () => {
    const node = await start({
      session: { binding: { userAgent: false, onMismatch: 'destroy' } },
      trustProxy: true,
    });
    const browser = node.browser();
    const from = (address: string) => ({ 'x-forwarded-for': address });
    const json = { principal: 'alice' };
    await browser.post('/login', { json, headers: from('192.0.2.1') });
    const socket = await node.connect(browser, from('192.0.2.2'));
    expect(await socket.ask('who')).toEqual(ALICE);
    const thief = await node.connect(browser, from('198.51.100.1'));
    expect(await thief.ask('who')).toMatchObject({ code: 'SESSION_REQUIRED' });
    expect(await socket.ask('who')).toMatchObject({ code: 'SESSION_REQUIRED' });
  });

  it('is judged by what the gateway says as well', async () => {
    const gateway =
      platform.name === 'ws'
        ? { verifyClient: () => false }
        : {
            allowRequest: (_: unknown, say: (error: string, allow: boolean) => void) =>
              say('no', false),
          };
    const node = await start({ gateway });
    await expect(node.connect(await node.login())).rejects.toThrow(/refused: 4/);
    expect(node.followed).toBe(0);
  });

  it('brings sessions of all names, and the same id opens none of another', async () => {
    const node = await start({ admin: { cookie: { name: 'admin', secure: false } } });
    const browser = node.browser();
    await browser.post('/login-admin');
    const admin = await node.connect(browser);
    expect(await admin.ask('of-admin')).toBe('root');
    expect(await admin.ask('who')).toMatchObject({ code: 'SESSION_REQUIRED' });
    expect(node.sockets.ofPrincipal('root', { name: 'admin' })).toHaveLength(1);
    expect(node.sockets.ofPrincipal('root')).toHaveLength(0);
    await browser.post('/login', { json: { principal: 'alice' } });
    const both = await node.connect(browser);
    expect([await both.ask('of-admin'), await both.ask('who')]).toEqual(['root', ALICE]);
    const wrong = await node.open({ headers: { cookie: `admin=${tokenOf(browser)}` } });
    expect(await wrong.ask('of-admin')).toMatchObject({ code: 'SESSION_REQUIRED' });
  });
});

describe.each([IO, IO_POLLING])('$name', (platform) => {
  it('takes auth.token for the header X-Auth-Token', async () => {
    const node = await startNode(platform, 'express', {
      session: { transport: ['cookie', 'x-auth-token'] },
      required: true,
    });
    const sessions = node.app.app.get(SessionService);
    const token = sessions.tokenOf(await sessions.create({ principal: 'alice' }));
    expect(await (await node.open({ auth: { token } })).ask('who')).toEqual(ALICE);
    for (const wrong of [{ token: 'forged' }, { token: { $ne: '' } }, {}]) {
      await expect(node.open({ auth: wrong })).rejects.toMatchObject({ status: 401 });
    }
  });

  it('does not take auth.token where tokens come by cookies only', async () => {
    const node = await startNode(platform, 'express');
    const sessions = node.app.app.get(SessionService);
    const token = sessions.tokenOf(await sessions.create({ principal: 'alice' }));
    const socket = await node.open({ auth: { token } });
    expect(await socket.ask('who')).toMatchObject({ code: 'SESSION_REQUIRED' });
  });
});

describe.each([WS, IO])('the adapter for $name', (platform) => {
  it('says what it lacks in an application without sessions', async () => {
    @Module({})
    class Empty {}
    const app = await NestFactory.create(Empty, { logger: new TestLogger() });
    expect(() => platform.adapter(app)).toThrow(/needs sessions: import SessionModule.forRoot/);
    await app.close();
  });
});

/** A store that can be reached, or not. */
class FailingStore extends MemorySessionStore {
  fails = false;

  override async load(...args: Parameters<MemorySessionStore['load']>) {
    if (this.fails) throw new SessionStoreUnavailableError('test');
    return super.load(...args);
  }
}
