import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Get, HttpCode, Post, Res } from '@nestjs/common';
import type { ServerResponse } from 'node:http';
import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import {
  PassiveSession,
  RequireSession,
  Session,
  SessionService,
  type SessionModuleOptions,
  type SessionRejection,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { handleOf } from '../../lib/core/session-id.js';
import { MemorySessionStore } from '../../lib/stores/memory/memory-session.store.js';
import { ADAPTERS, type TestApp, until } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { idIn } from '../support/tokens.js';
import { IS_CARRIED, itByCookie, itByOneClock, itInRedis } from '../support/store-under-test.js';

const COOKIE = '__Host-session';
const MINUTE = 60_000;

@Controller()
class Shop {
  constructor(private readonly sessions: SessionService) {}

  @Post('visit') @HttpCode(200) visit(@Session() session: Session) {
    session.increment('visits');
  }

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name = 'alice', ...options }: { name?: string; rememberMe?: boolean } = {},
  ) {
    await session.authenticate(name, options);
  }

  @Post('renew') @HttpCode(200) async renew(@Session() session: Session) {
    await session.regenerate();
  }

  /** Begins to answer before it asks for its session. */
  @Get('stream') async stream(@Res() response: ServerResponse | { raw: ServerResponse }) {
    const raw = 'raw' in response ? response.raw : response;
    raw.writeHead(200, { 'content-type': 'text/plain' });
    raw.write('begin');
    const session = this.sessions.current()!;
    await session.load();
    session.increment('streams');
    await session.save();
    raw.end('end');
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @RequireSession() @Post('count') @HttpCode(200) count(@Session() session: Session) {
    return { count: session.increment('count') };
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    const { principal, expiresAt, createdAt } = session;
    return { principal, count: session.get('count'), expiresAt, createdAt };
  }

  @RequireSession() @PassiveSession() @Get('poll') poll() {
    return {};
  }
}

