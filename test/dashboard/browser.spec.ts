import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { IncomingMessage, Server } from 'node:http';
import type { Browser, Page } from 'playwright-core';
import { SessionService } from 'nestjs-distributed-session';
import { SECRET, until, type AdapterName, type TestApp } from '../support/app.js';
import { CHROMIUM, FAINT_TEXTS, startBrowser, Visitor } from '../support/browser.js';
import { oneOf } from '../support/redis-under-test.js';
import { RedisServer } from '../support/redis-server.js';
import { isAdmin, PAGE, startDashboardApp } from './dashboard-app.js';

/** Pictures are taken if somebody wants to look at them. */
const PICTURES = process.env.SCREENSHOTS;
const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 360, height: 740 };
const HOSTILE = `<img src=x onerror="document.title='broken'">`;

const withBrowser = CHROMIUM ? describe : describe.skip;

withBrowser('the dashboard in a browser', () => {
  let browser: Browser;
  let redis: RedisServer;

  beforeAll(async () => {
    redis = await RedisServer.start();
    browser = await startBrowser();
  }, 60_000);

  afterAll(async () => {
    await browser?.close();
    await redis?.stop();
  });

  describe.each(oneOf<AdapterName>('fastify', 'express'))('on %s', (adapter) => {
    let app: TestApp;
    let url: string;
    let admin: Visitor;
    let page: Page;
    let visitors: Visitor[];
    /** What the server was asked for, and where from, as logs have it. */
    let asked: { url: string; referrer: string | undefined }[];
    /** What the browser may complain about; the test says when it expects it. */
    let expected: RegExp[];

    beforeAll(async () => {
      app = await startDashboardApp({
        adapter,
        session: {
          redis: redis.url,
          secret: SECRET,
          events: { sweepEvery: '1s' },
          nearCache: true,
        },
        dashboard: { allow: isAdmin, refreshEvery: '1s' },
      });
      url = `http://127.0.0.1:${app.port}`;
      const server = app.app.getHttpServer() as Server;
      server.on('request', (request: IncomingMessage) =>
        asked.push({ url: request.url!, referrer: request.headers.referer }),
      );
    });
    afterAll(() => app?.close());

    const sessions = () => app.app.get(SessionService);

    const open = async (name: string, more: object = {}, options = {}): Promise<Visitor> => {
      const visitor = await Visitor.open(browser, { viewport: WIDE, ...options });
      visitors.push(visitor);
      const { request } = visitor.page.context();
      // After an outage it takes a moment until the store is asked again.
      await until(`${name} is logged in`, async () => {
        const answer = await request.post(`${url}/login`, { data: { name, ...more } });
        return answer.ok();
      });
      return visitor;
    };

    beforeEach(async () => {
      visitors = [];
      expected = [];
      asked = [];
      admin = await open('root', { roles: ['admin'] });
      page = admin.page;
    });

    const leave = async () => {
      const unexpected = visitors
        .flatMap(({ complaints }) => complaints)
        .filter((text) => !expected.some((one) => one.test(text)));
      for (const visitor of visitors) await visitor.close();
      if (!redis.isRunning) await redis.run();
      const client = redis.connect();
      await client.flushall();
      client.disconnect();
      expect(unexpected).toEqual([]);
    };
    /** Whatever a test does: neither addresses nor referrers tell of whom. */
    const tellNobody = () => {
      const urls = asked.map((one) => decodeURIComponent(one.url));
      expect(urls.filter((one) => one.startsWith(PAGE))).not.toEqual([]);
      expect(urls.filter((one) => /alice|bob|onerror/.test(one))).toEqual([]);
      const referrers = asked.map(({ referrer }) => referrer);
      expect(referrers.filter((one) => one?.includes(PAGE))).toEqual([]);
    };
    afterEach(leave);
    afterEach(tellNobody);

    /** Fails if the page asks anybody else for anything. */
    const watchRequests = () => {
      const elsewhere: string[] = [];
      page.on('request', (request) => {
        const to = request.url();
        if (!to.startsWith(url) && !to.startsWith('data:')) elsewhere.push(to);
      });
      return elsewhere;
    };

    const show = async (principal?: string) => {
      await page.goto(url + PAGE);
      if (principal === undefined) return;
      await page.getByLabel('Principal', { exact: true }).fill(principal);
      await page.getByRole('button', { name: 'Show sessions' }).click();
      await page.getByRole('heading', { name: principal }).waitFor();
    };
    const says = (text: string | RegExp) => page.getByText(text).first().waitFor();
    const rows = () => page.locator('tr[data-handle]');
    const focused = () =>
      page.evaluate<string>(
        "(document.activeElement.id || document.activeElement.tagName) + ' ' + document.activeElement.textContent.trim().replace(/\\s+/g, ' ')",
      );
    const press = async (...keys: string[]) => {
      for (const key of keys) await page.keyboard.press(key);
    };
    const picture = async (name: string) => {
      if (PICTURES) await page.screenshot({ path: `${PICTURES}/${name}.png`, fullPage: true });
    };

    it('a session that is ended there is over at once: the other browser is logged out', async () => {
      const elsewhere = watchRequests();
      const alice = await open('alice', { label: 'Till' });
      await alice.page.goto(`${url}/page`);
      const stays = alice.page.evaluate<string>(
        "new Promise((resolve) => { const source = new EventSource('/stay'); source.onopen = () => { document.title = 'open'; }; source.onerror = () => { source.close(); resolve('closed'); }; })",
      );
      await until('the stream of alice is open', async () => (await alice.page.title()) === 'open');

      await show('alice');
      expect(await rows().count()).toBe(1);
      await page.getByRole('button', { name: 'End the session of alice: Till' }).click();
      await says('The session is ended.');
      expect(await stays).toBe('closed');
      const { status } = await alice.page.evaluate<{ status: number }>(
        "fetch('/me').then(({ status }) => ({ status }))",
      );
      expect(status).toBe(401);
      expected = [/status of 401/];

      // The list is that of who was searched for, as it is by now; the focus is where one goes on.
      await until('no row is left', async () => (await rows().count()) === 0);
      expect(await focused()).toMatch(/^principal-0 alice/);
      const told = page.getByRole('log').getByRole('listitem').filter({ hasText: 'revoked' });
      await told.first().waitFor();
      expect(await told.first().textContent()).toMatch(/alice\s+· Till\s+· named/);
      expect(elsewhere).toEqual([]);
    });

    it('all of somebody’s are ended, after it was asked; others see it in their lists', async () => {
      await sessions().create({ principal: 'alice' });
      await open('alice');
      await show('alice');
      expect(await rows().count()).toBe(2);
      await page.getByText('End all sessions of alice …').click();
      await page.getByRole('button', { name: 'End 2 sessions of alice' }).click();
      await says('2 sessions are ended.');
      await until('no row is left', async () => (await rows().count()) === 0);
      await says('0 sessions');
      expect(await page.getByRole('button', { name: /^End/ }).count()).toBe(0);
    });

    it('events and figures appear as they happen, and what is open or has the focus stays so', async () => {
      await open('alice', { label: 'Till' });
      await show('alice');
      await page.getByText('End all sessions of alice …').click();
      const end = page.getByRole('button', { name: 'End the session of alice: Till' });
      await end.focus();
      const phone = await sessions().create({ principal: 'alice', label: 'Phone' });
      await until('the phone is in the list', async () => (await rows().count()) === 2);
      expect(await focused()).toMatch(/^end-\S+ End the session of alice: Till$/);
      expect(await page.locator('details').getAttribute('open')).not.toBeNull();
      const log = page.getByRole('log').getByRole('listitem');
      await log.filter({ hasText: 'Phone' }).filter({ hasText: 'authenticated' }).waitFor();

      // Somebody else ends it.
      await sessions().revoke(phone.handle);
      await until('the phone is gone', async () => (await rows().count()) === 1);
      await until(
        'three are alive',
        async () => (await page.locator('#live').textContent()) === '2',
        {
          within: 15_000,
        },
      );
      await page.locator('#latency-plot polyline').waitFor();
      await says(/^lately \d/);

      await page.getByRole('button', { name: 'Pause' }).click();
      const before = await log.count();
      await sessions().create({ principal: 'bob' });
      await says(/^\d+ wait\.$/);
      expect(await log.count()).toBe(before);
      await page.getByRole('button', { name: 'Pause' }).click();
      await log.filter({ hasText: 'bob' }).first().waitFor();
    });

    it('an address with a search can be loaded again, and says so of no other login', async () => {
      await sessions().create({ principal: 'alice', label: 'Till' });
      await show('alice');
      const address = page.url();
      expect(address).toMatch(/\?of=[\w-]+$/);
      await page.reload();
      await says('Till');
      await page.getByRole('button', { name: 'End the session of alice: Till' }).click();
      await says('The session is ended.');
      await page.reload();
      await says('0 sessions');
      const rita = await open('rita', { roles: ['admin'] });
      await rita.page.goto(address);
      await rita.page.getByText('This address stands for a search of another login').waitFor();
      expect(await rita.page.locator('#people').textContent()).not.toContain('alice');
      expect(await rita.page.getByLabel('Principal', { exact: true }).inputValue()).toBe('');
    });

    it('works without a script, with the same addresses', async () => {
      await sessions().create({ principal: 'alice', label: 'Till' });
      await sessions().create({ principal: 'alice', label: 'Phone' });
      const plain = await open('root', { roles: ['admin'] }, { javaScriptEnabled: false });
      ({ page } = plain);
      await show('alice');
      expect(await rows().count()).toBe(2);
      await page.getByRole('button', { name: 'End the session of alice: Till' }).click();
      await says('The session is ended.');
      expect(await rows().count()).toBe(1);
      expect(page.url()).toMatch(/\?of=[\w-]+&done=ended$/);
      await page.reload();
      expect(await rows().count()).toBe(1);
    });

    it('is used with the keyboard alone', async () => {
      await sessions().create({ principal: 'alice', label: 'Till' });
      await sessions().create({ principal: 'alice', label: 'Phone' });
      await page.goto(url + PAGE);
      await press('Tab');
      expect(await focused()).toContain('Skip to principals');
      await press('Enter', 'Tab');
      expect(await focused()).toMatch(/^principal/);
      await page.keyboard.type('alice');
      await press('Enter');
      await page.getByRole('heading', { name: 'alice' }).waitFor();
      await press('Tab', 'Enter');
      for (let i = 0; i < 5 && !(await focused()).startsWith('end-'); i++) await press('Tab');
      expect(await focused()).toMatch(/^end-/);
      const outline = "getComputedStyle(document.activeElement).outlineStyle !== 'none'";
      expect(await page.evaluate(outline)).toBe(true);
      await press('Enter');
      await says('The session is ended.');
      await until('one row is left', async () => (await rows().count()) === 1);
      expect(await focused()).toMatch(/^principal-0 alice/);
      await press('Tab', 'Tab', 'Enter', 'Tab', 'Enter');
      await says('1 session is ended.');
      expect(await sessions().forPrincipal('alice').count()).toBe(0);
    });

    it('names are names, whatever stands in them', async () => {
      await sessions().create({ principal: HOSTILE, label: HOSTILE });
      await page.goto(`${url}${PAGE}?browse=1`);
      await says(HOSTILE);
      await sessions().create({ principal: HOSTILE, label: HOSTILE });
      const log = page.getByRole('log').getByRole('listitem').filter({ hasText: HOSTILE });
      await until('the event is shown', async () => (await log.count()) >= 2);
      expect(await page.locator('img').count()).toBe(0);
      expect(await page.title()).toBe('Sessions');
      await page
        .getByRole('button', { name: /End the session of <img/ })
        .first()
        .click();
      await says('The session is ended.');
    });

    it('of a list that was walked for, rows that are over are marked', async () => {
      const session = await sessions().create({ principal: 'alice', label: 'Till' });
      await page.goto(`${url}${PAGE}?browse=1`);
      await says('Till');
      await sessions().revoke(session.handle);
      const row = page.locator('tr.ended');
      await row.waitFor();
      expect(await row.getByRole('button').isDisabled()).toBe(true);
    });

    it('an outage is told and over again, and nobody is signed out by it', async () => {
      expected = [/status of 503/, /ERR_|net::/];
      await open('alice');
      await show('alice');
      await redis.kill();
      await page.getByRole('alert').getByText('does not answer').waitFor();
      await page.getByRole('button', { name: /^End the session/ }).click();
      await says(/was not confirmed|does not answer/);
      await picture(`${adapter}-down`);
      await page.goto(url + PAGE);
      await page.getByRole('link', { name: 'Try again' }).waitFor();
      await picture(`${adapter}-down-page`);
      await redis.run();
    });

    it('who is signed out is told', async () => {
      expected = [/status of 401/];
      await show();
      await sessions().forPrincipal('root').revokeAll();
      await says(/^You are signed out/);
    });

    it('can be read: in light and dark, narrow and wide', async () => {
      await open('alice', { label: 'Till in the front room', rememberMe: true });
      await sessions().create({
        principal: 'alice',
        clientKind: 'mobile',
        client: { browser: 'Firefox 145', os: 'Android', address: '2001:db8:85a3::8a2e:370:7334' },
      });
      await sessions().create({ principal: 'bob.with.a.very.long.name@department.example.com' });
      for (const colorScheme of ['light', 'dark'] as const) {
        for (const [size, viewport] of [
          ['wide', WIDE],
          ['narrow', NARROW],
        ] as const) {
          await page.emulateMedia({ colorScheme, reducedMotion: 'reduce' });
          await page.setViewportSize(viewport);
          await page.goto(`${url}${PAGE}?browse=1`);
          await page.locator('#latency-plot polyline').waitFor();
          await picture(`${adapter}-${colorScheme}-${size}`);
          expect(await page.evaluate(FAINT_TEXTS)).toEqual([]);
          const width = 'document.documentElement.scrollWidth';
          expect(await page.evaluate<number>(width)).toBeLessThanOrEqual(viewport.width);
        }
      }
      await show('root');
      await page.locator('summary').click();
      await picture(`${adapter}-dark-narrow-search`);
      expect(await page.evaluate(FAINT_TEXTS)).toEqual([]);
    });
  });
});
