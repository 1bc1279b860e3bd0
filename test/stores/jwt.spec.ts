import { afterEach, describe, expect, it } from '@jest/globals';
import { decodeJwt, decodeProtectedHeader, SignJWT, UnsecuredJWT } from 'jose';
import { createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto';
import {
  SessionService,
  SessionStoreUnavailableError,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { bearer, jwtSession, type CarriedJwtOptions } from 'nestjs-distributed-session/jwt';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, SECRET, startApp, type TestApp } from '../support/app.js';
import { Browser, CarriedShop, noise } from '../support/carried-app.js';

const NAME = '__Host-session';
const SHOP = 'https://shop.example';
const TERMS = { issuer: SHOP, audience: SHOP, revocation: 'memory' as const };
const OTHER_SECRET = 'Qm3vT7zLw9XcB2nRk5yUe8HsPf4JdA6g';

const pem = (key: KeyObject) => key.export({ type: 'pkcs8', format: 'pem' }) as string;
const ed25519 = () => generateKeyPairSync('ed25519').privateKey;
const p256 = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey;

const opened: { close(): unknown }[] = [];

afterEach(async () => {
  for (const one of opened.splice(0).toReversed()) await one.close();
});

const kept = <T extends { close(): unknown }>(one: T): T => {
  opened.push(one);
  return one;
};

describe.each(ADAPTERS)('sessions in a JWT on %s', (adapter) => {
  const clock = new FakeClock();

  const start = async (
    jwt: Partial<CarriedJwtOptions> = {},
    session: Partial<SessionModuleOptions> = {},
  ): Promise<TestApp> =>
    kept(
      await startApp({
        adapter,
        controllers: [CarriedShop],
        session: { secret: SECRET, clock, store: jwtSession({ ...TERMS, ...jwt }), ...session },
      }),
    );
  const browse = ({ port }: TestApp, token?: string) =>
    kept(new Browser(port, token === undefined ? [] : [[NAME, token]]));
  const visit = async (...how: Parameters<typeof start>) => browse(await start(...how));
  const loggedIn = async (...how: Parameters<typeof start>) => {
    const app = await start(...how);
    const browser = browse(app);
    await browser.login();
    return { app, browser, token: browser.token };
  };
  const statusFor = async (app: TestApp, token: string) =>
    (await browse(app, token).get('/private')).status;

  it('are sessions as any other: cart, login, step-up, flash, logout', async () => {
    const browser = await visit();
    await browser.post('/cart', { json: { sku: 'a' } });
    await browser.login();
    await browser.post('/elevate');
    expect((await browser.get('/vault')).status).toBe(200);
    await browser.post('/flash');
    expect((await browser.get('/flash')).json).toEqual({ notes: ['saved'] });
    expect(await browser.me()).toMatchObject({ principal: 'alice', cart: [{ sku: 'a' }] });
    await browser.post('/logout');
    expect(browser.jar.size).toBe(0);
  });

  it('say what RFC 7519 asks for, and are readable by everybody', async () => {
    const { token } = await loggedIn({}, { idleTimeout: '30m' });
    const now = Math.floor(clock.now() / 1_000);
    expect(decodeProtectedHeader(token)).toEqual({
      alg: 'HS256',
      kid: expect.stringMatching(/^[\w-]{6}$/),
      typ: 'session+jwt',
    });
    expect(decodeJwt(token)).toMatchObject({
      iss: SHOP,
      aud: SHOP,
      sub: 'alice',
      iat: now,
      nbf: now,
      exp: now + 1_800,
      jti: expect.stringMatching(/^[\w-]{44}$/),
      ses: expect.stringContaining('"alice"'),
    });
  });

  it.each([
    ['EdDSA', ed25519],
    ['ES256', p256],
  ])('are signed by a key of %s, without any secret', async (alg, make) => {
    const { app, token } = await loggedIn({ keys: pem(make()) }, { secret: undefined });
    expect(decodeProtectedHeader(token).alg).toBe(alg);
    expect(await statusFor(app, token)).toBe(200);
  });

  it('end when they are not used, and go on when they are', async () => {
    const { app, browser, token } = await loggedIn({}, { idleTimeout: '30m' });
    clock.advance('29m');
    expect(await browser.principal()).toBe('alice');
    expect(browser.token).not.toBe(token);
    clock.advance('1m');
    expect(await statusFor(app, token)).toBe(401);
    expect(await browser.principal()).toBe('alice');
    clock.advance('31m');
    expect(await browser.principal()).toBeNull();
    expect(browser.jar.size).toBe(0);
  });

  it('take several cookies if they are long, and are refused with what makes them too long', async () => {
    const { browser } = await loggedIn();
    await browser.post('/set', { json: { big: noise(4_000) } });
    expect(browser.jar.size).toBe(2);
    expect(await browser.principal()).toBe('alice');
    const answer = await browser.post('/set', { json: { big: noise(12_000) } });
    expect(answer.status).toBe(413);
    expect(answer.json.message).toContain('the largest in it are "big"');
  });

  it('travel as a bearer token: the next one comes with the answer, an empty one at the end', async () => {
    const app = await start({}, { transport: bearer(), touchAfter: '60s' });
    const client = browse(app);
    const tokenIn = (headers: Readonly<Record<string, string | undefined>>) =>
      /^session="([^"]*)"$/.exec(headers['authentication-info'] ?? '')?.[1];
    const login = await client.login();
    expect(login.setCookie).toEqual([]);
    const token = tokenIn(login.headers) as string;
    const authorization = { authorization: `Bearer ${token}` };
    const answer = await client.get('/me', { headers: authorization });
    expect(answer.json.principal).toBe('alice');
    expect(tokenIn(answer.headers)).toBeUndefined();
    clock.advance('2m');
    const later = tokenIn((await client.get('/me', { headers: authorization })).headers) as string;
    expect(later).not.toBe(token);
    const next = { authorization: `Bearer ${later}` };
    const end = await client.post('/logout', { headers: next });
    expect(tokenIn(end.headers)).toBe('');
    expect((await client.get('/private', { headers: next })).status).toBe(401);
    expect((await client.get('/private', { headers: authorization })).status).toBe(401);
  });

  describe('are refused', () => {
    const resigned = async (
      token: string,
      key: KeyObject | Uint8Array,
      change: { header?: object; claims?: object } = {},
    ) => {
      const { alg = '', ...header } = decodeProtectedHeader(token);
      const claims = { ...decodeJwt(token), ...change.claims };
      return new SignJWT(JSON.parse(JSON.stringify(claims)) as object as Record<string, unknown>)
        .setProtectedHeader({ alg, ...header, ...change.header })
        .sign(key, { crit: { x: true } });
    };
    const withKey = async (make: () => KeyObject = ed25519) => {
      const key = make();
      return { key, ...(await loggedIn({ keys: pem(key) })) };
    };

    it('never, if nothing is wrong with them: what is changed below is all that is', async () => {
      const { app, key, token } = await withKey();
      expect(await statusFor(app, await resigned(token, key))).toBe(200);
    });

    it('forged: signed with another key', async () => {
      const { app, token } = await withKey();
      expect(await statusFor(app, await resigned(token, ed25519()))).toBe(401);
      expect(await statusFor(app, 'a.b.c')).toBe(401);
      expect(await statusFor(app, '')).toBe(401);
    });

    it('altered: another payload under the same signature', async () => {
      const { app, token } = await withKey();
      const [header, , signature] = token.split('.');
      const claims = decodeJwt(token);
      const ses = String(claims.ses).replace('"alice"', '"admin"');
      const payload = Buffer.from(JSON.stringify({ ...claims, ses })).toString('base64url');
      expect(await statusFor(app, `${header}.${payload}.${signature}`)).toBe(401);
    });

    it('truncated, or with a bit flipped', async () => {
      const { app, token } = await withKey();
      for (const cut of [1, 10, 86, 200]) {
        expect(await statusFor(app, token.slice(0, -cut))).toBe(401);
      }
      for (let at = 1; at < token.length; at += 37) {
        const other = token[at] === 'A' ? 'B' : 'A';
        expect(await statusFor(app, token.slice(0, at) + other + token.slice(at + 1))).toBe(401);
      }
    });

    it('without a signature: alg none', async () => {
      const { app, token } = await withKey();
      const unsigned = new UnsecuredJWT(decodeJwt(token)).encode();
      expect(await statusFor(app, unsigned)).toBe(401);
      const { kid } = decodeProtectedHeader(token);
      for (const alg of ['none', 'None', 'NONE']) {
        const header = { alg, kid, typ: 'session+jwt' };
        const head = Buffer.from(JSON.stringify(header)).toString('base64url');
        expect(await statusFor(app, `${head}.${token.split('.')[1]}.`)).toBe(401);
        expect(await statusFor(app, `${head}.${token.split('.').slice(1).join('.')}`)).toBe(401);
      }
    });

    it('by a confused algorithm: HS256 with what is public as the secret', async () => {
      const { app, key, token } = await withKey();
      const publicKey = createPublicKey(key);
      for (const secret of [
        Buffer.from(publicKey.export({ type: 'spki', format: 'pem' }) as string),
        publicKey.export({ type: 'spki', format: 'der' }),
        Buffer.from(String(publicKey.export({ format: 'jwk' }).x), 'base64url'),
      ]) {
        const confused = await resigned(token, secret, { header: { alg: 'HS256' } });
        expect(await statusFor(app, confused)).toBe(401);
      }
    });

    it('by another algorithm of the same secret', async () => {
      const { app, token } = await loggedIn();
      const confused = await resigned(token, Buffer.from(SECRET.repeat(2)), {
        header: { alg: 'HS512' },
      });
      expect(await statusFor(app, confused)).toBe(401);
      expect(await statusFor(app, await resigned(token, Buffer.from(SECRET)))).toBe(401);
    });

    it.each<[string, { header?: object; claims?: object }]>([
      ['for another audience', { claims: { aud: 'https://other.example' } }],
      ['for nobody', { claims: { aud: undefined } }],
      ['by another issuer', { claims: { iss: 'https://evil.example' } }],
      ['by nobody', { claims: { iss: undefined } }],
      ['without a kid', { header: { kid: undefined } }],
      ['with a kid that is none', { header: { kid: 'other' } }],
      ['with a kid of another type', { header: { kid: 7 } }],
      ['of another typ', { header: { typ: 'at+jwt' } }],
      ['of the usual typ', { header: { typ: 'JWT' } }],
      ['without a typ', { header: { typ: undefined } }],
      ['without an end', { claims: { exp: undefined } }],
      ['without a beginning', { claims: { nbf: undefined } }],
      ['without a date', { claims: { iat: undefined } }],
      ['without an id', { claims: { jti: undefined } }],
      ['with an id of another shape', { claims: { jti: '../x' } }],
      ['without a session', { claims: { ses: undefined } }],
      ['with a session of another type', { claims: { ses: { n: 1 } } }],
      ['with a critical extension', { header: { crit: ['x'], x: 1 } }],
    ])('%s, though the signature is right', async (_, change) => {
      const { app, key, token } = await withKey();
      expect(await statusFor(app, await resigned(token, key, change).catch(() => 'x'))).toBe(401);
    });

    it('before their time and after it', async () => {
      const { app, key, token } = await withKey();
      const now = Math.floor(clock.now() / 1_000);
      const early = await resigned(token, key, { claims: { nbf: now + 60 } });
      expect(await statusFor(app, early)).toBe(401);
      const soon = await resigned(token, key, { claims: { nbf: now + 20 } });
      expect(await statusFor(app, soon)).toBe(200);
      const late = await resigned(token, key, { claims: { exp: now - 1 } });
      expect(await statusFor(app, late)).toBe(401);
    });

    it('of sessions of another name, by the same keys', async () => {
      const { app, key, token } = await withKey();
      const ses = String(decodeJwt(token).ses).replace('"c":', '"z":"admin","c":');
      expect(await statusFor(app, await resigned(token, key, { claims: { ses } }))).toBe(401);
    });

    it('replayed after the logout, and after revokeAll', async () => {
      const { app, browser, token } = await withKey();
      await browser.post('/logout');
      expect(await statusFor(app, token)).toBe(401);
      await browser.login();
      const { token: next } = browser;
      expect(await statusFor(app, next)).toBe(200);
      await app.app.get(SessionService).forPrincipal('alice').revokeAll();
      expect(await statusFor(app, next)).toBe(401);
    });

    it('beside the right one, of which they pretend to be, and do it no harm', async () => {
      const { app, token } = await withKey();
      const wrong = `${token.slice(0, -6)}AAAAAA`;
      for (const [one, other] of [
        [wrong, token],
        [token, wrong],
      ]) {
        const headers = { cookie: `${NAME}=${one}; ${NAME}=${other}` };
        expect((await browse(app).get('/private', { headers })).status).toBe(200);
      }
      const headers = { cookie: `${NAME}=${wrong}; ${NAME}=${wrong}` };
      expect((await browse(app).get('/private', { headers })).status).toBe(401);
    });

    it('if two of different sessions come', async () => {
      const { app, token } = await withKey();
      const other = browse(app);
      await other.login();
      const headers = { cookie: `${NAME}=${token}; ${NAME}=${other.token}` };
      expect((await browse(app).get('/private', { headers })).status).toBe(401);
    });
  });

  it('are told of as refused, but for those whose time is over', async () => {
    const rejections: string[] = [];
    const onRejected = ({ reason }: { reason: string }) => rejections.push(reason);
    const key = ed25519();
    const { app, browser, token } = await loggedIn({ keys: pem(key) }, { onRejected });
    await browse(app, `${token.slice(0, -6)}AAAAAA`).get('/me');
    expect(rejections).toEqual(['malformed']);
    await browse(app, 'ey').get('/me');
    expect(rejections).toEqual(['malformed', 'malformed']);
    clock.advance('31m');
    await browser.get('/me');
    expect(rejections).toHaveLength(2);
  });

  it('change keys: old ones verify, the first signs at once', async () => {
    const [old, next] = [ed25519(), p256()];
    const { token } = await loggedIn({ keys: pem(old) });
    const both = browse(await start({ keys: [pem(next), pem(old)] }), token);
    expect((await both.get('/me')).setCookie).toHaveLength(1);
    expect(decodeProtectedHeader(both.token).alg).toBe('ES256');
    const app = await start({ keys: pem(next) });
    expect(await statusFor(app, both.token)).toBe(200);
    expect(await statusFor(app, token)).toBe(401);
  });

  it('change secrets: old ones verify, the first signs at once', async () => {
    const { token } = await loggedIn({}, { secret: OTHER_SECRET });
    const both = browse(await start({}, { secret: [SECRET, OTHER_SECRET] }), token);
    expect((await both.get('/me')).setCookie).toHaveLength(1);
    const app = await start();
    expect(await statusFor(app, both.token)).toBe(200);
    expect(await statusFor(app, token)).toBe(401);
  });

  it('are 503 while the list does not answer, neither set nor cleared', async () => {
    let down = false;
    const answer = <T>(value: T) => {
      if (down) throw new SessionStoreUnavailableError('timeout');
      return Promise.resolve(value);
    };
    const revocation = {
      ask: async () => answer({ entry: undefined, epochs: [] }),
      note: async () => answer(undefined),
      begin: async () => answer(undefined),
      ping: async () => answer(undefined),
    };
    const { browser } = await loggedIn({ revocation });
    down = true;
    for (const one of [await browser.get('/me'), await browser.post('/logout')]) {
      expect(one.status).toBe(503);
      expect(one.setCookie).toEqual([]);
    }
    down = false;
    expect(await browser.principal()).toBe('alice');
  });

  it('say at boot that nothing can be revoked where there is no list', async () => {
    const app = await start({ revocation: undefined });
    expect(app.logger.texts('warn').join()).toContain('Sessions cannot be revoked');
    await expect(
      app.app.get(SessionService).forPrincipal('alice').revokeAll(),
    ).rejects.toMatchObject({ name: 'SessionStoreCannotError' });
  });
});

