import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Browser, Page } from 'playwright-core';
import { ADAPTERS } from '../support/app.js';
import { AppProcess } from '../support/app-process.js';
import { CHROMIUM, startBrowser, Visitor } from '../support/browser.js';
import { RedisServer } from '../support/redis-server.js';

/** Pictures are taken if somebody wants to look at them. */
const PICTURES = process.env.SCREENSHOTS;
const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 360, height: 740 };

const withBrowser = CHROMIUM ? describe : describe.skip;

withBrowser('the page in a browser', () => {
  let browser: Browser;
  let redis: RedisServer;
  let visitor: Visitor;
  let page: Page;
  /** What the browser may complain about in the course of a test; the test says when it expects it. */
  let expected: RegExp[];

  beforeAll(async () => {
    redis = await RedisServer.start();
    browser = await startBrowser();
  }, 60_000);

  afterAll(async () => {
    await browser?.close();
    await redis?.stop();
  });

  const visit = async (app: AppProcess, options = {}) => {
    visitor = await Visitor.open(browser, { viewport: WIDE, ...options });
    page = visitor.page;
    expected = [];
    await page.goto(app.url);
    await page.getByRole('heading', { name: 'Enamel kettle' }).waitFor();
  };

  const leave = async () => {
    const unexpected = visitor.complaints.filter((text) => !expected.some((re) => re.test(text)));
    await visitor.close();
    expect(unexpected).toEqual([]);
  };

  const button = (name: string | RegExp) => page.getByRole('button', { name, exact: true });
  const error = () => page.getByRole('alert');
  const status = () => page.getByRole('status');
  const cartItems = () => page.getByRole('region', { name: 'Cart' }).getByRole('listitem');
  const says = async (text: string | RegExp) => {
    await page.getByText(text).first().waitFor();
  };

  const logIn = async (username = 'alice', password = 'wonderland') => {
    await page.getByLabel('User name').fill(username);
    await page.getByLabel('Password').fill(password);
    await button('Log in').click();
  };

  const picture = async (name: string) => {
    if (PICTURES) await page.screenshot({ path: `${PICTURES}/${name}.png`, fullPage: true });
  };

  describe.each(ADAPTERS)('on %s', (adapter) => {
    let app: AppProcess;

    beforeAll(async () => {
      app = await AppProcess.start({ ADAPTER: adapter, REDIS_URL: redis.url });
    }, 180_000);
    afterAll(() => app?.stop());
    beforeEach(() => visit(app));
    afterEach(leave);

    it('a visitor fills the cart, logs in, reloads, removes, logs out', async () => {
      expect(await page.title()).toBe('Corner shop');
      await says('Nothing in it yet.');

      await button('Add to cart: Stoneware mug').click();
      await says('Stoneware mug is in the cart.');
      await says(/Session ends in 2\d:\d\d|Session ends in 30:00/);
      await button('Add to cart: Stoneware mug').click();
      await says('2 × Stoneware mug');

      await logIn();
      await status().getByText('Logged in as alice.').waitFor();
      expect(await page.locator('#who').textContent()).toBe('alice');
      expect(await page.getByLabel('Password').isVisible()).toBe(false);
      await button('Add to cart: Green tea').click();
      await says('1 × Green tea');
      await says('Total €33.60');

      await page.reload();
      await says('2 × Stoneware mug');
      expect(await page.locator('#who').textContent()).toBe('alice');
      expect(await cartItems().count()).toBe(2);

      await button('Remove from cart: Stoneware mug').click();
      await says('Stoneware mug was removed from the cart.');
      expect(await cartItems().count()).toBe(1);
      await page.reload();
      await says('1 × Green tea');
      expect(await cartItems().count()).toBe(1);

      await button('Log out').click();
      await says('Logged out.');
      await says('Nothing in it yet.');
      expect(await page.getByLabel('Password').isVisible()).toBe(true);
      expect(await page.context().cookies()).toEqual([]);
      await page.reload();
      await says('Nothing in it yet.');
    });

    it('a wrong password is told, and the form is ready for another try', async () => {
      expected = [/status of 401/];
      await logIn('alice', 'builder');
      await says('Wrong user name or password.');
      expect(await error().textContent()).toBe('Wrong user name or password.');
      const field = page.getByLabel('Password');
      expect(await field.getAttribute('aria-invalid')).toBe('true');
      expect(await page.evaluate('document.activeElement.id')).toBe('password');
      expect(await page.context().cookies()).toEqual([]);

      await page.keyboard.type('wonderland');
      await page.keyboard.press('Enter');
      await says('Logged in as alice.');
      expect(await error().textContent()).toBe('');
    });

    it('scripts of the page cannot read the cookie', async () => {
      await logIn('admin', 'changeit');
      await says('Logged in as admin.');
      expect(await page.locator('#who').textContent()).toBe('admin (admin)');
      expect(await page.evaluate('document.cookie')).toBe('');
      const [cookie] = await page.context().cookies();
      expect(cookie).toMatchObject({ name: 'session', httpOnly: true, sameSite: 'Lax' });
    });

    it('a logout in another tab is noticed when the tab is looked at again', async () => {
      await logIn();
      await says('Logged in as alice.');
      await page.context().request.post(`${app.url}/auth/logout`);
      await page.evaluate("document.dispatchEvent(new Event('visibilitychange')) && undefined");
      await says('Your session was ended elsewhere. Please log in again.');
      expect(await page.getByLabel('Password').isVisible()).toBe(true);
    });
  });

  describe('what the visitor is told', () => {
    let app: AppProcess;
    let hurried: AppProcess;

    beforeAll(async () => {
      app = await AppProcess.start({ REDIS_URL: redis.url });
      hurried = await AppProcess.start({ REDIS_URL: redis.url, IDLE_TIMEOUT: '6s' });
    }, 180_000);
    afterAll(() => Promise.all([app?.stop(), hurried?.stop()]));
    afterEach(leave);

    it('that the session is about to end, that it is extended, and that it has expired', async () => {
      await visit(hurried);
      await logIn();
      await says(/^Your session ends in less than a minute/);
      await button('Extend').click();
      await says(/^Your session ends in 0:0[1-6]\.$/);
      await says('Your session has expired. Please log in again.');
      expect(await page.getByLabel('Password').isVisible()).toBe(true);
      expect(await page.locator('#session').isVisible()).toBe(false);
      expect(await page.context().cookies()).toEqual([]);
    });

    it('that the store is down, without being logged out', async () => {
      await visit(app);
      expected = [/status of 503/];
      await logIn();
      await says('Logged in as alice.');
      redis.signal('SIGSTOP');
      try {
        await button('Add to cart: Green tea').click();
        await says(/cannot reach its session store/);
        expect(await error().textContent()).toContain('try again shortly');
        expect(await page.locator('#who').textContent()).toBe('alice');
        expect(await page.context().cookies()).toHaveLength(1);
      } finally {
        redis.signal('SIGCONT');
      }
    });

    it('that the shop cannot be reached', async () => {
      await visit(app);
      expected = [/ERR_INTERNET_DISCONNECTED/];
      await page.context().setOffline(true);
      await button('Add to cart: Green tea').click();
      await says('The shop cannot be reached. Check your connection and try again.');
      await page.context().setOffline(false);
      await button('Add to cart: Green tea').click();
      await says('1 × Green tea');
      expect(await error().textContent()).toBe('');
    });
  });

  describe('how it looks and handles', () => {
    let app: AppProcess;

    beforeAll(async () => {
      app = await AppProcess.start({ REDIS_URL: redis.url });
    }, 180_000);
    afterAll(() => app?.stop());
    afterEach(leave);

    it('everything can be done by keyboard, and the focus is never lost', async () => {
      await visit(app);
      const focused = () =>
        page.evaluate(
          `(({ ariaLabel, id, textContent }) => ariaLabel ?? (id || textContent))(document.activeElement)`,
        );
      const tabTo = async (name: string) => {
        for (let i = 0; i < 30; i++) {
          await page.keyboard.press('Tab');
          if ((await focused()) === name) return;
        }
        throw new Error(`the keyboard does not reach ${name}`);
      };
      await page.keyboard.press('Tab');
      expect(await focused()).toBe('Skip to the products');
      await page.keyboard.press('Enter');
      await tabTo('Add to cart: Enamel kettle');
      await page.keyboard.press('Enter');
      await says('1 × Enamel kettle');
      await tabTo('Add to cart: Green tea');
      await page.keyboard.press('Enter');
      await says('1 × Green tea');
      await tabTo('Remove from cart: Enamel kettle');
      await page.keyboard.press('Enter');
      await says('Enamel kettle was removed from the cart.');
      expect(await focused()).toBe('Remove from cart: Green tea');
      await page.keyboard.press('Enter');
      await says('Nothing in it yet.');
      expect(await focused()).toBe('cart-title');
      await page.getByLabel('User name').focus();
      await page.keyboard.type('bob');
      await page.keyboard.press('Tab');
      await page.keyboard.type('builder');
      await page.keyboard.press('Enter');
      await says('Logged in as bob.');
      expect(await focused()).toBe('who');
      await tabTo('logout');
      await page.keyboard.press('Enter');
      await says('Logged out.');
      expect(await focused()).toBe('username');
    });

    it.each([
      { colorScheme: 'light', viewport: WIDE },
      { colorScheme: 'dark', viewport: WIDE },
      { colorScheme: 'light', viewport: NARROW },
      { colorScheme: 'dark', viewport: NARROW },
    ] as const)(
      '$colorScheme at $viewport.width px: legible, and no wider than the window',
      async (options) => {
        await visit(app, options);
        expected = [/status of 401/];
        const name = `${options.colorScheme}-${options.viewport.width}`;
        await picture(`${name}-guest`);
        await logIn('alice', 'wrong');
        await says('Wrong user name or password.');
        await picture(`${name}-wrong`);
        for (const product of ['Stoneware mug', 'Forest honey', 'Stoneware mug']) {
          await button(`Add to cart: ${product}`).click();
          await says(`${product} is in the cart.`);
        }
        await picture(`${name}-cart`);
        await logIn('admin', 'changeit');
        await says('Logged in as admin.');
        await picture(`${name}-admin`);
        expect(await page.evaluate(FAINT_TEXTS)).toEqual([]);
        const width = await page.evaluate('document.documentElement.scrollWidth');
        expect(width).toBeLessThanOrEqual(options.viewport.width);
      },
    );
  });
});

/** Runs in the page: visible texts with less contrast than WCAG 2.2 AA asks for (4.5:1). */
const FAINT_TEXTS = `(() => {
  const channels = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((value) => {
      const c = value / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const { backgroundColor } = getComputedStyle(node);
    const transparent = channels(backgroundColor)[3] === 0;
    return transparent && node.parentElement ? behind(node.parentElement) : backgroundColor;
  };
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  return [...document.querySelectorAll('body *')]
    .filter((node) => node.checkVisibility())
    .filter((node) => [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .map((node) => [node, contrast(luminance(getComputedStyle(node).color), luminance(behind(node)))])
    .filter(([, ratio]) => ratio < 4.5)
    .map(([node, ratio]) => node.textContent.trim() + ': ' + ratio.toFixed(1));
})()`;
