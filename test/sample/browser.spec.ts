import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Secret, TOTP } from 'otpauth';
import type { Browser, Page } from 'playwright-core';
import { AppProcess } from '../support/app-process.js';
import { CHROMIUM, FAINT_TEXTS, startBrowser, Visitor } from '../support/browser.js';
import { oneOf } from '../support/redis-under-test.js';
import { RedisServer } from '../support/redis-server.js';

/** Pictures are taken if somebody wants to look at them. */
const PICTURES = process.env.SCREENSHOTS;
const WIDE = { width: 1280, height: 800 };
const NARROW = { width: 360, height: 740 };

/** What all nodes have in common. */
const SESSION_SECRET = 'every-node-has-to-be-told-the-same-one';
/** Runs before the program: its clock is six minutes slow, so its logins are not fresh elsewhere. */
const SLOW_CLOCK = `--import=data:text/javascript,const%20now=Date.now;Date.now=()=>now()-360000`;
const totp = new TOTP({ secret: new Secret() });

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

  /** What somebody at another device does. */
  const elsewhere = async (act: (other: Page) => Promise<void>, options = {}) => {
    const [here, there] = [page, await Visitor.open(browser, { viewport: WIDE, ...options })];
    page = there.page;
    try {
      await page.goto(here.url());
      await page.getByRole('heading', { name: 'Enamel kettle' }).waitFor();
      page = here;
      await act(there.page);
      expect(there.complaints).toEqual([]);
    } finally {
      page = here;
      await there.close();
    }
  };

  /** What the page was just asking for ends with it; that is no complaint. */
  const reload = async () => {
    expected.push(/net::ERR_ABORTED/);
    await page.reload();
  };
  const goTo = async (url: string) => {
    expected.push(/net::ERR_ABORTED/);
    await page.goto(url);
  };
  /** Before that, the page might fill in what is stored while the test does. */
  const accountIsShown = () => page.locator('#email[value*="@"]').waitFor();

  const button = (name: string | RegExp) => page.getByRole('button', { name, exact: true });
  const error = () => page.getByRole('alert');
  const status = () => page.getByRole('status');
  const cartItems = () => page.getByRole('region', { name: 'Cart' }).getByRole('listitem');
  const says = async (text: string | RegExp) => {
    await page.getByText(text).first().waitFor();
  };

  const logIn = async (username = 'alice', password = 'wonderland', at = page) => {
    await at.getByLabel('User name').fill(username);
    await at.getByLabel('Password').fill(password);
    await at.getByRole('button', { name: 'Log in', exact: true }).click();
  };

  const region = (name: string) => page.getByRole('region', { name, exact: true });
  const devices = () => region('Your devices').getByRole('listitem');
  const stepUp = () => region('Confirm that it is you');
  /** The page looks for what others did when it is looked at again. */
  const lookAgain = () =>
    page.evaluate("document.dispatchEvent(new Event('visibilitychange')) && undefined");

  const picture = async (name: string) => {
    if (PICTURES) await page.screenshot({ path: `${PICTURES}/${name}.png`, fullPage: true });
  };

  describe.each(oneOf('fastify', 'express'))('on %s', (adapter) => {
    let app: AppProcess;
    let slow: AppProcess;

    beforeAll(async () => {
      const common = { ADAPTER: adapter, REDIS_URL: redis.url, SESSION_SECRET };
      app = await AppProcess.start({ ...common, TOTP_SECRET: totp.secret.base32 });
      slow = await AppProcess.start({ ...common, NODE_OPTIONS: SLOW_CLOCK });
    }, 180_000);
    afterAll(() => Promise.all([app?.stop(), slow?.stop()]));
    beforeEach(() => visit(app));
    afterEach(leave);
    afterEach(async () => {
      // Each test begins with users who are logged in nowhere.
      const admin = await browser.newContext();
      const { request } = admin;
      await request.post(`${app.url}/auth/login`, {
        data: { username: 'admin', password: 'changeit' },
      });
      for (const name of ['alice', 'bob', 'admin']) {
        await request.delete(`${app.url}/admin/users/${name}/sessions`);
      }
      await admin.close();
    });

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

      await reload();
      await says('2 × Stoneware mug');
      // The page asks for the cart and for the user at once: either may be there first.
      await page.locator('#who', { hasText: 'alice' }).waitFor();
      expect(await cartItems().count()).toBe(2);

      await button('Remove from cart: Stoneware mug').click();
      await says('Stoneware mug was removed from the cart.');
      expect(await cartItems().count()).toBe(1);
      await reload();
      await says('1 × Green tea');
      expect(await cartItems().count()).toBe(1);

      await button('Log out').click();
      await says('Logged out.');
      await says('Nothing in it yet.');
      expect(await page.getByLabel('Password').isVisible()).toBe(true);
      expect(await page.context().cookies()).toEqual([]);
      await reload();
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

    it('a logout is noticed when the tab is looked at again, if nobody can tell it', async () => {
      await page.routeWebSocket(/socket\.io/, (socket) => socket.close());
      await page.route('**/events', (route) => route.abort('blockedbyclient'));
      expected = [/ERR_BLOCKED_BY_CLIENT/];
      await reload();
      await logIn();
      await says('Logged in as alice.');
      await page.context().request.post(`${app.url}/auth/logout`);
      await lookAgain();
      await says('You were logged out elsewhere. Please log in again.');
      expect(await page.getByLabel('Password').isVisible()).toBe(true);
    });

    it('a device is named, sees another one, and signs it out', async () => {
      expect(await region('Your devices').isVisible()).toBe(false);
      await logIn();
      await says('Logged in as alice.');
      expect(await devices().count()).toBe(1);
      expect(await devices().first().textContent()).toMatch(/on Linux\s+This device/);
      expect(await button('Sign out all other devices').isVisible()).toBe(false);
      await page.getByLabel('Name of this device').fill('Till');
      await button('Save name').click();
      await status().getByText('This device is called Till now.').waitFor();

      const userAgent = 'Mozilla/5.0 (Macintosh; Intel Mac OS X 10.15; rv:145.0) Firefox/145.0';
      await elsewhere(
        async (other) => {
          await logIn('alice', 'wonderland', other);
          await other.getByText('Logged in as alice.').waitFor();
          await other.getByText('Till').waitFor();
          await lookAgain();
          await devices().nth(1).waitFor();
          expect(await devices().allTextContents()).toEqual([
            expect.stringMatching(/Firefox 145 on macOS.*127\.0\.0\.1 · last used just now/s),
            expect.stringMatching(/Till.*This device.*127\.0\.0\.1 · in use now/s),
          ]);

          await button(/^Sign out: Firefox 145/).click();
          await says(/^Firefox 145 on macOS.* is signed out\.$/);
          expect(await devices().count()).toBe(1);
          expect(await page.evaluate('document.activeElement.id')).toBe('devices-title');

          await other.getByText('You were logged out on another device.').waitFor();
          expect(await other.getByRole('region', { name: 'Your devices' }).isVisible()).toBe(false);
          expect(await other.getByText('Till').count()).toBe(0);
        },
        { userAgent },
      );
    });

    it('all other devices are signed out at once', async () => {
      await logIn();
      await says('Logged in as alice.');
      await elsewhere((other) =>
        elsewhere(async (another) => {
          for (const one of [other, another]) {
            await logIn('alice', 'wonderland', one);
            await one.getByText('Logged in as alice.').waitFor();
          }
          await lookAgain();
          await devices().nth(2).waitFor();
          await button('Sign out all other devices').click();
          await says('2 other devices are signed out.');
          expect(await devices().count()).toBe(1);
          for (const one of [other, another]) {
            await one.getByText('You were logged out on another device.').waitFor();
          }
        }),
      );
      await reload();
      await says('This device');
      expect(await page.locator('#who').textContent()).toBe('alice');
    });

    it('to delete the account takes a code; a wrong one may be mended', async () => {
      expected = [/status of 401/];
      await logIn();
      await says('Logged in as alice.');
      await button('Delete account').click();
      await stepUp().waitFor();
      const field = stepUp().getByLabel('Code from your authenticator app');
      expect(await page.evaluate('document.activeElement.id')).toBe('proof');
      await stepUp().getByRole('button', { name: 'Cancel' }).click();
      await says('Nothing was changed.');
      expect(await stepUp().isVisible()).toBe(false);
      expect(await page.evaluate('document.activeElement.id')).toBe('delete-account');

      await button('Delete account').click();
      const code = totp.generate();
      await field.fill(code === '000000' ? '111111' : '000000');
      await page.keyboard.press('Enter');
      await says('Wrong code, or one that was used already.');
      expect(await field.getAttribute('aria-invalid')).toBe('true');
      await page.keyboard.type(`${code.slice(0, 3)} ${code.slice(3)}`);
      await page.keyboard.press('Enter');
      await says(/^You are logged out on all of your devices\./);
      expect(await page.getByLabel('User name').isVisible()).toBe(true);
      expect(await stepUp().isVisible()).toBe(false);
      expect(await page.context().cookies()).toEqual([]);
    });

    it('to change the e-mail address takes the password, if that was a while ago', async () => {
      expected = [/status of 401/];
      await goTo(slow.url);
      await logIn('bob', 'builder');
      await says('Logged in as bob.');
      await accountIsShown();
      await page.getByLabel('E-mail').fill('bob@fresh.example');
      await button('Change e-mail').click();
      await says('Your e-mail address is bob@fresh.example now.');

      await goTo(app.url);
      await accountIsShown();
      await page.getByLabel('E-mail').fill('bob@new.example');
      await button('Change e-mail').click();
      await stepUp().getByLabel('Password').fill('wonderland');
      await picture(`${adapter}-password`);
      await page.keyboard.press('Enter');
      await says('Wrong user name or password.');
      await page.keyboard.type('builder');
      await button('Confirm').click();
      await says('Your e-mail address is bob@new.example now.');
      expect(await devices().count()).toBe(1);
      await reload();
      await accountIsShown();
      expect(await page.getByLabel('E-mail').inputValue()).toBe('bob@new.example');

      // Nothing of one user is left for the next.
      await button('Log out').click();
      await says('Logged out.');
      expect(await page.locator('#email').inputValue()).toBe('');
      expect(await page.locator('#device-list li').count()).toBe(0);
    });

    it('who is remembered stays logged in when the browser is closed', async () => {
      await page.getByLabel('Remember me').check();
      await logIn();
      await says('Logged in as alice.');
      await says(/Session ends in 1[34] days/);
      const [cookie] = await page.context().cookies();
      expect(cookie!.expires * 1_000 - Date.now()).toBeGreaterThan(13 * 24 * 60 * 60 * 1_000);
      expect(await devices().first().textContent()).toContain('remembered');
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
      await says('You were logged out because you were away. Please log in again.');
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

    const isLegible = async ({ width }: { width: number }) => {
      expect(await page.evaluate(FAINT_TEXTS)).toEqual([]);
      const used = await page.evaluate('document.documentElement.scrollWidth');
      expect(used).toBeLessThanOrEqual(width);
    };

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
        await isLegible(options.viewport);
        await page
          .getByLabel('Name of this device')
          .fill('The one with a very long name '.repeat(2));
        await button('Save name').click();
        await says(/^This device is called/);
        await elsewhere(async (other) => {
          await other.getByLabel('Remember me').check();
          await logIn('admin', 'changeit', other);
          await other.getByText('Logged in as admin.').waitFor();
        });
        await lookAgain();
        await devices().nth(1).waitFor();
        await picture(`${name}-devices`);
        await isLegible(options.viewport);
        await button('Delete account').click();
        await stepUp().waitFor();
        await picture(`${name}-code`);
        await isLegible(options.viewport);
        await button('Sign out all other devices').click();
        await says(/(is|are) signed out\.$/);
        await button('Log out').click();
        await says('Logged out.');
      },
    );
  });
});