describe('options of sessions in a JWT', () => {
  it.each<[string, object, RegExp]>([
    ['issuer', { audience: SHOP }, /jwtSession: issuer is missing/],
    ['audience', { issuer: SHOP }, /jwtSession: audience is missing/],
    ['clockTolerance', { ...TERMS, clockTolerance: '1h' }, /clockTolerance cannot be used/],
    ['maxChunks', { ...TERMS, maxChunks: 11 }, /maxChunks cannot be used/],
    ['a name that is none', { ...TERMS, algorithm: 'none' }, /algorithm is no option/],
  ])('%s is checked where it is written', (_, options, problem) => {
    expect(() => jwtSession(options as CarriedJwtOptions)).toThrow(problem);
  });

  it.each<[string, Partial<CarriedJwtOptions>, Partial<SessionModuleOptions>, RegExp]>([
    ['neither keys nor secret', {}, {}, /needs `secret`/],
    [
      'a public key in front',
      { keys: createPublicKey(ed25519()) },
      {},
      /first of keys signs, and is a public key/,
    ],
    ['a shared secret as a key', { keys: 'x'.repeat(40) }, {}, /keys cannot be used/],
    ['maxSessions', { keys: ed25519() }, { maxSessions: 3 }, /maxSessions cannot hold/],
  ])('%s is refused at boot', async (_, jwt, session, problem) => {
    const store = jwtSession({ ...TERMS, ...jwt });
    await expect(
      startApp({ adapter: 'express', session: { store, ...session } }).then(kept),
    ).rejects.toThrow(problem);
  });
});
