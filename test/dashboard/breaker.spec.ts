import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import type { Browser } from 'playwright-core';
import { ADAPTERS, SECRET, until, type TestApp } from '../support/app.js';
import { CHROMIUM, startBrowser, Visitor } from '../support/browser.js';
import { Opened } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';
import {
  LocalGuard,
  login,
  openBreaker,
  OPERATOR,
  PAGE,
  startDashboardApp,
} from './dashboard-app.js';

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
}, 60_000);
afterAll(() => redis?.stop());

const withBrowser = CHROMIUM ? describe : describe.skip;

const opened = new Opened();
afterEach(() => opened.close());
afterEach(async () => {
  redis.signal('SIGCONT');
  if (!redis.isRunning) await redis.run();
});

describe.each(ADAPTERS)('the dashboard on %s shows an outage', (adapter) => {
  const start = async (): Promise<TestApp> =>
    opened.add(
      await startDashboardApp({
        adapter,
        session: { redis: redis.url, secret: SECRET },
        dashboard: { guards: [LocalGuard], refreshEvery: '1s' },
      }),
    );
  const look = async (app: TestApp) => {
    const { text } = await opened.browser(app).get(PAGE, { headers: OPERATOR });
    const shown = (id: string) => new RegExp(`<span id="${id}">([^<]*)</span`).exec(text)?.[1];
    return { breaker: shown('breaker'), pending: shown('pending'), late: shown('late') };
  };
  const breakerOf = async (app: TestApp) => {
    const answer = await opened.browser(app).get(`${PAGE}/figures`, { headers: OPERATOR });
    return answer.json.breaker as string;
  };

  const standStill = (app: TestApp) => openBreaker(redis, () => breakerOf(app));

  it('the breaker opens when Redis stops, and closes when it goes on', async () => {
    const app = await start();
    expect(await look(app)).toMatchObject({ breaker: 'closed' });
    await standStill(app);
    await until('the page says open', async () => (await look(app)).breaker === 'open');
    expect(await breakerOf(app)).toBe('open');
    redis.signal('SIGCONT');
    await until('the page says closed', async () => (await look(app)).breaker === 'closed');
    expect(await breakerOf(app)).toBe('closed');
  });

  it('the breaker is half-open while one call finds out whether the store is back', async () => {
    const app = await start();
    // Only as long as its connection stands a call can wait.
    const isSeen = async () => {
      await standStill(app);
      for (let i = 0; i < 8; i++) {
        const seen = await Promise.all([breakerOf(app), breakerOf(app), delay(50)]);
        if (seen.includes('half-open')) return true;
      }
      redis.signal('SIGCONT');
      await until('it is closed', async () => (await breakerOf(app)) === 'closed');
      return false;
    };
    await until('one of two sees it half-open', isSeen, { within: 40_000 });
    redis.signal('SIGCONT');
    await until('it is closed', async () => (await breakerOf(app)) === 'closed');
  }, 60_000);

  it('logouts that the store has not confirmed, until it has', async () => {
    const app = await start();
    const alice = opened.browser(app);
    await login(alice, 'alice');
    await redis.kill();
    expect((await alice.post('/logout')).status).toBe(503);
    expect(await look(app)).toMatchObject({ pending: '1', late: '0' });
    await redis.run();
    await until('it is confirmed', async () => (await look(app)).pending === '0', {
      within: 15_000,
    });
    expect(await look(app)).toMatchObject({ late: '1' });
  });

  withBrowser('in a browser', () => {
    let browser: Browser;
    beforeAll(async () => {
      browser = await startBrowser();
    }, 60_000);
    afterAll(() => browser?.close());

    it('before one’s eyes, as the store stops and goes on', async () => {
      const app = await start();
      const operator = await Visitor.open(browser, { extraHTTPHeaders: OPERATOR });
      opened.add(operator);
      const { page, complaints } = operator;
      await page.goto(`http://127.0.0.1:${app.port}${PAGE}`);
      const says = (id: string, what: string) =>
        until(
          `${id} says ${what}`,
          async () => (await page.locator(`#${id}`).textContent()) === what,
          {
            within: 20_000,
          },
        );
      await says('breaker', 'closed');
      await standStill(app);
      await says('breaker', 'open');
      await says('opened', '1');
      await says('latency', '–');
      redis.signal('SIGCONT');
      await says('breaker', 'closed');
      expect(complaints).toEqual([]);
    }, 60_000);
  });
});
