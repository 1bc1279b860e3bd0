import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Browser, BrowserContextOptions, Page } from 'playwright-core';
import { ADAPTERS, until } from '../support/app.js';
import { AppProcess } from '../support/app-process.js';
import { CHROMIUM, FAINT_TEXTS, startBrowser, Visitor } from '../support/browser.js';
import { freePort, RedisServer } from '../support/redis-server.js';
import { oneOf } from '../support/redis-under-test.js';

/** Pictures are taken if somebody wants to look at them. */
const PICTURES = process.env.SCREENSHOTS;
const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 360, height: 740 };
const FIREFOX = 'Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:145.0) Gecko/20100101 Firefox/145.0';
const PASSWORDS = { alice: 'wonderland', bob: 'builder', admin: 'changeit' };
const SESSION_SECRET = 'every-node-has-to-be-told-the-same-one';
/** Milliseconds in which what happens elsewhere is seen. */
const AT_ONCE = 1_000;

const NEW_FIREFOX = /^A new device: Firefox 145 on Windows/;

type User = keyof typeof PASSWORDS;

const withBrowser = CHROMIUM ? describe : describe.skip;

withBrowser('what the page hears by itself, over two nodes', () => {
  let browser: Browser;
  let redis: RedisServer;
  let nodes: AppProcess[];
  let visitors: Visitor[];
  /** What browsers may complain about in the course of a test. */
  let expected: RegExp[];

  const start = (adapter: string, more = {}) =>
    AppProcess.start({ ADAPTER: adapter, REDIS_URL: redis.url, SESSION_SECRET, ...more });

  beforeAll(async () => {
    redis = await RedisServer.start();
    browser = await startBrowser();
    nodes = await Promise.all(ADAPTERS.map((adapter) => start(adapter)));
  }, 180_000);

  afterAll(async () => {
    await browser?.close();
    await Promise.all(nodes?.map((node) => node.stop()) ?? []);
    await redis?.stop();
  });

  beforeEach(async () => {
    visitors = [];
    expected = [];
    const client = redis.connect();
    await client.flushall();
    client.disconnect();
  });

  const leave = async () => {
    const complaints = visitors.flatMap((visitor) => visitor.complaints);
    for (const visitor of visitors) await visitor.close();
    const unexpected = complaints.filter((text) => !expected.some((re) => re.test(text)));
    expect(unexpected).toEqual([]);
  };
  afterEach(leave);

  const enter = async (page: Page, node: number): Promise<Page> => {
    await page.goto(nodes[node]!.url);
    await page.getByRole('heading', { name: 'Enamel kettle' }).waitFor();
    return page;
  };
  /** Somebody at a device of their own. */
  const visit = async (node: number, options: BrowserContextOptions = {}): Promise<Visitor> => {
    const visitor = await Visitor.open(browser, { viewport: WIDE, ...options });
    visitors.push(visitor);
    await enter(visitor.page, node);
    return visitor;
  };
  const logIn = async (page: Page, name: User = 'alice') => {
    await page.getByLabel('User name').fill(name);
    await page.getByLabel('Password').fill(PASSWORDS[name]);
    await page.getByRole('button', { name: 'Log in', exact: true }).click();
    await page.getByText(`Logged in as ${name}.`).waitFor();
  };
  const user = async (node: number, name: User = 'alice', options: BrowserContextOptions = {}) => {
    const visitor = await visit(node, options);
    await logIn(visitor.page, name);
    return visitor;
  };

  const button = (page: Page, name: string | RegExp) =>
    page.getByRole('button', { name, exact: true });
  const add = (page: Page, product: string) => button(page, `Add to cart: ${product}`).click();
  const news = (page: Page) => page.getByRole('list', { name: 'News' }).getByRole('listitem');
  const devices = (page: Page) =>
    page.getByRole('region', { name: 'Your devices' }).getByRole('listitem');
  const sees = (page: Page, text: string | RegExp) =>
    page.getByText(text).first().waitFor({ timeout: AT_ONCE });
  const focused = (page: Page) =>
    page.evaluate('document.activeElement.id || document.activeElement.ariaLabel');
  /** The socket of a page is open, and knows of the cart. */
  const hears = async (page: Page, action: () => Promise<unknown>) => {
    const told = page.waitForEvent('websocket').then((socket) =>
      socket.waitForEvent('framereceived', {
        predicate: ({ payload }) => String(payload).includes('"cart"'),
      }),
    );
    await Promise.all([told, action()]);
  };

  describe.each(oneOf<[number, number]>([0, 1], [1, 0]))(
    `a tab of node %i, beside one of node %i`,
    (here, there) => {
      it('has what the other one puts into the cart, before the login and after it', async () => {
        const visitor = await visit(here);
        const { page } = visitor;
        await hears(page, () => add(page, 'Stoneware mug'));
        const tab = await visitor.tab();
        await hears(tab, () => enter(tab, there));
        await sees(tab, '1 × Stoneware mug');

        await add(tab, 'Green tea');
        await sees(page, '1 × Green tea');
        await sees(page, 'Total €21.10');
        await button(page, 'Remove from cart: Stoneware mug').click();
        await tab.getByText('1 × Stoneware mug').waitFor({ state: 'detached', timeout: AT_ONCE });

        await hears(page, () => logIn(tab));
        expect(await page.locator('#who').textContent()).toBe('alice');
        expect(await page.getByLabel('Password').isVisible()).toBe(false);
        expect(await news(page).count()).toBe(0);
        await add(tab, 'Forest honey');
        await sees(page, '1 × Forest honey');
        await add(page, 'Forest honey');
        await sees(tab, '2 × Forest honey');
      });

      it('is logged out with the other one', async () => {
        const visitor = await user(here);
        const { page } = visitor;
        const tab = await visitor.tab();
        await hears(tab, () => enter(tab, there));
        await tab.getByLabel('E-mail').focus();
        await button(page, 'Log out').click();
        await sees(tab, 'You were logged out in another tab. Please log in again.');
        expect(await tab.getByLabel('User name').isVisible()).toBe(true);
        expect(await focused(tab)).toBe('username');
        expect(await devices(tab).count()).toBe(0);
        // Who has done it knows.
        expect(await news(page).count()).toBe(0);

        await logIn(tab);
        expect(await news(tab).count()).toBe(0);
      });
    },
  );

  it.each([
    [0, 1],
    [1, 0],
  ])('a user of node %i is told of a login on node %i, and can end it', async (here, there) => {
    const { page } = await user(here);
    await devices(page).first().waitFor();
    const { page: other } = await user(there, 'alice', { userAgent: FIREFOX });
    await sees(page, NEW_FIREFOX);
    expect(await devices(page).count()).toBe(2);
    // The newcomer knows of the login itself.
    expect(await news(other).count()).toBe(0);

    await button(page, /^Sign out the new device/).click();
    await sees(other, 'You were logged out on another device. Please log in again.');
    expect(await other.getByLabel('User name').isVisible()).toBe(true);
    await sees(page, /^Firefox 145 on Windows.* is signed out\.$/);
    expect(await news(page).count()).toBe(0);
    expect(await devices(page).count()).toBe(1);
  });

  it('a list of devices follows names, logouts and proofs of others, which are no news', async () => {
    const { page } = await user(0);
    await devices(page).first().waitFor();
    const { page: other } = await user(1, 'alice', { userAgent: FIREFOX });
    await sees(page, NEW_FIREFOX);
    await button(page, /^Dismiss: A new device/).click();
    expect(await focused(page)).toBe('products-title');

    await other.getByLabel('Name of this device').fill('Till');
    await button(other, 'Save name').click();
    await devices(page).getByText('Till').waitFor({ timeout: AT_ONCE });
    // The same device under another handle.
    const login = { username: 'alice', password: PASSWORDS.alice };
    await other.request.post(`${nodes[1]!.url}/auth/login`, { data: login });
    await until('it is known under that', async () => {
      const [first] = await devices(page).all();
      const { devices: stored } = (await (
        await page.request.get(`${nodes[0]!.url}/devices`)
      ).json()) as { devices: { handle: string }[] };
      return (await first?.getAttribute('data-key')) === stored[0]?.handle;
    });
    await button(other, 'Log out').click();
    await devices(page).nth(1).waitFor({ state: 'detached', timeout: AT_ONCE });
    expect(await news(page).count()).toBe(0);
  });

  it('says who ended it: an administrator', async () => {
    const { page } = await user(0);
    const { page: admin } = await user(1, 'admin');
    const answer = await admin.request.delete(`${nodes[1]!.url}/admin/users/alice/sessions`);
    expect(await answer.json()).toEqual({ revoked: 1 });
    await sees(page, 'You were logged out by an administrator. Please log in again.');
    expect(await page.getByLabel('User name').isVisible()).toBe(true);
    expect(await admin.locator('#who').textContent()).toBe('admin (admin)');
  });

  it('shows a role at once that an administrator gives', async () => {
    const { page } = await user(0);
    const { page: admin } = await user(1, 'admin');
    const roles = { data: { roles: ['clerk'] } };
    await admin.request.put(`${nodes[1]!.url}/admin/users/alice/roles`, roles);
    await sees(page, 'alice (clerk)');
    await admin.request.put(`${nodes[1]!.url}/admin/users/alice/roles`, { data: { roles: [] } });
  });

  it('hears nothing of another user, whatever they do', async () => {
    const { page: bob } = await user(0, 'bob');
    await devices(bob).first().waitFor();
    const heard: string[] = [];
    const session = await bob.context().newCDPSession(bob);
    await session.send('Network.enable');
    session.on('Network.eventSourceMessageReceived', ({ data, eventName }) => {
      if (eventName !== 'heartbeat') heard.push(data);
    });
    session.on('Network.webSocketFrameReceived', ({ response }) =>
      heard.push(response.payloadData),
    );

    const { page: alice } = await user(0);
    await add(alice, 'Stoneware mug');
    await sees(alice, '1 × Stoneware mug');
    const { page: other } = await user(1, 'alice', { userAgent: FIREFOX });
    await sees(alice, 'A new device');
    await button(alice, 'Sign out all other devices').click();
    await sees(other, 'You were logged out');

    // Of himself he does hear; by then all of that would have come.
    await user(1, 'bob', { userAgent: FIREFOX });
    await sees(bob, NEW_FIREFOX);
    expect(heard.length).toBeGreaterThan(0);
    expect(heard.filter((text) => !text.includes('"principal":"bob"'))).toEqual([]);
    expect(await news(bob).count()).toBe(1);
    await sees(bob, 'Nothing in it yet.');
  });

  it('goes on by itself when its node was away, and then knows what it missed', async () => {
    const port = await freePort();
    const node = await start('express', { PORT: `${port}` });
    nodes.push(node);
    const { page } = await user(2);
    await devices(page).first().waitFor();
    expected = [/ERR_CONNECTION_REFUSED/];
    expect(await node.stop()).toBe(0);
    await page.context().request.post(`${nodes[1]!.url}/cart/items`, {
      data: { sku: 'tea', qty: 1 },
    });
    await user(1, 'alice', { userAgent: FIREFOX });
    nodes[2] = await start('fastify', { PORT: `${port}` });
    await page.getByText('1 × Green tea').waitFor({ timeout: 20_000 });
    await page.getByText(NEW_FIREFOX).waitFor();
    await nodes.pop()!.stop();
  }, 60_000);

  it('a tab that nobody looks at keeps no stream open, and learns what was new when it is', async () => {
    const { page } = await user(0);
    await devices(page).first().waitFor();
    const look = (hidden: boolean) =>
      page.evaluate(`Object.defineProperty(document, 'hidden', { configurable: true, value: ${hidden} });
        document.dispatchEvent(new Event('visibilitychange')) && undefined`);
    const closed = page.waitForEvent('requestfailed', (request) =>
      request.url().endsWith('/events'),
    );
    await look(true);
    await closed;
    await user(1, 'alice', { userAgent: FIREFOX });
    expect(await news(page).count()).toBe(0);
    const opened = page.waitForRequest(/events$/);
    await look(false);
    await opened;
    await sees(page, NEW_FIREFOX);
  });

  it.each([
    { colorScheme: 'light', viewport: WIDE },
    { colorScheme: 'dark', viewport: WIDE },
    { colorScheme: 'light', viewport: NARROW },
    { colorScheme: 'dark', viewport: NARROW },
  ] as const)('$colorScheme at $viewport.width px: legible, and within reach', async (options) => {
    const { page } = await user(0, 'alice', options);
    await devices(page).first().waitFor();
    const name = `${options.colorScheme}-${options.viewport.width}`;
    const isLegible = async (what: string) => {
      if (PICTURES) await page.screenshot({ path: `${PICTURES}/live-${name}-${what}.png` });
      expect(await page.evaluate(FAINT_TEXTS)).toEqual([]);
      const used = await page.evaluate('document.documentElement.scrollWidth');
      expect(used).toBeLessThanOrEqual(options.viewport.width);
    };
    const { page: other } = await user(1);
    await sees(page, 'A new device: Chrome');
    await user(1, 'alice', { userAgent: FIREFOX });
    await sees(page, NEW_FIREFOX);
    await isLegible('devices');

    // By keyboard: one is ended, the other may stay.
    await button(page, 'Log out').focus();
    await page.keyboard.press('Tab');
    expect(await focused(page)).toMatch(/^Sign out the new device: Firefox/);
    await page.keyboard.press('Enter');
    await sees(page, /^Firefox 145 on Windows.* is signed out\.$/);
    await button(page, /^Dismiss: A new device: Chrome/).focus();
    await page.keyboard.press('Enter');
    expect(await news(page).count()).toBe(0);
    expect(await focused(page)).toBe('products-title');

    await button(other, 'Sign out all other devices').click();
    await sees(page, 'You were logged out on another device.');
    await isLegible('logged-out');
  });
});
