import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import { SessionService } from 'nestjs-distributed-session';
import { SECRET, until, type AdapterName, type TestApp } from '../support/app.js';
import { DeviceController } from '../support/device-bound-app.js';
import {
  BindingBrowser,
  CAN_BIND,
  type BoundVisitor,
  type DeviceEvent,
} from '../support/device-bound-browser.js';
import { Opened } from '../support/opened.js';
import { RedisGates } from '../support/redis-gates.js';
import { oneOf, startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

const COOKIE = '__Host-session';
const BOUND = '__Host-session-bound';
/** Short enough to wait for: the browser's own clock cannot be moved. */
const LIFETIME = 4_000;
const PROVEN = { principal: 'alice', device: 'proven' };

const withBrowser = CAN_BIND ? describe : describe.skip;

withBrowser.each(oneOf<AdapterName>('express', 'fastify'))(
  'sessions bound to the device of a browser, on %s',
  (adapter) => {
    const opened = new Opened();
    let browser: BindingBrowser;
    let redis: RedisUnderTest;
    let gates: RedisGates;
    let app: TestApp;
    let visitor: BoundVisitor;

    beforeAll(async () => {
      redis = await startRedis();
      gates = await RedisGates.start(redis);
      browser = await BindingBrowser.start();
    }, 60_000);

    afterAll(async () => {
      await browser?.close();
      await gates?.stop();
      await redis?.stop();
    });

    beforeEach(async () => {
      app = await opened.app({
        adapter,
        controllers: [DeviceController],
        session: {
          redis: gates.connection,
          secret: SECRET,
          regenerateGrace: 0,
          deviceBound: { lifetime: LIFETIME },
        },
      });
      visitor = opened.add(await browser.visit(app));
    });

    afterEach(opened.close);

    const happened = <K extends keyof DeviceEvent>(kind: K) =>
      visitor.events.flatMap((event) => event[kind] ?? []);
    const cookieNames = async () => (await visitor.cookies()).map(([name]) => name).sort();
    /** Logs in, and waits until the browser has bound the session by itself. */
    const logIn = async () => {
      expect(await visitor.fetch('/login', 'POST')).toMatchObject({ status: 200 });
      await until('registration', () => happened('creationEventDetails').length > 0);
      expect(happened('creationEventDetails')).toMatchObject([{ fetchResult: 'Success' }]);
      await until('the bound cookie', async () => (await cookieNames()).includes(BOUND));
    };
    /** Waits until the browser has let the bound cookie go. */
    const expiry = () =>
      until('the end of the cookie', async () => !(await cookieNames()).includes(BOUND), {
        within: 2 * LIFETIME,
      });

    it('are registered with the login, and proven by challenge when the cookie has expired', async () => {
      await logIn();
      expect(await visitor.fetch('/me')).toEqual({ status: 200, body: PROVEN });
      await expiry();
      visitor.asked.length = 0;
      expect(await visitor.fetch('/me')).toEqual({ status: 200, body: PROVEN });
      expect(visitor.asked.slice(0, 2)).toEqual([
        'POST /session/device 403',
        'POST /session/device 200',
      ]);
      expect(happened('challengeEventDetails')).toContainEqual(
        expect.objectContaining({ challengeResult: 'Success' }),
      );
      expect(happened('refreshEventDetails')).toContainEqual(
        expect.objectContaining({ refreshResult: 'Refreshed' }),
      );
      expect(visitor.events.filter(({ succeeded }) => !succeeded)).toEqual([]);
    });

    it('are proven for an address that is typed, and for a link on another site', async () => {
      await logIn();
      await expiry();
      await visitor.page.goto(`${visitor.origin}/me`);
      expect(await visitor.page.textContent('body')).toContain('proven');
      await visitor.page.goto(visitor.elsewhere);
      await visitor.page.setContent(`<a href="${visitor.origin}/me">to the shop</a>`);
      await expiry();
      await visitor.page.getByText('to the shop').click();
      await visitor.page.getByText('proven').waitFor();
      expect(visitor.asked.at(-1)).not.toMatch(/ 401$/);
      expect(happened('terminationEventDetails')).toEqual([]);
    });

    it('are of no use to a thief of all cookies after their short life', async () => {
      await logIn();
      const stolenAt = performance.now();
      const thief = opened.browser(app, await visitor.cookies());
      expect((await thief.get('/me')).status).toBe(200);
      await delay(LIFETIME - (performance.now() - stolenAt) + 50);
      const refused = await thief.get('/me');
      expect(refused.status).toBe(401);
      expect(refused.json).toMatchObject({ code: 'SESSION_DEVICE_UNPROVEN' });
      expect(await visitor.fetch('/me')).toEqual({ status: 200, body: PROVEN });
      expect((await thief.get('/me')).status).toBe(401);
    });

    it('are not brought back after a logout', async () => {
      await logIn();
      expect(await visitor.fetch('/logout', 'POST')).toMatchObject({ status: 204 });
      for (const wait of [0, LIFETIME]) {
        await delay(wait);
        expect(await visitor.fetch('/me')).toMatchObject({ status: 401 });
        expect(await cookieNames()).toEqual([]);
      }
      await until(
        'the end of the device session',
        () => happened('terminationEventDetails').length,
      );
      visitor.asked.length = 0;
      await visitor.fetch('/open');
      expect(visitor.asked).toEqual(['GET /open 200']);
    });

    it('are not brought back after they were ended elsewhere', async () => {
      await logIn();
      await app.app.get(SessionService).forPrincipal('alice').revokeAll();
      await expiry();
      expect(await visitor.fetch('/me')).toMatchObject({ status: 401 });
      await until(
        'the end of the device session',
        () => happened('terminationEventDetails').length,
      );
      expect(await cookieNames()).toEqual([]);
    });

    it('outlive an outage at the time of the proof', async () => {
      await logIn();
      await expiry();
      gates.cut(/./s);
      visitor.asked.length = 0;
      expect(await visitor.fetch('/me')).toMatchObject({ status: 503 });
      gates.release();
      const proven = async () => (await visitor.fetch('/me')).status;
      const statuses = new Set<number>();
      await until(
        'the proof after the outage',
        async () => {
          const status = await proven();
          statuses.add(status);
          await delay(100);
          return status === 200;
        },
        { within: 30_000 },
      );
      expect([...statuses].filter((status) => status !== 200 && status !== 503)).toEqual([]);
      expect(await visitor.fetch('/me')).toEqual({ status: 200, body: PROVEN });
      expect(happened('terminationEventDetails')).toEqual([]);
      expect(await cookieNames()).toEqual([COOKIE, BOUND]);
      expect(visitor.asked).toContain('POST /session/device 503');
    });
  },
);
