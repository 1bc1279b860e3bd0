import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Injectable, type CanActivate } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import {
  SessionModule,
  SessionService,
  type SessionModuleOptions,
  type SessionRejection,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, SECRET, until, type TestApp, type TestAppOptions } from '../support/app.js';
import { DeviceController } from '../support/device-bound-app.js';
import {
  challengeIn,
  DEVICE_PATH,
  DeviceBrowser,
  newDeviceKeys,
  offerIn,
  proof,
  registration,
  signedToken,
  unsignedToken,
} from '../support/device-client.js';
import { parseSetCookie, type Answer, type HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisGates } from '../support/redis-gates.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

const COOKIE = '__Host-session';
const BOUND = '__Host-session-bound';
const LIFETIME = 300_000;

@Injectable()
class NobodyGuard implements CanActivate {
  canActivate(): boolean {
    return false;
  }
}

describe.each(ADAPTERS)('sessions that are bound to a device, on %s', (adapter) => {
  const opened = new Opened();
  let redis: RedisUnderTest;
  let clock: FakeClock;
  let rejected: SessionRejection[];
  let app: TestApp;

  const start = (session: SessionModuleOptions = {}, more: Partial<TestAppOptions> = {}) =>
    opened.app({
      adapter,
      controllers: [DeviceController],
      session: {
        redis: redis.connection(),
        secret: SECRET,
        clock,
        deviceBound: true,
        onRejected: (rejection) => rejected.push(rejection),
        ...session,
      },
      ...more,
    });
  const browser = (at = app, keys = newDeviceKeys()) => new DeviceBrowser(opened.browser(at), keys);
  /** Somebody else who has all cookies of a browser. */
  const thiefOf = ({ client }: DeviceBrowser, at = app) => opened.browser(at, client.jar);
  const sees = async (client: HttpClient) => (await client.get('/open')).json;

  beforeAll(async () => {
    redis = await startRedis();
  });

  beforeEach(async () => {
    clock = new FakeClock();
    rejected = [];
    app = await start();
  });

  afterEach(opened.close);
  afterAll(() => redis.stop());

  describe('registration', () => {
    it('is offered with a login, and with nothing else', async () => {
      const { client } = browser();
      const answers: Answer[] = [await client.post('/cart'), await client.get('/open')];
      clock.advance(1);
      const login = await client.post('/login');
      expect(login.headers['secure-session-registration']).toMatch(
        /^\(ES256 RS256\);path="\/session\/device";challenge="[^"]+"$/,
      );
      clock.advance(1);
      answers.push(await client.post('/elevate'), await client.post('/regenerate'));
      answers.push(await client.get('/me'), await client.post('/logout'));
      expect(answers.map(({ status }) => status)).toEqual([204, 200, 204, 204, 200, 204]);
      expect(answers.map(offerIn)).toEqual(answers.map(() => undefined));
    });

    it.each(['ES256', 'RS256'] as const)('by %s gives a short-lived cookie', async (algorithm) => {
      const one = browser(app, newDeviceKeys(algorithm));
      const answer = await one.register(registration(one.keys, await one.login()));
      expect(answer.status).toBe(200);
      expect(answer.json).toEqual({
        session_identifier: expect.stringMatching(/^[\w-]{22}$/),
        refresh_url: DEVICE_PATH,
        scope: { include_site: false },
        credentials: [
          { type: 'cookie', name: BOUND, attributes: 'Path=/; Secure; HttpOnly; SameSite=lax' },
        ],
      });
      const [cookie, ...others] = answer.setCookie.map(parseSetCookie);
      expect(others).toEqual([]);
      expect(cookie).toMatchObject({ name: BOUND });
      expect(cookie!.attributes).toEqual({
        'max-age': '270',
        path: '/',
        httponly: '',
        secure: '',
        samesite: 'Lax',
      });
      expect(answer.headers['cache-control']).toBe('no-store');
      expect((await one.client.get('/me')).json).toEqual({ principal: 'alice', device: 'proven' });
    });

    it('may come without quotes, as some browsers send it', async () => {
      const one = browser();
      const token = registration(one.keys, await one.login());
      const bare = { headers: { 'secure-session-response': token } };
      expect((await one.register('', bare)).status).toBe(200);
      const headers = { 'sec-secure-session-id': one.id };
      const asked = await one.refresh(undefined, { headers });
      expect(asked.status).toBe(403);
      const proven = proof(one.keys, challengeIn(asked));
      const both = { ...headers, 'secure-session-response': proven };
      expect((await one.refresh(undefined, { headers: both })).status).toBe(200);
    });

    it('is not needed: browsers that cannot go on as before', async () => {
      const { client } = browser();
      await client.post('/login');
      for (let i = 0; i < 3; i++) {
        clock.advance('20m');
        expect((await client.get('/me')).json).toEqual({ principal: 'alice', device: null });
      }
    });

    it('counts only for the login that it was offered with, in time, and rightly signed', async () => {
      const [one, other] = [browser(), browser()];
      const challenge = await one.login();
      const others = await other.login();
      const { keys } = one;
      const foreign = newDeviceKeys();
      const wrong: Record<string, string> = {
        'no proof': '',
        'no signature': unsignedToken({ jwk: keys.jwk }, { jti: challenge }),
        "another key's signature": signedToken(foreign, { jwk: keys.jwk }, { jti: challenge }),
        'no key': proof(keys, challenge),
        "another login's challenge": registration(keys, others),
        'a challenge of nobody': registration(keys, 'mwqk3txl.ym7j8pfbyaE2QdDDbP4L2yUBX0hi3G3gu6P'),
        'another place': registration(keys, challenge, { aud: 'https://localhost/login' }),
      };
      for (const [what, token] of Object.entries(wrong)) {
        const { status, setCookie, headers } = await one.register(token);
        const told = { what, status, setCookie, again: headers['secure-session-challenge'] };
        expect(told).toEqual({ what, status: 403, setCookie: [], again: undefined });
      }
      clock.advance(LIFETIME + 1);
      expect((await one.register(registration(keys, challenge))).status).toBe(403);
      expect(await sees(one.client)).toMatchObject({ principal: 'alice', device: null });
      const nobody = browser();
      expect((await nobody.register(registration(keys, challenge))).status).toBe(401);
    });

    it('of a second key is refused: it would be a thief', async () => {
      const one = browser();
      const challenge = await one.login();
      const thief = new DeviceBrowser(thiefOf(one));
      expect((await one.register(registration(one.keys, challenge))).status).toBe(200);
      expect((await thief.register(registration(thief.keys, challenge))).status).toBe(403);
      expect((await one.register(registration(one.keys, challenge))).status).toBe(403);
      clock.advance('1m');
      expect((await thief.client.get('/me')).status).toBe(401);
      expect((await one.prove()).status).toBe(200);
    });

    it('of ten keys at once binds to one', async () => {
      const one = browser();
      const challenge = await one.login();
      const many = Array.from({ length: 10 }, () => new DeviceBrowser(thiefOf(one)));
      const answers = await Promise.all(
        many.map((each) => each.register(registration(each.keys, challenge))),
      );
      const bound = many.filter((_, i) => answers[i]!.status === 200);
      expect(answers.filter(({ status }) => status === 403).length).toBe(9);
      clock.advance('1m');
      expect((await bound[0]!.prove()).status).toBe(200);
    });

    it('lets requests pass that were sent before its cookie came, for the grace', async () => {
      const one = browser();
      const challenge = await one.login();
      const inFlight = thiefOf(one);
      await one.register(registration(one.keys, challenge));
      clock.advance(29_999);
      expect((await inFlight.get('/me')).status).toBe(200);
      clock.advance(1);
      expect((await inFlight.get('/me')).status).toBe(401);
      expect((await one.client.get('/me')).status).toBe(200);
    });
  });

  describe('a refresh', () => {
    it('is challenged, and with a proof gives a new cookie', async () => {
      const one = await browser().loginBound();
      clock.advance(LIFETIME);
      const asked = await one.refresh();
      expect(asked.status).toBe(403);
      expect(asked.headers['secure-session-challenge']).toMatch(`;id="${one.id}"`);
      expect(asked.setCookie).toEqual([]);
      expect((await one.client.get('/me')).status).toBe(401);
      const answer = await one.refresh(proof(one.keys, challengeIn(asked), { sub: one.id }));
      expect(answer.status).toBe(200);
      expect(answer.json).toMatchObject({ session_identifier: one.id });
      expect(answer.setCookie.map(parseSetCookie)).toMatchObject([{ name: BOUND }]);
      expect((await one.client.get('/me')).json).toEqual({ principal: 'alice', device: 'proven' });
    });

    it('counts only by the key and a challenge of its own, in time', async () => {
      const [one, other] = [await browser().loginBound(), await browser().loginBound()];
      const offered = await browser().login();
      const challenge = await one.challenge();
      const foreign = newDeviceKeys();
      const wrong: Record<string, string> = {
        'no signature': unsignedToken({}, { jti: challenge }),
        'another key': proof(foreign, challenge),
        'another key that it brings along': registration(foreign, challenge),
        'another key, ours among its claims': signedToken(
          foreign,
          {},
          { jti: challenge, key: one.keys.jwk },
        ),
        'another type': signedToken(one.keys, { typ: 'JWT' }, { jti: challenge }),
        "another device's challenge": proof(one.keys, await other.challenge()),
        'the challenge of an offer': proof(one.keys, offered),
        'no challenge': signedToken(one.keys, {}, {}),
        'another subject': proof(one.keys, challenge, { sub: other.id }),
      };
      for (const [what, token] of Object.entries(wrong)) {
        const { status, setCookie, headers } = await one.refresh(token);
        const told = { what, status, setCookie };
        expect(told).toEqual({ what, status: 403, setCookie: [] });
        expect(headers['secure-session-challenge']).toMatch(`;id="${one.id}"`);
      }
      clock.advance(LIFETIME + 10);
      expect((await one.refresh(proof(one.keys, challenge))).status).toBe(403);
      expect((await one.prove()).status).toBe(200);
    });

    it('counts once: a proof that was seen on its way is worth nothing', async () => {
      const one = await browser().loginBound();
      const [earlier, token] = [await one.challenge(), proof(one.keys, await one.challenge())];
      clock.advance(1);
      const answers = await Promise.all(Array.from({ length: 10 }, () => one.refresh(token)));
      expect(answers.filter(({ status }) => status === 403).length).toBe(9);
      expect(answers.flatMap(({ setCookie }) => setCookie).length).toBe(1);
      expect((await one.refresh(token)).status).toBe(403);
      expect((await one.refresh(proof(one.keys, earlier))).status).toBe(403);
      // Also where the clock of the node stands still, or is behind.
      clock.advance(-1_000);
      expect((await one.prove()).status).toBe(200);
    });

    it('loses nothing that others write to the session at the same time', async () => {
      const one = await browser().loginBound();
      const writes = Array.from({ length: 20 }, () => one.client.post('/cart'));
      const [answer, ...written] = await Promise.all([one.prove(), ...writes]);
      expect([answer.status, ...written.map(({ status }) => status)]).toEqual([
        200,
        ...Array(20).fill(204),
      ]);
      expect(await sees(one.client)).toMatchObject({ items: 20, device: 'proven' });
    });

    it('of what is not known ends the device session in the browser', async () => {
      const [one, other] = [await browser().loginBound(), await browser().loginBound()];
      const mixed = await one.refresh(proof(other.keys, await other.challenge()), { id: other.id });
      const nobody = await browser().refresh(undefined, { id: one.id });
      const unbound = browser();
      await unbound.login();
      const without = await unbound.refresh(undefined, { id: one.id });
      for (const { status, setCookie, headers } of [mixed, nobody, without]) {
        expect({ status, setCookie }).toEqual({ status: 401, setCookie: [] });
        expect(headers['www-authenticate']).toBe('Session error="login_required"');
      }
      expect((await one.prove()).status).toBe(200);
      expect((await unbound.client.get('/me')).status).toBe(200);
    });

    it('is no activity of its user', async () => {
      const idle = await start({ store: 'memory', redis: undefined });
      const one = await browser(idle).loginBound();
      for (let minutes = 0; minutes < 28; minutes += 4) {
        clock.advance('4m');
        expect((await one.prove()).status).toBe(200);
      }
      clock.advance('2m');
      expect((await one.refresh()).status).toBe(401);
    });

    it('goes on under every id that the session gets', async () => {
      const one = await browser().loginBound();
      for (const path of ['/regenerate', '/elevate', '/regenerate']) {
        const before = one.client.jar.get(COOKIE);
        clock.advance('1m');
        expect((await one.client.post(path)).status).toBe(204);
        expect(one.client.jar.get(COOKIE)).not.toBe(before);
        expect((await one.client.get('/me')).json).toMatchObject({ device: 'proven' });
        expect((await one.prove()).status).toBe(200);
      }
    });

    it('may be challenged by one node and judged by another, also while the secret is replaced', async () => {
      const rotated = await start({ secret: ['n3w-Jd93kd02kdLs93kfj3kdlsk39fkslw', SECRET] });
      const one = await browser().loginBound();
      const elsewhere = new DeviceBrowser(opened.browser(rotated, one.client.jar), one.keys);
      elsewhere.id = one.id;
      expect((await elsewhere.client.get('/me')).json).toMatchObject({ device: 'proven' });
      expect((await elsewhere.refresh(proof(one.keys, await one.challenge()))).status).toBe(200);
      const again = browser();
      const offer = await again.login();
      const late = new DeviceBrowser(opened.browser(rotated, again.client.jar), again.keys);
      expect((await late.register(registration(late.keys, offer))).status).toBe(200);
    });
  });

  describe('a stolen cookie', () => {
    it('is dead after its short life, while the device goes on', async () => {
      const one = await browser().loginBound();
      clock.advance('1m');
      const thief = thiefOf(one);
      expect((await thief.get('/me')).status).toBe(200);
      clock.advance(LIFETIME - 60_001);
      expect((await thief.get('/me')).status).toBe(200);
      clock.advance(1);
      const refused = await thief.get('/me');
      expect(refused.status).toBe(401);
      expect(refused.json).toMatchObject({ code: 'SESSION_DEVICE_UNPROVEN' });
      expect(refused.setCookie).toEqual([]);
      expect(await sees(thief)).toMatchObject({ principal: null, roles: [], device: 'unproven' });
      expect((await one.prove()).status).toBe(200);
      expect((await thief.get('/me')).status).toBe(401);
      expect((await one.client.get('/me')).status).toBe(200);
      const { handle } = await sees(one.client);
      expect(new Set(rejected.map(({ reason }) => reason))).toEqual(new Set(['unproven']));
      expect(rejected[0]).toMatchObject({ handle });
    });

    it('without the bound one is worth nothing, and cannot climb', async () => {
      const one = await browser().loginBound();
      clock.advance('1m');
      const thief = opened.browser(app, [[COOKIE, one.client.jar.get(COOKIE)!]]);
      expect((await thief.get('/me')).status).toBe(401);
      const climbed = await thief.post('/unguarded/elevate');
      expect(climbed.status).toBe(401);
      expect(climbed.json).toMatchObject({ code: 'SESSION_DEVICE_UNPROVEN' });
      expect((await thief.post('/elevate')).status).toBe(401);
      const registered = new DeviceBrowser(thief);
      expect((await registered.register(registration(registered.keys, 'x'))).status).toBe(403);
    });

    it('is worth no more by another way', async () => {
      const both = await start({ transport: ['cookie', 'x-auth-token'] });
      const one = await browser(both).loginBound();
      clock.advance('1m');
      const token = one.client.jar.get(COOKIE)!;
      const thief = opened.browser(both);
      const answer = await thief.get('/me', { headers: { 'x-auth-token': token } });
      expect(answer.status).toBe(401);
    });

    it('does not carry the session off to a new id', async () => {
      const renewing = await start({ renewalTimeout: '10m' });
      const one = await browser(renewing).loginBound();
      clock.advance('11m');
      const thief = thiefOf(one, renewing);
      expect((await thief.get('/me')).setCookie).toEqual([]);
      expect((await one.prove()).status).toBe(200);
      const renewed = await one.client.get('/me');
      expect(renewed.status).toBe(200);
      expect(renewed.setCookie.map(parseSetCookie)).toMatchObject([{ name: COOKIE }]);
    });

    it('is not helped by a bound one of another session, or a forged one', async () => {
      const [one, other] = [await browser().loginBound(), await browser().loginBound()];
      const own = one.client.jar.get(BOUND)!;
      clock.advance('1m');
      const token = one.client.jar.get(COOKIE)!;
      const later = (clock.now() + LIFETIME).toString(36);
      for (const bound of [
        other.client.jar.get(BOUND)!,
        own.replace(/^[^.]+/, later),
        `${later}.`,
        await one.challenge(),
        '',
      ]) {
        const thief = opened.browser(app, [
          [COOKIE, token],
          [BOUND, bound],
        ]);
        expect((await thief.get('/me')).status).toBe(401);
      }
      expect((await one.client.get('/me')).status).toBe(200);
    });
  });

  describe('a logout', () => {
    it('takes both cookies, and no refresh undoes it', async () => {
      const one = await browser().loginBound();
      const before = new DeviceBrowser(thiefOf(one), one.keys);
      before.id = one.id;
      const token = proof(one.keys, await one.challenge());
      const logout = await one.client.post('/logout');
      const cleared = logout.setCookie.map(parseSetCookie);
      expect(cleared.map(({ name }) => name).sort()).toEqual([COOKIE, BOUND]);
      expect(cleared.map(({ attributes }) => attributes['max-age'])).toEqual(['0', '0']);
      for (const each of [one, before]) {
        const { status, setCookie } = await each.refresh(token, { id: before.id });
        expect({ status, setCookie }).toEqual({ status: 401, setCookie: [] });
        expect((await each.client.get('/me')).status).toBe(401);
      }
    });

    it('from elsewhere ends it just as well', async () => {
      const one = await browser().loginBound();
      const token = proof(one.keys, await one.challenge());
      expect(await app.app.get(SessionService).forPrincipal('alice').revokeAll()).not.toBe(0);
      const { status, setCookie } = await one.refresh(token);
      expect({ status, setCookie }).toEqual({ status: 401, setCookie: [] });
    });

    it('can be done by whoever has lost the key; so can a login', async () => {
      const one = await browser().loginBound();
      clock.advance('10m');
      expect((await one.client.post('/logout')).status).toBe(204);
      const other = await browser().loginBound();
      clock.advance('10m');
      const old = other.id;
      expect((await other.client.get('/me')).status).toBe(401);
      const offer = await other.login();
      expect((await other.client.get('/me')).json).toEqual({ principal: 'alice', device: null });
      expect((await other.refresh(undefined, { id: old })).status).toBe(401);
      const keys = newDeviceKeys();
      expect((await other.register(registration(keys, offer))).status).toBe(200);
      expect(other.id).not.toBe(old);
    });
  });

  describe('where the proof cannot be judged', () => {
    it('an outage is answered 503, and the device session goes on after it', async () => {
      const gates = await RedisGates.start(redis);
      opened.add({ close: () => gates.stop() });
      const app = await start({ redis: gates.connection });
      const one = await browser(app).loginBound();
      const token = proof(one.keys, await one.challenge());
      const late = browser(app);
      const offer = await late.login();
      gates.cut(/./s);
      for (const answer of [
        await one.refresh(),
        await one.refresh(token),
        await late.register(registration(late.keys, offer)),
      ]) {
        const { status, setCookie, headers } = answer;
        expect({ status, setCookie }).toEqual({ status: 503, setCookie: [] });
        expect(headers['retry-after']).toBe('1');
      }
      gates.release();
      // Browsers come again until they are told otherwise.
      const after = await until('an answer', async () => {
        const answer = await one.refresh(token);
        return answer.status !== 503 && answer;
      });
      expect(after.status).toBe(200);
    });

    it('a browser that says so is not told to log its user out', async () => {
      const one = await browser().loginBound();
      clock.advance(LIFETIME);
      const headers = { 'secure-session-skipped': `unreachable;session_identifier="${one.id}"` };
      const answer = await one.client.get('/me', { headers });
      expect(answer.status).toBe(503);
      expect(answer.json).toMatchObject({ code: 'SESSION_DEVICE_SKIPPED' });
      expect(answer.headers).toMatchObject({ 'retry-after': '1' });
      expect(answer.headers.refresh).toBeUndefined();
    });

    it.each(['cross-site', 'same-site'])('whoever comes by a %s link comes again', async (site) => {
      const one = await browser().loginBound();
      clock.advance(LIFETIME);
      const arriving = { 'sec-fetch-site': site, 'sec-fetch-dest': 'document' };
      for (const path of ['/me', '/open']) {
        const answer = await one.client.get(path, { headers: arriving });
        expect(answer.status).toBe(503);
        expect(answer.headers.refresh).toBe('0');
        expect(answer.text).not.toContain('alice');
      }
      const again = { ...arriving, 'sec-fetch-site': 'same-origin' };
      expect((await one.client.get('/me', { headers: again })).status).toBe(401);
      expect((await one.prove()).status).toBe(200);
      const proven = await one.client.get('/me', { headers: arriving });
      expect([proven.status, proven.headers.refresh]).toEqual([200, undefined]);
    });
  });

  describe('the endpoint', () => {
    it('stands before guards, prefixes, limits, and routes that have no session', async () => {
      const more = {
        providers: [{ provide: APP_GUARD, useClass: NobodyGuard }],
        setup: (nest: TestApp['app']) => {
          nest.setGlobalPrefix('api');
          nest.use((_: unknown, response: { statusCode: number; end(): void }) => {
            response.statusCode = 429;
            response.end();
          });
        },
      };
      const limits = [
        {},
        { forRoutes: ['api/login'] },
        { exclude: ['{*path}'] },
        { loading: 'eager' as const },
      ];
      for (const limit of limits) {
        const behind = await start(limit, more);
        const one = await browser().loginBound();
        const there = new DeviceBrowser(opened.browser(behind, one.client.jar), one.keys);
        there.id = one.id;
        expect((await there.prove()).status).toBe(200);
        expect((await there.client.get(DEVICE_PATH)).status).toBe(429);
        expect((await there.client.post(`${DEVICE_PATH}/more`)).status).toBe(429);
      }
    });

    it('is where the option says, whatever stands behind a question mark', async () => {
      const elsewhere = await start({ deviceBound: { path: '/auth/device', lifetime: '10s' } });
      const { client, keys } = browser(elsewhere);
      const login = await client.post('/login');
      expect(login.headers['secure-session-registration']).toMatch(';path="/auth/device";');
      const token = registration(keys, offerIn(login)!);
      const headers = { 'secure-session-response': `"${token}"` };
      const answer = await client.post('/auth/device?a=b', { headers });
      expect(answer.status).toBe(200);
      expect(parseSetCookie(answer.setCookie[0]!).attributes['max-age']).toBe('9');
      expect((await client.post(DEVICE_PATH, { headers })).status).toBe(404);
    });

    it('shares its cookie with no other sessions', async () => {
      const named = (name: string) => start({}, { imports: [SessionModule.forFeature(name)] });
      await expect(named('bound')).rejects.toThrow('(cookie __Host-session-bound)');
      await named('other');
    });

    it('is not there without the option, and nothing is offered', async () => {
      const without = await start({ deviceBound: false });
      const { client } = browser(without);
      expect(offerIn(await client.post('/login'))).toBeUndefined();
      expect((await client.post(DEVICE_PATH)).status).toBe(404);
    });

    it('outlives garbage', async () => {
      const one = await browser().loginBound();
      for (const garbage of [
        '"',
        '""',
        '"a"b',
        ';',
        '"\\"',
        'e30.e30.e30',
        '.'.repeat(4_000),
        'A'.repeat(8_000),
      ]) {
        const headers = { 'secure-session-response': garbage };
        expect((await one.refresh(undefined, { headers })).status).toBe(403);
        const id = { headers: { 'sec-secure-session-id': garbage } };
        expect([401, 403]).toContain((await one.refresh(undefined, id)).status);
      }
      expect((await one.prove()).status).toBe(200);
    });
  });
});
