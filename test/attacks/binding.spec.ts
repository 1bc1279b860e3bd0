import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, HttpCode, Post, type INestApplication } from '@nestjs/common';
import {
  RequireSession,
  Session,
  SessionService,
  type SessionModuleOptions,
  type SessionRejection,
} from 'nestjs-distributed-session';
import type { Application } from 'express';
import { setTimeout as delay } from 'node:timers/promises';
import { handleOf } from '../../lib/core/session-id.js';
import { ADAPTERS, type TestApp } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { idIn } from '../support/tokens.js';
import { itByCookie, itInRedis } from '../support/store-under-test.js';

const COOKIE = '__Host-session';
const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:144.0) Gecko/20100101 Firefox/144.0';
const FIREFOX_UPDATED = FIREFOX.replaceAll('144.0', '145.0');
const CHROME_ON_MAC =
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36';

@Controller()
class Bank {
  constructor(private readonly sessions: SessionService) {}

  @Post('visit') @HttpCode(200) visit(@Session() session: Session) {
    session.increment('visits');
  }

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('alice');
    await session.save();
    return session.binding;
  }

  /** Asks for its session when its client may have left. */
  @Get('slow') async slow() {
    await delay(300);
    return { principal: (await this.sessions.current()?.load())?.principal };
  }

  @Get('open') open(@Session() session: Session) {
    return { principal: session.principal, visits: session.get('visits'), ...session.binding };
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal, ...session.binding };
  }
}

/** From where, and with what. */
interface From {
  address?: string;
  agent?: string;
}

