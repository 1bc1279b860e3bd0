import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Header, HttpCode, Param, Post, Req } from '@nestjs/common';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Principal, Session, type SessionModuleOptions } from 'nestjs-distributed-session';
import type { Browser, BrowserContext, Frame, Page } from 'playwright-core';
import { ADAPTERS, SECRET, until } from '../support/app.js';
import { CHROMIUM, startBrowser } from '../support/browser.js';
import { makeCertificate, type Certificate } from '../support/certificate.js';
import { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { startTlsFront } from '../support/tls-front.js';

const SHOP = 'shop.example.test';
/** A neighbour: another host of the same site. */
const EVIL = 'evil.example.test';
/** Another site. */
const OTHER = 'other.test';
const PREFIXED = '__Host-session';
const PLAIN = 'session';

/** An application: the ports by which it speaks https and http. */
interface Served {
  readonly port: number;
  readonly http: number;
}

interface Arrived {
  readonly what: string;
  /** Names of the cookies that came along. */
  readonly cookies: readonly string[];
}

/** Requests that reached a shop. */
let arrived: Arrived[] = [];

interface Request {
  readonly method: string;
  readonly url: string;
  readonly headers: { readonly cookie?: string };
}

const note = ({ method, url, headers }: Request): void => {
  const names = (headers.cookie ?? '').split('; ').map((pair) => pair.split('=', 1)[0]!);
  arrived.push({ what: `${method} ${url}`, cookies: names.filter(Boolean) });
};

@Controller()
class Shop {
  @Get('page') @Header('content-type', 'text/html') page(@Req() request: Request) {
    note(request);
    return '<!doctype html><title>shop</title>';
  }

  @Post('login/:name') @HttpCode(200) async login(
    @Session() session: Session,
    @Param('name') name: string,
  ) {
    await session.authenticate(name);
  }

  @Post('act') @HttpCode(200) act(@Req() request: Request) {
    note(request);
    return '';
  }

  @Get('me') me(@Req() request: Request, @Principal() principal: string | undefined) {
    note(request);
    return { principal: principal ?? null };
  }
}

const withBrowser = CHROMIUM ? describe : describe.skip;

withBrowser('the cookie in a browser', () => {
  let browser: Browser;
  let redis: RedisUnderTest;
  let certificate: Certificate;
  const folder = mkdtempSync(join(tmpdir(), 'session-browser-'));
  const opened = new Opened();
  const servers = new Opened();

  beforeAll(async () => {
    redis = await startRedis();
    certificate = await makeCertificate(folder);
    browser = await startBrowser(['--host-resolver-rules=MAP *.test 127.0.0.1']);
  }, 60_000);

  afterAll(async () => {
    await browser?.close();
    await redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  describe.each(ADAPTERS)('on %s', (adapter) => {
    let shop: Served;
    let plain: Served;
    let embedded: Served;
    let evil: number;
    let context: BrowserContext;
    let page: Page;

    const serve = async (cookie: SessionModuleOptions['cookie']): Promise<Served> => {
      const session = { redis: redis.connection(), secret: SECRET, cookie };
      const app = await servers.app({ adapter, session, controllers: [Shop] });
      const front = servers.add(await startTlsFront(certificate, app.port));
      return { port: front.port, http: app.port };
    };

    beforeAll(async () => {
      shop = await serve({});
      plain = await serve({ name: PLAIN });
      embedded = await serve({ sameSite: 'none', partitioned: true });
      const pages = createServer((_, response) => {
        response.setHeader('content-type', 'text/html');
        response.end('<!doctype html><title>evil</title>');
      }).listen(0, '127.0.0.1');
      await once(pages, 'listening');
      servers.add(pages);
      const front = await startTlsFront(certificate, (pages.address() as AddressInfo).port);
      evil = servers.add(front).port;
    }, 60_000);

    afterAll(servers.close);

    beforeEach(async () => {
      arrived = [];
      context = await browser.newContext({ ignoreHTTPSErrors: true });
      page = await context.newPage();
      page.setDefaultTimeout(10_000);
    });

    afterEach(async () => {
      await context.close();
      await opened.close();
    });

    const urlOf = ({ port }: Served, path: string) => `https://${SHOP}:${port}${path}`;
    const visit = (host: string, at: Page = page) => at.goto(`https://${host}:${evil}/`);
    const post = (path: string, at: Page | Frame = page) =>
      at.evaluate(`fetch('${path}', { method: 'POST' }).then(({ status }) => status)`);
    const me = (at: Page | Frame = page) =>
      at.evaluate(`fetch('/me').then((answer) => answer.json()).then((json) => json.principal)`);
    const cookies = async (name: string) =>
      (await context.cookies()).filter((cookie) => cookie.name === name);

    const logIn = async (at = shop, name = 'alice') => {
      await page.goto(urlOf(at, '/page'));
      expect(await post(`/login/${name}`)).toBe(200);
      expect(await me()).toBe(name);
      arrived = [];
    };
    /** A session that is the attacker's own, and valid. */
    const ofMallory = async (at: Served, name: string) => {
      const mallory = opened.add(new HttpClient(at.http));
      expect((await mallory.post('/login/mallory')).status).toBe(200);
      return mallory.jar.get(name) as string;
    };
    /** What a request brought along; it may take its time. */
    const broughtBy = async (what: string) =>
      (await until(what, () => arrived.find((one) => one.what === what))).cookies;

    describe('the prefix __Host-', () => {
      it('is accepted as we send it, and scripts cannot see it', async () => {
        await logIn();
        expect(await cookies(PREFIXED)).toEqual([
          expect.objectContaining({
            domain: SHOP,
            path: '/',
            secure: true,
            httpOnly: true,
            sameSite: 'Lax',
            expires: -1,
          }),
        ]);
        expect(await page.evaluate('document.cookie')).toBe('');
        await page.evaluate(`document.cookie = 'seen=1; secure'`);
        expect(await page.evaluate('document.cookie')).toBe('seen=1');
      });

      it('is refused over plain http: no session, rather than one that others can read', async () => {
        await page.goto(`http://${SHOP}:${shop.http}/page`);
        expect(await post('/login/alice')).toBe(200);
        expect(await me()).toBeNull();
        expect(await context.cookies()).toEqual([]);
      });

      it('cannot be replaced or removed by a script of the page', async () => {
        const token = await ofMallory(shop, PREFIXED);
        await logIn();
        const [before] = await cookies(PREFIXED);
        for (const value of [
          `${PREFIXED}=${token}; path=/; secure`,
          `${PREFIXED}=${token}; path=/me; secure`,
          `${PREFIXED}=; path=/; secure; max-age=0`,
        ]) {
          await page.evaluate(`document.cookie = '${value}'`);
        }
        expect(await cookies(PREFIXED)).toEqual([before]);
        expect(await me()).toBe('alice');
      });
    });

    describe('another site', () => {
      const form = (target: string, method: string) => `{
        const form = document.createElement('form');
        Object.assign(form, { method: '${method}', action: '${target}' });
        document.body.append(form);
        form.submit();
      }`;

      it('sends no cookie along by a form, a script or a picture', async () => {
        await logIn();
        await visit(OTHER);
        await page.evaluate(form(urlOf(shop, '/act?form'), 'post'));
        expect(await broughtBy('POST /act?form')).toEqual([]);
        await page.waitForURL(urlOf(shop, '/act?form'));
        await visit(OTHER);
        const options = `{ method: 'POST', mode: 'no-cors', credentials: 'include' }`;
        await page.evaluate(`void fetch('${urlOf(shop, '/act?fetch')}', ${options})`);
        expect(await broughtBy('POST /act?fetch')).toEqual([]);
        await page.evaluate(`new Image().src = '${urlOf(shop, '/me?picture')}'; undefined`);
        expect(await broughtBy('GET /me?picture')).toEqual([]);
        await page.evaluate(
          `{
            const frame = document.createElement('iframe');
            frame.src = '${urlOf(shop, '/page?frame')}';
            document.body.append(frame);
          }`,
        );
        expect(await broughtBy('GET /page?frame')).toEqual([]);
      });

      it('leads a visitor here by a link, who is still logged in', async () => {
        await logIn();
        await visit(OTHER);
        await page.evaluate(`location.href = '${urlOf(shop, '/page?link')}'`);
        expect(await broughtBy('GET /page?link')).toEqual([PREFIXED]);
        await page.waitForURL(urlOf(shop, '/page?link'));
        expect(await me()).toBe('alice');
      });

      it('is told from a neighbour, whose form brings the cookie: SameSite does not help there', async () => {
        await logIn();
        await visit(EVIL);
        await page.evaluate(form(urlOf(shop, '/act?form'), 'post'));
        expect(await broughtBy('POST /act?form')).toEqual([PREFIXED]);
        await page.waitForURL(urlOf(shop, '/act?form'));
      });
    });

    describe('cookies that a neighbour or another path tosses in', () => {
      const toss = (value: string) => page.evaluate(`document.cookie = '${value}'`);

      it('cannot take over a session whose name has the prefix', async () => {
        const token = await ofMallory(shop, PREFIXED);
        await logIn();
        const [before] = await cookies(PREFIXED);
        await visit(EVIL);
        for (const value of [
          `${PREFIXED}=${token}; domain=example.test; path=/; secure`,
          `${PREFIXED}=${token}; domain=example.test; path=/me; secure`,
          `__host-session=${token}; domain=example.test; path=/me; secure`,
          `=${PREFIXED}=${token}; domain=example.test; path=/me; secure`,
          `=${PREFIXED}=${token}; domain=${SHOP}; path=/me; secure`,
          `${PREFIXED}=${token}; domain=${SHOP}; path=/; secure`,
        ]) {
          await toss(value);
        }
        // Tossing as such works from there.
        await toss('tossed=1; domain=example.test; path=/me; secure');
        await page.goto(urlOf(shop, '/page'));
        expect(await me()).toBe('alice');
        expect(await broughtBy('GET /me')).toEqual(['tossed', PREFIXED]);
        expect(await cookies(PREFIXED)).toEqual([before]);
        // Nor does a visitor without a session get the attacker's.
        await context.clearCookies({ name: PREFIXED });
        expect(await me()).toBeNull();
      });

      it.each([
        ['before', '/me'],
        ['after', '/'],
      ])(
        'do not count where the name has no prefix: of two that prove right the one %s does not win',
        async (where, path) => {
          const token = await ofMallory(plain, PLAIN);
          await logIn(plain);
          const [own] = await cookies(PLAIN);
          await visit(EVIL);
          await toss(`${PLAIN}=${token}; domain=example.test; path=${path}; secure`);
          const both = await context.cookies(urlOf(plain, '/me'));
          expect(both.map(({ value }) => value)).toEqual(
            where === 'before' ? [token, own!.value] : [own!.value, token],
          );
          await page.goto(urlOf(plain, '/page'));
          expect(await me()).toBeNull();
          expect(await broughtBy('GET /me')).toEqual([PLAIN, PLAIN]);
          // Neither is a login one of the attacker's: nobody else is in the session that it began.
          expect(await post('/login/alice')).toBe(200);
          const mallory = opened.add(new HttpClient(plain.http, [[PLAIN, token]]));
          expect((await mallory.get('/me')).json).toEqual({ principal: 'mallory' });
          expect(await me()).toBeNull();
        },
      );

      it('that prove nothing are passed over, in any order', async () => {
        await logIn(plain);
        const forged = `${'A'.repeat(44)}.${'A'.repeat(43)}`;
        await visit(EVIL);
        await toss(`${PLAIN}=${forged}; domain=example.test; path=/me; secure`);
        await toss(`${PLAIN}=${forged}; domain=example.test; path=/; secure`);
        await page.goto(urlOf(plain, '/page'));
        expect(await me()).toBe('alice');
        expect(await broughtBy('GET /me')).toEqual([PLAIN, PLAIN, PLAIN]);
      });
    });

    describe('embedded by another site', () => {
      const embed = async (host: string, at: Served) => {
        await visit(host);
        await page.evaluate(
          `{
            const frame = document.createElement('iframe');
            frame.src = '${urlOf(at, '/page')}';
            document.body.append(frame);
          }`,
        );
        const find = () => page.frames().find((frame) => frame.url() === urlOf(at, '/page'));
        const frame = await until('the frame', find);
        await frame.waitForLoadState();
        return frame;
      };

      it('a partitioned session is there, and only there', async () => {
        const here = await embed(OTHER, embedded);
        expect(await post('/login/alice', here)).toBe(200);
        expect(await me(here)).toBe('alice');
        expect(await me(await embed(OTHER, embedded))).toBe('alice');
        expect(await me(await embed('third.test', embedded))).toBeNull();
        await page.goto(urlOf(embedded, '/page'));
        expect(await me()).toBeNull();
      });

      it('there is none by default', async () => {
        await logIn();
        const frame = await embed(OTHER, shop);
        expect(await me(frame)).toBeNull();
        expect(await post('/login/alice', frame)).toBe(200);
        expect(await me(frame)).toBeNull();
      });
    });
  });
});