describe.each(ADAPTERS)('ids that are renewed, on %s', (adapter) => {
  const opened = new Opened();
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  let clock: FakeClock;
  let rejected: SessionRejection[];

  beforeAll(async () => {
    redis = await startRedis();
    probe = await RedisProbe.start(redis);
  });

  beforeEach(() => {
    clock = new FakeClock();
    rejected = [];
  });

  afterEach(async () => {
    await opened.close();
    await probe.flush();
  });

  afterAll(async () => {
    await probe?.stop();
    await redis?.stop();
  });

  const node = (session: SessionModuleOptions = {}): Promise<TestApp> =>
    opened.app({
      adapter,
      controllers: [Shop],
      session: {
        clock,
        idleTimeout: '2h',
        onRejected: (one) => rejected.push(one),
        ...session,
        redis: redis.connection(),
      },
    });

  const loggedIn = async (app: TestApp): Promise<HttpClient> => {
    const browser = opened.browser(app);
    expect((await browser.post('/login')).status).toBe(200);
    return browser;
  };
  const idOf = (browser: HttpClient) => idIn(browser.jar.get(COOKIE)!);
  const tokenOf = (browser: HttpClient) => browser.jar.get(COOKIE)!;
  const withToken = (app: TestApp, token: string) => opened.browser(app, [[COOKIE, token]]);
  const live = async () => (await probe.liveRecords()).size;

  itInRedis(
    'a session in use gets a new id when its time has come, and keeps everything else',
    async () => {
      const app = await node({ renewalTimeout: '15m' });
      const browser = await loggedIn(app);
      await browser.post('/count');
      const first = idOf(browser);
      const before = (await browser.get('/me')).json;
      clock.advance(14 * MINUTE);
      expect((await browser.get('/me')).setCookie).toEqual([]);
      clock.advance(MINUTE);
      const answer = await browser.get('/me');
      expect(answer.json).toMatchObject({ principal: 'alice', count: 1 });
      expect(answer.json.createdAt).toBe(before.createdAt);
      expect(answer.headers['cache-control']).toBe('no-store');
      expect(idOf(browser)).not.toBe(first);
      expect(await live()).toBe(1);
      // From now on it counts anew.
      clock.advance(14 * MINUTE);
      expect((await browser.get('/me')).setCookie).toEqual([]);
      clock.advance(MINUTE);
      expect((await browser.get('/me')).setCookie).toHaveLength(1);
    },
  );

  it('without it an id serves as long as its session', async () => {
    const browser = await loggedIn(await node());
    const before = idOf(browser);
    clock.advance(90 * MINUTE);
    const { setCookie } = await browser.get('/me');
    expect(idOf(browser)).toBe(before);
    // What clients carry tells them of the window as well.
    if (!IS_CARRIED) expect(setCookie).toEqual([]);
  });

  itByOneClock('does not move the absolute end', async () => {
    const app = await node({ renewalTimeout: '15m', absoluteTimeout: '2h' });
    const browser = await loggedIn(app);
    const end = (await browser.get('/me')).json.expiresAt;
    for (let i = 0; i < 7; i++) {
      clock.advance(16 * MINUTE);
      expect((await browser.get('/me')).json.expiresAt).toBe(end);
    }
    clock.advance(16 * MINUTE);
    expect((await browser.get('/me')).status).toBe(401);
  });

  it.each(['lazy', 'eager'] as const)(
    'polling renews nothing, and what counts as activity does (loading: %s)',
    async (loading) => {
      const browser = await loggedIn(await node({ renewalTimeout: '15m', loading }));
      clock.advance(20 * MINUTE);
      expect((await browser.get('/poll')).setCookie).toEqual([]);
      expect((await browser.get('/me')).setCookie).toHaveLength(1);
    },
  );

  itByCookie(
    'outside of requests nothing is renewed: nobody could take the new id along',
    async () => {
      const app = await node({ renewalTimeout: '15m' });
      const browser = await loggedIn(app);
      clock.advance(20 * MINUTE);
      const sessions = app.app.get(SessionService);
      const handle = handleOf(idOf(browser));
      await sessions.update(handle, (session) => session.set('job', true));
      const found = await sessions.get(idOf(browser));
      found?.set('job', false);
      expect(await found?.save()).toBe(true);
      expect((await sessions.find(handle))?.handle).toBe(handle);
    },
  );

  itInRedis(
    '50 requests at once with the old id, over two nodes, end up in one successor and lose nothing',
    async () => {
      const apps = [await node({ renewalTimeout: '15m' }), await node({ renewalTimeout: '15m' })];
      const browser = await loggedIn(apps[0]!);
      const old = tokenOf(browser);
      clock.advance(20 * MINUTE);
      const clients = Array.from({ length: 50 }, (_, i) => withToken(apps[i % 2]!, old));
      const answers = await Promise.all(clients.map((client) => client.post('/count')));
      expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 200));
      expect(new Set(clients.map(idOf)).size).toBe(1);
      expect(idOf(clients[0]!)).not.toBe(idIn(old));
      expect(await live()).toBe(1);
      // By what is stored: a copy on this node may still be from before the last of the other.
      expect((await clients[0]!.post('/count')).json.count).toBe(51);
    },
  );

  itByCookie(
    'renews nothing when the answer has begun: nobody could take the new id along',
    async () => {
      const app = await node({ renewalTimeout: '15m' });
      const browser = await loggedIn(app);
      clock.advance(20 * MINUTE);
      expect((await browser.get('/stream')).text).toBe('beginend');
      clock.advance(MINUTE);
      expect((await browser.get('/me')).status).toBe(200);
      expect(rejected).toEqual([]);
    },
  );

  it('a request whose body takes longer than the grace is no replay', async () => {
    const app = await node({ renewalTimeout: '15m', onReplay: 'end' });
    const browser = await loggedIn(app);
    const old = tokenOf(browser);
    clock.advance(20 * MINUTE);
    const socket = connect(app.port, '127.0.0.1');
    let answer = '';
    socket.on('data', (chunk) => (answer += chunk.toString()));
    const body = JSON.stringify({ text: 'x'.repeat(50) });
    const head = `POST /count HTTP/1.1\r\nHost: localhost\r\nCookie: ${COOKIE}=${old}\r\n`;
    const about = `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    socket.write(head + about + body.slice(0, 9));
    await delay(100);
    await browser.get('/me');
    clock.advance(MINUTE);
    socket.write(body.slice(9));
    await until('it is answered', () => answer.includes('{"count":1}'));
    socket.destroy();
    expect(rejected).toEqual([]);
    const { status, json } = await browser.get('/me');
    expect(status).toBe(200);
    // What clients carry was handed to the other connection.
    expect(json.count).toBe(IS_CARRIED ? undefined : 1);
  });

  it('nobody is harmed by an application that fails to take note', async () => {
    const failures: unknown[] = [];
    const note = (failure: unknown) => failures.push(failure);
    process.on('unhandledRejection', note);
    try {
      for (const onRejected of [
        () => Promise.reject(new Error('the audit log is down')),
        () => {
          throw new Error('the audit log is down');
        },
      ]) {
        const app = await node({ onRejected });
        expect((await withToken(app, 'junk').get('/me')).status).toBe(401);
        const errors = () => app.logger.texts('error').join();
        await until('it is logged', () => errors().includes('the audit log is down'));
      }
    } finally {
      process.off('unhandledRejection', note);
    }
    expect(failures).toEqual([]);
  });

  describe('an id that was given up', () => {
    const renewed = async (app: TestApp) => {
      const browser = await loggedIn(app);
      const old = tokenOf(browser);
      clock.advance(20 * MINUTE);
      await browser.get('/me');
      expect(idOf(browser)).not.toBe(idIn(old));
      return { browser, old };
    };

    itInRedis('leads on for the grace, and is refused and noticed after it', async () => {
      const app = await node({ renewalTimeout: '15m', replayWindow: '1h' });
      const { browser, old } = await renewed(app);
      const [key] = (await probe.keys(`*${handleOf(idIn(old))}`)) as [string];
      const ttl = await probe.client.pttl(key);
      expect(ttl).toBeGreaterThan(55 * MINUTE);
      expect(ttl).toBeLessThanOrEqual(60 * MINUTE);
      clock.advance(29_000);
      const late = withToken(app, old);
      expect((await late.get('/me')).status).toBe(200);
      expect(idOf(late)).toBe(idOf(browser));

      clock.advance(1_000);
      const answer = await withToken(app, old).get('/me');
      expect(answer.status).toBe(401);
      expect(rejected).toEqual([{ reason: 'replayed', handle: handleOf(idIn(old)) }]);
      expect(app.logger.texts('warn').join()).toContain('replayed');
      // Its user is not troubled.
      expect((await browser.get('/me')).status).toBe(200);
    });

    itInRedis('is not kept for that if nobody wants to know', async () => {
      const app = await node({ renewalTimeout: '15m', replayWindow: 0, regenerateGrace: '1s' });
      const { old } = await renewed(app);
      const [key] = (await probe.keys(`*${handleOf(idIn(old))}`)) as [string];
      expect(await probe.client.pttl(key)).toBeLessThanOrEqual(1_000);
    });

    it("ends the session that goes on, with onReplay: 'end', however often that was renewed since", async () => {
      const app = await node({ renewalTimeout: '15m', onReplay: 'end', idleTimeout: '12h' });
      const { browser, old } = await renewed(app);
      for (let i = 0; i < 80; i++) await browser.post('/renew');
      clock.advance(MINUTE);
      expect((await withToken(app, old).get('/me')).status).toBe(401);
      expect(rejected).toEqual([{ reason: 'replayed', handle: handleOf(idIn(old)) }]);
      expect((await browser.get('/me')).status).toBe(401);
      expect(await live()).toBe(0);
    });

    it('that was planted before a login ends nothing: its owner has stolen nothing', async () => {
      const app = await node({ onReplay: 'end' });
      const victim = opened.browser(app);
      await victim.post('/visit');
      const planted = tokenOf(victim);
      await victim.post('/login');
      clock.advance(MINUTE);
      expect((await withToken(app, planted).get('/me')).status).toBe(401);
      expect(rejected).toEqual([{ reason: 'replayed', handle: handleOf(idIn(planted)) }]);
      expect((await victim.get('/me')).status).toBe(200);
    });

    it('that was planted and renewed before the login ends nothing either', async () => {
      const app = await node({ renewalTimeout: '15m', onReplay: 'end' });
      const attacker = opened.browser(app);
      await attacker.post('/visit');
      const planted = tokenOf(attacker);
      const victim = withToken(app, planted);
      clock.advance(20 * MINUTE);
      await victim.post('/visit');
      await victim.post('/login');
      clock.advance(MINUTE);
      expect((await withToken(app, planted).get('/me')).status).toBe(401);
      expect(rejected).toEqual([{ reason: 'replayed', handle: handleOf(idIn(planted)) }]);
      expect((await victim.get('/me')).status).toBe(200);
    });

    it('that was planted while its owner was logged in ends no login of somebody else', async () => {
      const app = await node({ onReplay: 'end' });
      const attacker = opened.browser(app);
      await attacker.post('/login', { json: { name: 'mallory' } });
      const planted = tokenOf(attacker);
      const victim = withToken(app, planted);
      await victim.post('/login');
      clock.advance(MINUTE);
      expect((await withToken(app, planted).get('/me')).status).toBe(401);
      expect((await victim.get('/me')).json.principal).toBe('alice');
    });

    it.each([false, true])(
      'logs nobody out who has logged in since, and its own session if it goes on (a store that confirms: %s)',
      async (confirms) => {
        const store = Object.assign(new MemorySessionStore(clock), { confirms });
        const app = await opened.app({
          adapter,
          controllers: [Shop],
          session: { clock, idleTimeout: '2h', renewalTimeout: '15m', store },
        });
        const attacker = opened.browser(app);
        await attacker.post('/visit');
        const victim = withToken(app, tokenOf(attacker));
        await victim.post('/login');
        const early = tokenOf(victim);
        clock.advance(20 * MINUTE);
        await victim.get('/me');
        clock.advance(20 * MINUTE);
        await attacker.post('/logout');
        expect((await victim.get('/me')).status).toBe(200);
        clock.advance(MINUTE);
        expect((await withToken(app, early).post('/logout')).status).toBe(204);
        expect((await victim.get('/me')).status).toBe(401);
      },
    );

    itInRedis('is noticed as long as its session can be idle, lasting ones too', async () => {
      const app = await node();
      const browser = opened.browser(app);
      await browser.post('/login', { json: { rememberMe: true } });
      const old = tokenOf(browser);
      await browser.post('/renew');
      const [key] = (await probe.keys(`*${handleOf(idIn(old))}`)) as [string];
      expect(await probe.client.pttl(key)).toBeGreaterThan(13.9 * 86_400_000);
    });

    it('that was logged in, and is used after another login, ends that one', async () => {
      const app = await node({ onReplay: 'end' });
      const victim = await loggedIn(app);
      const stolen = tokenOf(victim);
      await victim.post('/login');
      clock.advance(MINUTE);
      expect((await withToken(app, stolen).get('/me')).status).toBe(401);
      expect((await victim.get('/me')).status).toBe(401);
    });

    it('tells of a logout nothing, and undoes none', async () => {
      const app = await node({ renewalTimeout: '15m', onReplay: 'end' });
      const { browser, old } = await renewed(app);
      await browser.post('/logout');
      expect((await withToken(app, old).get('/me')).status).toBe(401);
      clock.advance(MINUTE);
      expect((await withToken(app, old).get('/me')).status).toBe(401);
      expect(await live()).toBe(0);
    });

    it('ends with its session if an administrator revokes it by the handle that was listed before', async () => {
      const app = await node({ renewalTimeout: '15m' });
      const { browser, old } = await renewed(app);
      clock.advance(MINUTE);
      expect(await app.app.get(SessionService).revoke(handleOf(idIn(old)))).toBe(true);
      expect((await browser.get('/me')).status).toBe(401);
    });
  });
});