describe.each(ADAPTERS)('sessions that are bound to their clients, on %s', (adapter) => {
  const opened = new Opened();
  let redis: RedisUnderTest;
  let rejected: SessionRejection[];

  beforeEach(async () => {
    redis = await startRedis();
    rejected = [];
  });

  afterEach(async () => {
    await opened.close();
    await redis?.stop();
  });

  const node = (
    binding: SessionModuleOptions['binding'] | undefined,
    more: SessionModuleOptions = {},
  ): Promise<TestApp> =>
    opened.app({
      adapter,
      controllers: [Bank],
      fastify: { trustProxy: true },
      setup: (app: INestApplication) => {
        const instance = app.getHttpAdapter().getInstance() as Application;
        if (adapter === 'express') instance.set('trust proxy', true);
      },
      session: {
        ...(binding && { binding }),
        onRejected: (one) => rejected.push(one),
        ...more,
        redis: redis.connection(),
      },
    });

  const headers = ({ address = '192.0.2.10', agent = FIREFOX }: From = {}) => ({
    headers: { 'x-forwarded-for': address, 'user-agent': agent },
  });
  const loggedIn = async (app: TestApp, from?: From): Promise<HttpClient> => {
    const browser = opened.browser(app);
    expect((await browser.post('/login', headers(from))).status).toBe(200);
    return browser;
  };
  const me = async (browser: HttpClient, from?: From) => {
    const { status, json } = await browser.get('/me', headers(from));
    return status === 200 ? [json.score, ...(json.mismatches as string[])] : status;
  };
  const mismatch = (browser: HttpClient) => ({
    reason: 'mismatch',
    handle: handleOf(idIn(browser.jar.get(COOKIE)!)),
  });

  it('without the option everybody is everybody', async () => {
    const browser = await loggedIn(await node(undefined));
    expect(await me(browser, { address: '203.0.113.1', agent: CHROME_ON_MAC })).toEqual([0]);
    expect(rejected).toEqual([]);
  });

  itByCookie(
    'notices another network and another program, not an update and not a neighbour',
    async () => {
      const app = await node({});
      const browser = await loggedIn(app);
      expect(await me(browser)).toEqual([0]);
      expect(await me(browser, { address: '192.0.2.77', agent: FIREFOX_UPDATED })).toEqual([0]);
      expect(rejected).toEqual([]);
      expect(await me(browser, { address: '192.0.3.10' })).toEqual([0.3, 'address']);
      expect(await me(browser, { agent: CHROME_ON_MAC })).toEqual([0.7, 'userAgent']);
      expect(await me(browser, { address: '198.51.100.1', agent: 'curl/8.5.0' })).toEqual([
        1,
        'userAgent',
        'address',
      ]);
      expect(await me(browser, { agent: '' })).toEqual([0.7, 'userAgent']);
      expect(rejected).toEqual([1, 2, 3, 4].map(() => mismatch(browser)));
      const warnings = app.logger.texts('warn').join('\n');
      expect(warnings).toContain('mismatch');
      expect(warnings).not.toContain('198.51.100.1');
    },
  );

  it.each([
    ['/24', '192.0.2.1', '192.0.2.200', '192.0.3.1'],
    ['/16', '192.0.2.1', '192.0.200.1', '192.1.2.1'],
    ['/64', '2001:db8:1:2::a', '2001:db8:1:2:ffff::1', '2001:db8:1:3::a'],
    ['/48', '2001:db8:1:2::a', '2001:db8:1:9::a', '2001:db8:2:2::a'],
    ['/32,/56', '192.0.2.1', '192.0.2.1', '192.0.2.2'],
    ['/32,/56', '2001:db8:1:2::a', '2001:db8:1:ff::a', '2001:db8:1:100::a'],
    [true, '::ffff:192.0.2.1', '192.0.2.9', '2001:db8:1:2::a'],
    [(address: string) => address.slice(0, 3), '192.0.2.1', '192.9.9.9', '193.0.2.1'],
  ])('address %s: %s is near %s and not near %s', async (address, home, near, far) => {
    const browser = await loggedIn(await node({ address, userAgent: false }), { address: home });
    expect(await me(browser, { address: near, agent: CHROME_ON_MAC })).toEqual([0]);
    expect(await me(browser, { address: far })).toEqual([1, 'address']);
  });

  it("'reauthenticate': guards ask for another login, which binds the session to its new client", async () => {
    const browser = await loggedIn(await node({ onMismatch: 'reauthenticate' }));
    const elsewhere = { address: '198.51.100.1', agent: CHROME_ON_MAC };
    const answer = await browser.get('/me', headers(elsewhere));
    expect(answer.status).toBe(401);
    expect(answer.json).toMatchObject({ code: 'SESSION_STEP_UP_REQUIRED', stepUp: { maxAge: 0 } });
    expect(answer.headers['www-authenticate']).toContain('max_age="0"');
    expect(answer.setCookie).toEqual([]);
    // Where no guard stands, the handler decides by itself.
    expect((await browser.get('/open', headers(elsewhere))).json).toMatchObject({
      principal: 'alice',
      reauthenticate: true,
      score: 1,
    });
    // Its own client goes on.
    expect(await me(browser)).toEqual([0]);
    const again = await browser.post('/login', headers(elsewhere));
    expect(again.json).toEqual({ score: 0, mismatches: [], reauthenticate: false });
    expect(await me(browser, elsewhere)).toEqual([0]);
    expect(await me(browser)).toBe(401);
  });

  itByCookie("'destroy': the session ends for both", async () => {
    const app = await node({ onMismatch: 'destroy' });
    const browser = await loggedIn(app);
    const expected = mismatch(browser);
    const thief = opened.browser(app, browser.jar);
    const answer = await thief.get('/me', headers({ address: '198.51.100.1' }));
    expect(answer.status).toBe(401);
    expect(answer.setCookie.join()).toContain('Max-Age=0');
    expect(rejected).toEqual([expected]);
    expect(await me(browser)).toBe(401);
  });

  it('holds for sessions that are nobodys, too', async () => {
    const app = await node({ onMismatch: 'destroy', address: false });
    const browser = opened.browser(app);
    await browser.post('/visit', headers());
    expect((await browser.get('/open', headers())).json.visits).toBe(1);
    const thief = opened.browser(app, browser.jar);
    expect((await thief.get('/open', headers({ agent: CHROME_ON_MAC }))).json.visits).toBe(
      undefined,
    );
    expect(rejected).toHaveLength(1);
  });

  it('judges nothing about sessions from before it was switched on', async () => {
    const browser = await loggedIn(await node(undefined));
    const app = await node({ onMismatch: 'destroy' });
    const elsewhere = { address: '198.51.100.1' };
    expect(await me(opened.browser(app, browser.jar), elsewhere)).toEqual([0]);
  });

  it('takes nobody who leaves early for somebody else', async () => {
    const app = await node({ onMismatch: 'destroy' });
    const browser = await loggedIn(app);
    const leaving = new AbortController();
    const slow = browser.get('/slow', { ...headers(), signal: leaving.signal });
    await delay(100);
    leaving.abort();
    await expect(slow).rejects.toThrow('aborted');
    await delay(400);
    expect(rejected).toEqual([]);
    expect(await me(browser)).toEqual([0]);
  });

  itInRedis.each([
    ['reauthenticate', 401],
    ['destroy', 503],
  ] as const)(
    "holds while the store does not answer ('%s', onStoreFailure: 'stale')",
    async (onMismatch, status) => {
      const browser = await loggedIn(await node({ onMismatch }, { onStoreFailure: 'stale' }));
      expect(await me(browser)).toEqual([0]);
      await redis.kill();
      expect(await me(browser)).toEqual([0]);
      expect(await me(browser, { address: '198.51.100.1', agent: CHROME_ON_MAC })).toBe(status);
      await redis.run();
    },
  );

  it('gives an application a score for a policy of its own', async () => {
    const app = await node({}, { policy: (session) => session.binding.score < 0.5 });
    const browser = await loggedIn(app);
    expect(await me(browser, { address: '198.51.100.1' })).toEqual([0.3, 'address']);
    expect(await me(browser, { agent: CHROME_ON_MAC })).toBe(403);
  });
});
