import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { APP_GUARD } from '@nestjs/core';
import {
  MemorySessionStore,
  SessionCsrfGuard,
  SessionEvents,
  SessionModule,
  SessionService,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { systemClock } from '../../lib/core/clock.js';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, SECRET, startApp, until, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { startRedis } from '../support/redis-under-test.js';
import { ask, codesOf, GqlSocket } from './gql-client.js';
import { graphql, ShopResolver, Ticker } from './shop.js';

describe.each(ADAPTERS)('GraphQL on %s', (adapter) => {
  const closing: (() => unknown)[] = [];
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  const start = async (
    session: SessionModuleOptions = {},
    { csrf = false } = {},
  ): Promise<TestApp & { client: HttpClient }> => {
    const app = await startApp({
      adapter,
      session: { store: 'memory', events: true, ...session },
      imports: [graphql(), SessionModule.forFeature('admin', { transport: 'cookie' })],
      providers: [
        ShopResolver,
        Ticker,
        ...(csrf ? [{ provide: APP_GUARD, useClass: SessionCsrfGuard }] : []),
      ],
    });
    closing.push(() => app.close());
    const client = new HttpClient(app.port);
    closing.push(() => client.close());
    return { ...app, client };
  };

  const socketOf = (client: HttpClient, headers?: Record<string, string>): GqlSocket => {
    const socket = GqlSocket.of(client, headers);
    closing.push(() => socket.close());
    return socket;
  };

  const logIn = async (client: HttpClient, name = 'alice') => {
    const { data } = await ask(client, `mutation { login(name: "${name}") }`);
    expect(data).toEqual({ login: true });
  };

  const listening = (app: TestApp, count = 1) =>
    until('a subscription', () => app.app.get(Ticker).open.size === count);

  describe('over HTTP', () => {
    it('decorators, guards and the service have the session of the request', async () => {
      const { client } = await start();
      expect((await ask(client, '{ who }')).data).toEqual({ who: null });
      expect(client.jar.size).toBe(0);
      await logIn(client);
      expect(client.jar.size).toBe(1);
      expect((await ask(client, '{ who me views current }')).data).toEqual({
        who: 'alice',
        me: 'alice',
        views: 0,
        current: 'alice',
      });
      expect((await ask(client, 'mutation { view }')).data).toEqual({ view: 1 });
      expect((await ask(client, 'mutation { a: view b: view }')).data).toEqual({ a: 2, b: 3 });
      expect((await ask(client, '{ views open }')).data).toEqual({ views: 3, open: 'yes' });
    });

    it('refusals have their code, and are no errors of the server', async () => {
      const { client, logger } = await start();
      const anonymous = await ask(client, '{ me }');
      expect(anonymous.answer.status).toBe(200);
      expect(codesOf(anonymous)).toEqual(['SESSION_REQUIRED']);
      expect(anonymous.errors?.[0]?.message).toMatch('log in first');
      await logIn(client);
      expect(codesOf(await ask(client, '{ audit }'))).toEqual(['SESSION_FORBIDDEN']);
      expect(codesOf(await ask(client, '{ refused }'))).toEqual(['SESSION_FORBIDDEN']);
      expect(codesOf(await ask(client, '{ who staff }'))).toEqual(['SESSION_REQUIRED']);
      expect(logger.texts('error')).toEqual([]);
    });

    it('a logout ends the session, and clears its cookie', async () => {
      const { client } = await start();
      await logIn(client);
      const before = client.another(client.jar);
      expect((await ask(client, 'mutation { logout }')).data).toEqual({ logout: true });
      expect(client.jar.size).toBe(0);
      expect(codesOf(await ask(before, '{ me }'))).toEqual(['SESSION_REQUIRED']);
    });

    it('named sessions are apart', async () => {
      const { client } = await start();
      await logIn(client);
      expect((await ask(client, 'mutation { loginAsStaff(name: "bob") }')).data).toBeTruthy();
      expect(client.jar.size).toBe(2);
      expect((await ask(client, '{ me staff }')).data).toEqual({ me: 'alice', staff: 'bob' });
    });

    it('another site is refused, with a code', async () => {
      const { client } = await start({}, { csrf: true });
      const own = { headers: { 'sec-fetch-site': 'same-origin' } };
      const foreign = {
        headers: { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
      };
      expect(codesOf(await ask(client, 'mutation { view }', foreign))).toEqual([
        'SESSION_CSRF_REFUSED',
      ]);
      expect((await ask(client, 'mutation { view }', own)).data).toEqual({ view: 1 });
    });
  });

  describe('over a socket', () => {
    it('operations have the session of the handshake, and save what they change', async () => {
      const { client } = await start();
      await logIn(client);
      const socket = socketOf(client);
      expect(await socket.ask('{ who me current open }')).toMatchObject({
        data: { who: 'alice', me: 'alice', current: 'alice', open: 'yes' },
      });
      expect(await socket.ask('mutation { a: view b: view }')).toEqual({ data: { a: 1, b: 2 } });
      expect((await ask(client, '{ views }')).data).toEqual({ views: 2 });
      expect((await socket.ask('mutation { viewAndFail }')).errors?.[0]?.message).toBe(
        'afterwards',
      );
      expect((await socket.ask('{ views }')).data).toEqual({ views: 3 });
    });

    it('refusals have their code', async () => {
      const { client, logger } = await start();
      const socket = socketOf(client);
      expect(codesOf(await socket.ask('{ me }'))).toEqual(['SESSION_REQUIRED']);
      expect(codesOf(await socket.ask('{ refused }'))).toEqual(['SESSION_FORBIDDEN']);
      const heard = socket.listen('subscription { ticks }');
      expect(await heard.over).toMatchObject([{ extensions: { code: 'SESSION_REQUIRED' } }]);
      await logIn(client);
      expect(codesOf(await socketOf(client).ask('{ audit }'))).toEqual(['SESSION_FORBIDDEN']);
      expect(logger.texts('error')).toEqual([]);
    });

    it('no id is given, and nothing is kept that nobody could use', async () => {
      const { app, client } = await start();
      const anonymous = socketOf(client);
      const errors = [
        await anonymous.ask('mutation { login(name: "alice") }'),
        await anonymous.ask('mutation { view }'),
      ];
      await logIn(client);
      const socket = socketOf(client);
      errors.push(
        await socket.ask('mutation { login(name: "bob") }'),
        await socket.ask('mutation { elevate }'),
        await socket.ask('mutation { renew }'),
      );
      expect(errors.map(codesOf)).toEqual(errors.map(() => ['SESSION_UNAVAILABLE']));
      expect(await app.get(SessionService).count()).toBe(1);
      expect((await socket.ask('{ me }')).data).toEqual({ me: 'alice' });
    });

    it('a session can be ended, and is for all', async () => {
      const { client } = await start();
      await logIn(client);
      const socket = socketOf(client);
      expect((await socket.ask('mutation { leave }')).data).toEqual({ leave: true });
      expect(codesOf(await socket.ask('{ me }'))).toEqual(['SESSION_REQUIRED']);
      expect(codesOf(await ask(client, '{ me }'))).toEqual(['SESSION_REQUIRED']);
    });

    it.each([
      ['by its Origin', { origin: 'https://evil.example' }],
      ['by its port', { origin: 'http://127.0.0.1:1' }],
      ['as the browser says', { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' }],
      ['of the same registrable domain', { 'sec-fetch-site': 'same-site' }],
      ['that hides', { origin: 'null' }],
    ])('a page of another site is refused, %s', async (_, headers) => {
      const refused: unknown[] = [];
      const { client, app } = await start({ onRejected: ({ reason }) => refused.push(reason) });
      await logIn(client);
      const socket = socketOf(client, headers);
      expect(codesOf(await socket.ask('{ me }'))).toEqual(['SESSION_CSRF_REFUSED']);
      expect(codesOf(await socket.ask('{ refused }'))).toEqual(['SESSION_CSRF_REFUSED']);
      expect(codesOf(await socket.ask('mutation { leave }'))).toEqual(['SESSION_CSRF_REFUSED']);
      const heard = socket.listen('subscription { ticks2 }');
      expect(await heard.over).toMatchObject([{ extensions: { code: 'SESSION_CSRF_REFUSED' } }]);
      expect((await socket.ask('{ open }')).data).toEqual({ open: 'yes' });
      expect(app.get(Ticker).open.size).toBe(0);
      expect(new Set(refused)).toEqual(new Set(['csrf']));
    });

    it.each([
      ['of the application', (port: number) => ({ origin: `http://127.0.0.1:${port}` })],
      ['behind a proxy that ends TLS', (port: number) => ({ origin: `https://127.0.0.1:${port}` })],
      ['as the browser says', () => ({ 'sec-fetch-site': 'same-origin', origin: 'http://x' })],
      [
        'that is named',
        () => ({ 'sec-fetch-site': 'cross-site', origin: 'https://friend.example' }),
      ],
    ])('a page is let in %s', async (_, headersFor) => {
      const { client, port } = await start({ csrf: { origins: ['https://friend.example'] } });
      await logIn(client);
      const socket = socketOf(client, headersFor(port));
      expect((await socket.ask('{ me }')).data).toEqual({ me: 'alice' });
    });

    it('a token comes as a parameter of the connection, but no cookie does', async () => {
      const { app, client, port } = await start({
        transport: ['authorization', 'cookie'],
        cookie: { name: 'session', secure: false },
        secret: SECRET,
      });
      const sessions = app.get(SessionService);
      const token = sessions.tokenOf(await sessions.create({ principal: 'alice' }));
      client.jar.set('session', token);
      const inCookie = client.cookieHeader;
      expect((await ask(client, '{ who }')).data).toEqual({ who: 'alice' });
      const asking = async (params: object, headers: Record<string, string> = {}) => {
        const socket = new GqlSocket(port, { params, headers });
        closing.push(() => socket.close());
        return socket.ask('{ who }');
      };
      expect((await asking({ Authorization: `Session ${token}` })).data).toEqual({ who: 'alice' });
      expect((await asking({ cookie: inCookie })).data).toEqual({ who: null });
      const foreign = { origin: 'https://evil.example' };
      const explicit = await asking({ Authorization: `Session ${token}` }, foreign);
      expect(explicit.data).toEqual({ who: 'alice' });
      const told = { 'sec-fetch-site': 'same-origin', origin: 'http://127.0.0.1' };
      expect(codesOf(await asking(told, foreign))).toEqual(['SESSION_CSRF_REFUSED']);
    });

    it('operations are activity, but those that are said to be none', async () => {
      const clock = new FakeClock();
      const { client } = await start({ clock, idleTimeout: '30m', events: false });
      await logIn(client);
      const socket = socketOf(client);
      await socket.ask('{ who }');
      for (let i = 0; i < 3; i++) {
        clock.advance(20 * 60_000);
        expect((await socket.ask('{ who }')).data).toEqual({ who: 'alice' });
      }
      clock.advance(20 * 60_000);
      expect((await socket.ask('{ peek }')).data).toEqual({ peek: 'alice' });
      clock.advance(20 * 60_000);
      expect((await socket.ask('{ who }')).data).toEqual({ who: null });
    });

    it('a connection goes on under new ids, long after the grace for the old one', async () => {
      const clock = new FakeClock();
      const rejected: unknown[] = [];
      const { client } = await start({
        clock,
        events: false,
        onReplay: 'end',
        onRejected: ({ reason }) => rejected.push(reason),
      });
      await logIn(client);
      const [socket, late] = [socketOf(client), socketOf(client)];
      expect((await socket.ask('{ me }')).data).toEqual({ me: 'alice' });
      await late.ask('{ open }');
      for (const renewal of ['renew', 'elevate', 'renew']) {
        await ask(client, `mutation { ${renewal} }`);
        clock.advance(5 * 60_000);
      }
      expect((await socket.ask('{ me }')).data).toEqual({ me: 'alice' });
      expect((await ask(client, '{ me }')).data).toEqual({ me: 'alice' });
      await logIn(client, 'bob');
      expect(codesOf(await socket.ask('{ me }'))).toEqual(['SESSION_REQUIRED']);
      expect(rejected).toEqual([]);
    });

    it('a handshake was in time that came before the renewal, whenever it is used first', async () => {
      const clock = new FakeClock();
      const { client } = await start({ clock, events: false, onReplay: 'end' });
      await logIn(client);
      const early = new GqlSocket(client.port, {
        headers: { cookie: client.cookieHeader },
        eager: true,
      });
      closing.push(() => early.close());
      await early.connected;
      const stolen = client.another(client.jar);
      await ask(client, 'mutation { renew }');
      clock.advance(5 * 60_000);
      expect((await early.ask('{ me }')).data).toEqual({ me: 'alice' });
      expect((await ask(client, '{ me }')).data).toEqual({ me: 'alice' });
      expect(codesOf(await socketOf(stolen).ask('{ me }'))).toEqual(['SESSION_REQUIRED']);
      expect(codesOf(await ask(client, '{ me }'))).toEqual(['SESSION_REQUIRED']);
    });
  });

  describe('a subscription', () => {
    let node: TestApp & { client: HttpClient };
    let other: TestApp;

    beforeEach(async () => {
      const store = new MemorySessionStore(systemClock, {});
      node = await start({ store });
      other = await start({ store });
    });

    const subscribe = async (query = 'subscription { ticks }') => {
      const socket = socketOf(node.client);
      const before = node.app.get(Ticker).open.size;
      const heard = socket.listen(query);
      await listening(node, before + 1);
      return { ...heard, socket };
    };
    const handle = async () => {
      const [session] = await node.app.get(SessionService).forPrincipal('alice').list();
      return session!.handle;
    };
    const within = async (over: Promise<unknown>) => {
      const begun = performance.now();
      const reason = await over;
      expect(performance.now() - begun).toBeLessThan(1_000);
      return reason;
    };
    const ENDED = [{ extensions: { code: 'SESSION_REQUIRED' } }];

    it('hears, and ends when its client has enough', async () => {
      await logIn(node.client);
      const { values, stop, over } = await subscribe();
      node.app.get(Ticker).tell(1);
      node.app.get(Ticker).tell(2);
      await until('two', () => values.length === 2);
      expect(values).toEqual([{ ticks: 1 }, { ticks: 2 }]);
      stop();
      expect(await over).toBeUndefined();
      await listening(node, 0);
    });

    it.each(['this node', 'another node'])('ends with its session, on %s', async (where) => {
      await logIn(node.client);
      const { values, over } = await subscribe();
      const app = where === 'this node' ? node : other;
      await app.app.get(SessionService).revoke(await handle());
      expect(await within(over)).toMatchObject(ENDED);
      await listening(node, 0);
      node.app.get(Ticker).tell(1);
      expect(values).toEqual([]);
    });

    it('ends with its session on another node, over Redis', async () => {
      const redis = await startRedis();
      closing.push(() => redis.stop());
      const connection = { store: undefined, redis: redis.connection() };
      other = await start(connection);
      node = await start(connection);
      await logIn(node.client);
      const { values, over } = await subscribe();
      const elsewhere = new HttpClient(other.port, node.client.jar);
      closing.push(() => elsewhere.close());
      await ask(elsewhere, 'mutation { renew }');
      node.app.get(Ticker).tell(1);
      await until('one', () => values.length === 1);
      await other.app.get(SessionService).revoke(await handle());
      expect(await within(over)).toMatchObject(ENDED);
      await listening(node, 0);
    });

    it('ends by a logout, by a login as somebody else, and by revokeAll', async () => {
      for (const end of [
        () => ask(node.client, 'mutation { logout }'),
        () => logIn(node.client, 'bob'),
        () => other.app.get(SessionService).forPrincipal('alice').revokeAll(),
      ]) {
        await logIn(node.client);
        const { over } = await subscribe();
        await end();
        expect(await within(over)).toMatchObject(ENDED);
        await listening(node, 0);
      }
    });

    it('goes on under new ids, and so do operations beside it', async () => {
      await logIn(node.client);
      const { values, over, socket } = await subscribe();
      const elsewhere = new HttpClient(other.port, node.client.jar);
      closing.push(() => elsewhere.close());
      await ask(elsewhere, 'mutation { renew }');
      await ask(elsewhere, 'mutation { elevate }');
      node.app.get(Ticker).tell(7);
      await until('it', () => values.length === 1);
      expect((await socket.ask('{ me }')).data).toEqual({ me: 'alice' });
      await other.app.get(SessionService).revoke(await handle());
      expect(await within(over)).toMatchObject(ENDED);
    });

    it('takes its connection along under new ids, when nothing leads from the old one any more', async () => {
      const clock = new FakeClock();
      node = await start({ clock, replayWindow: '1m', idleTimeout: '2h' });
      await logIn(node.client);
      const { socket } = await subscribe();
      for (let i = 0; i < 3; i++) {
        await ask(node.client, 'mutation { renew }');
        await new Promise(setImmediate);
        clock.advance(10 * 60_000);
      }
      expect((await socket.ask('{ me }')).data).toEqual({ me: 'alice' });
    });

    it('whose session ends before it listens ends all the same', async () => {
      await logIn(node.client);
      const { over } = socketOf(node.client).listen('subscription { ticksTooLate }');
      expect(await within(over)).toMatchObject(ENDED);
      await listening(node, 0);
    });

    it('of nobody goes on until somebody logs in', async () => {
      await ask(node.client, 'mutation { view }');
      const { values, over } = await subscribe('subscription { ticks2 }');
      node.app.get(Ticker).tell(1);
      await until('one', () => values.length === 1);
      await logIn(node.client);
      expect(await within(over)).toMatchObject(ENDED);
    });

    it('without any session ends with its connection', async () => {
      const { values, socket } = await subscribe('subscription { ticks2 }');
      node.app.get(Ticker).tell(1);
      await until('one', () => values.length === 1);
      await socket.close();
      await listening(node, 0);
    });

    it('leaves nothing behind, however it ends', async () => {
      await logIn(node.client);
      const events = node.app.get(SessionEvents);
      const followed = countOf(events);
      for (let i = 0; i < 10; i++) {
        const { socket, stop } = await subscribe();
        if (i % 2 === 0) stop();
        else await socket.close();
        await listening(node, 0);
      }
      const { over } = await subscribe();
      expect(followed()).toEqual({ begun: 11, open: 1 });
      await node.app.get(SessionService).revoke(await handle());
      await over;
      expect(followed().open).toBe(0);
    });
  });
});

/** How many sessions are followed from now on, and how many of them still are. */
function countOf(events: SessionEvents): () => { begun: number; open: number } {
  const follow = events.follow.bind(events);
  const stops = new Set<() => void>();
  let begun = 0;
  events.follow = (handle, follower) => {
    begun++;
    const stop = follow(handle, follower);
    const counted = () => {
      stops.delete(counted);
      stop();
    };
    stops.add(counted);
    return counted;
  };
  return () => ({ begun, open: stops.size });
}
