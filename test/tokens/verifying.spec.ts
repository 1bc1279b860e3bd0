import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { base64url, SignJWT, UnsecuredJWT, type JWTPayload } from 'jose';
import { createPrivateKey, createPublicKey } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { JwtIssuer, type SessionTokenClaims } from 'nestjs-distributed-session/jwt';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, type TestApp } from '../support/app.js';
import { HttpClient, type Sending } from '../support/http-client.js';
import { bearer, ISSUER, newKey, ORDERS, startOrders } from './shop.js';

const clock = new FakeClock();
const now = () => Math.floor(clock.now() / 1_000);

const ours = newKey();
const ourRsa = newKey('rsa');
const theirs = newKey();
const issuer = new JwtIssuer({ issuer: ISSUER, keys: [ours, ourRsa] });
const [{ kid }, { kid: rsaKid }] = (await issuer.jwks()).keys as [{ kid: string }, { kid: string }];

const CLAIMS: JWTPayload = {
  iss: ISSUER,
  sub: 'alice',
  aud: ORDERS,
  jti: 'one',
  sid: 'session',
  roles: [],
  permissions: [],
  auth_time: now(),
  acr: 'aal1',
  amr: ['pwd'],
  amr_times: { pwd: now() },
};

interface Forgery {
  claims?: Record<string, unknown>;
  header?: Record<string, unknown>;
  key?: string;
}

/** A token that is right but for what is told. */
function tokenWith({ claims = {}, header = {}, key = ours }: Forgery = {}): Promise<string> {
  const times = { iat: now(), nbf: now(), exp: now() + 60 };
  return new SignJWT({ ...CLAIMS, ...times, ...claims } as JWTPayload)
    .setProtectedHeader({ alg: 'EdDSA', kid, typ: 'at+jwt', ...header })
    .sign(createPrivateKey(key));
}

const publicPem = (key: string) =>
  createPublicKey(key).export({ type: 'spki', format: 'pem' }) as string;
const publicJwk = (key: string) => createPublicKey(key).export({ format: 'jwk' });

describe.each(ADAPTERS)('JwtSessionGuard on %s', (adapter) => {
  let orders: TestApp;
  let client: HttpClient;
  let fetched = 0;
  let hole: Server;

  beforeAll(async () => {
    orders = await startOrders({ adapter }, { jwks: await issuer.jwks(), clock });
    client = new HttpClient(orders.port);
    hole = createServer((_, response) => {
      fetched++;
      response.end(JSON.stringify({ keys: [{ ...publicJwk(theirs), kid: 'theirs' }] }));
    }).listen(0, '127.0.0.1');
    await once(hole, 'listening');
  });

  afterAll(async () => {
    client.close();
    hole.close();
    await orders.close();
  });

  const send = (sending?: Sending) => client.get('/orders', sending);
  const expectRefused = async (token: string) => {
    const { status, json, headers, text } = await send(bearer(token));
    expect([status, json.code]).toEqual([401, 'SESSION_REQUIRED']);
    expect(headers['www-authenticate']).toBe('Bearer error="invalid_token"');
    expect(text).not.toContain('alice');
  };

  it('lets a right token pass, and hands over what it says', async () => {
    const { status, json } = await send(bearer(await tokenWith()));
    expect(status).toBe(200);
    expect(json).toMatchObject({ principal: 'alice', claims: { sid: 'session', jti: 'one' } });
  });

  it('lets one pass that is for several services', async () => {
    const token = await tokenWith({ claims: { aud: ['https://stock.example', ORDERS] } });
    expect((await send(bearer(token))).status).toBe(200);
  });

  it('lets one of each key pass', async () => {
    const token = await tokenWith({ key: ourRsa, header: { alg: 'RS256', kid: rsaKid } });
    expect((await send(bearer(token))).status).toBe(200);
  });

  it.each<[string, Sending | undefined]>([
    ['nothing', undefined],
    ['another scheme', { headers: { authorization: 'Session abc' } }],
    ['a scheme without token', { headers: { authorization: 'Bearer' } }],
    ['what is no token by its letters', { headers: { authorization: 'Bearer <x>, Bearer y' } }],
  ])('asks for a token where there is %s', async (_, sending) => {
    const { status, headers, json } = await send(sending);
    expect([status, json.code, headers['www-authenticate']]).toEqual([
      401,
      'SESSION_REQUIRED',
      'Bearer',
    ]);
  });

  it('takes no token out of a URL, a cookie or a body', async () => {
    const token = await tokenWith();
    const inUrl = await client.get(`/orders?access_token=${token}`);
    const inCookie = await client.another([['access_token', token]]).get('/orders');
    expect([inUrl.status, inCookie.status]).toEqual([401, 401]);
  });

  it.each<[string, Forgery]>([
    ['of another issuer', { claims: { iss: 'https://evil.example' } }],
    ['of no issuer', { claims: { iss: undefined } }],
    ['for another service', { claims: { aud: 'https://stock.example' } }],
    ['for none', { claims: { aud: undefined } }],
    ['that has expired', { claims: { exp: now() - 6 } }],
    ['that never expires', { claims: { exp: undefined } }],
    ['that is not valid yet', { claims: { nbf: now() + 6 } }],
    ['without a time', { claims: { iat: undefined } }],
    ['about nobody', { claims: { sub: undefined } }],
    ['about somebody without a name', { claims: { sub: '' } }],
    ['about what is no name', { claims: { sub: { name: 'alice' } } }],
    ['without a name of its own', { claims: { jti: undefined } }],
    ['of no session', { claims: { sid: undefined } }],
    ['whose roles are no list', { claims: { roles: 'admin' } }],
    ['whose roles are no names', { claims: { roles: [{ admin: true }] } }],
    ['without factors', { claims: { amr_times: undefined } }],
    ['whose times are none', { claims: { amr_times: { pwd: 'now' } } }],
    ['of sessions of another name', { claims: { realm: 'admin' } }],
    ['of another type', { header: { typ: 'JWT' } }],
    ['of no type', { header: { typ: undefined } }],
    ['of a logout (OpenID Connect)', { header: { typ: 'logout+jwt' } }],
    ['by another key', { key: theirs }],
    ['by another key of its own name', { key: theirs, header: { kid: 'theirs' } }],
    ['that names no key', { header: { kid: undefined } }],
    ['that names what is no key', { header: { kid: 7 } }],
    ['by a path instead of a key', { header: { kid: '../../../../dev/null' } }],
    ['that names the key of another algorithm', { header: { kid: rsaKid } }],
    ['that brings its key along', { key: theirs, header: { jwk: publicJwk(theirs) } }],
    ['with a critical header that is not known', { header: { crit: ['exp'], exp: 1 } }],
  ])('refuses a token %s', async (_, forgery) => {
    const [{ claims }, header] = [{ claims: {}, ...forgery }, forgery.header ?? {}];
    // SignJWT itself refuses to make some of them.
    await expectRefused(await forged({ ...forgery, claims, header }));
  });

  it('refuses a token that is not signed', async () => {
    const times = { iat: now(), nbf: now(), exp: now() + 60 };
    await expectRefused(new UnsecuredJWT({ ...CLAIMS, ...times }).encode());
    const [, payload = ''] = (await tokenWith()).split('.');
    for (const alg of ['none', 'None', 'NONE', 'nOnE']) {
      const header = base64url.encode(JSON.stringify({ alg, kid, typ: 'at+jwt' }));
      await expectRefused(`${header}.${payload}.`);
    }
  });

  it.each(['HS256', 'HS384', 'HS512'])(
    'refuses a token that is signed by %s with the public key as secret',
    async (alg) => {
      const times = { iat: now(), nbf: now(), exp: now() + 60 };
      const { x = '' } = publicJwk(ours);
      const secrets = [publicPem(ours), publicPem(ourRsa), JSON.stringify(publicJwk(ours)), x];
      for (const secret of secrets) {
        for (const name of [kid, rsaKid]) {
          const token = await new SignJWT({ ...CLAIMS, ...times })
            .setProtectedHeader({ alg, kid: name, typ: 'at+jwt' })
            .sign(new TextEncoder().encode(secret.padEnd(64, '=')));
          await expectRefused(token);
        }
      }
    },
  );

  it.each(['jku', 'x5u'])('asks nobody whom a token names by %s', async (name) => {
    const { port } = hole.address() as AddressInfo;
    const url = `http://127.0.0.1:${port}/keys`;
    await expectRefused(await tokenWith({ key: theirs, header: { kid: 'theirs', [name]: url } }));
    expect(fetched).toBe(0);
  });

  it('refuses a token of which a single bit was changed, wherever', async () => {
    const token = await tokenWith();
    const parts = token.split('.') as [string, string, string];
    for (const [i, part] of parts.entries()) {
      for (const at of [0, part.length >> 1]) {
        const bytes = Buffer.from(part, 'base64url');
        const place = Math.floor((at * 3) / 4);
        bytes[place] = (bytes[place] as number) ^ 1;
        const changed = parts.with(i, bytes.toString('base64url'));
        await expectRefused(changed.join('.'));
      }
    }
  });

  it('refuses a token that was cut, or put together of two', async () => {
    const [one, other] = [await tokenWith(), await tokenWith({ claims: { sub: 'bob' } })];
    const [header, , signature] = one.split('.');
    for (const token of [
      one.slice(0, -1),
      one.slice(0, one.lastIndexOf('.')),
      `${one}.${one}`,
      `${header}.${other.split('.')[1]}.${signature}`,
      '..',
      'x',
    ]) {
      await expectRefused(token);
    }
  });

  it('refuses a token that is larger than any of ours, at once', async () => {
    await expectRefused(await tokenWith({ claims: { more: 'x'.repeat(6_200) } }));
    expect(orders.logger.texts('debug').at(-1)).toMatch(/too long/);
  });

  it('accepts a token to its end, and as long after it as clocks may differ', async () => {
    const token = await tokenWith();
    clock.advance('64s');
    const late = await send(bearer(token));
    clock.advance('1s');
    const later = await send(bearer(token));
    clock.advance(-65_000);
    expect([late.status, later.status]).toEqual([200, 401]);
  });

  it('tells whoever runs it why, and the client nothing of it', async () => {
    await expectRefused(await tokenWith({ claims: { aud: 'https://stock.example' } }));
    const [line = ''] = orders.logger.texts('debug').slice(-1);
    expect(line).toMatch(/Token refused: ERR_JWT_CLAIM_VALIDATION_FAILED, aud/);
    expect(orders.logger.texts().join()).not.toMatch(/alice|eyJ/);
  });

  it('lets everybody pass where the route does, and looks at no token', async () => {
    for (const sending of [undefined, bearer('x'), bearer(await tokenWith())]) {
      const { status, json } = await client.get('/open', sending);
      expect([status, json]).toEqual([200, { principal: 'nobody' }]);
    }
  });

  /** As `tokenWith`, also where the library for it would not. */
  async function forged({ claims, header, key = ours }: Forgery): Promise<string> {
    try {
      return await tokenWith({ claims, header, key });
    } catch {
      const times = { iat: now(), nbf: now(), exp: now() + 60 };
      const parts = [
        { alg: 'EdDSA', kid, typ: 'at+jwt', ...header },
        { ...CLAIMS, ...times, ...claims },
      ].map((part) => base64url.encode(JSON.stringify(part)));
      const { sign } = await import('node:crypto');
      const signature = sign(null, Buffer.from(parts.join('.')), createPrivateKey(key));
      return `${parts.join('.')}.${signature.toString('base64url')}`;
    }
  }

  describe('with deny', () => {
    const denied = new Set<unknown>();
    let strict: TestApp;
    let browser: HttpClient;
    let broken: unknown;

    beforeEach(async () => {
      const deny = ({ sid }: SessionTokenClaims) => {
        if (broken !== undefined) throw broken;
        return denied.has(sid);
      };
      strict = await startOrders({ adapter }, { jwks: await issuer.jwks(), clock, deny });
      browser = new HttpClient(strict.port);
    });

    afterEach(async () => {
      browser.close();
      await strict.close();
    });

    it('refuses what it denies at once, and nothing else', async () => {
      const [one, other] = [await tokenWith(), await tokenWith({ claims: { sid: 'other' } })];
      expect((await browser.get('/orders', bearer(one))).status).toBe(200);
      denied.add('session');
      const refused = await browser.get('/orders', bearer(one));
      expect([refused.status, refused.headers['www-authenticate']]).toEqual([
        401,
        'Bearer error="invalid_token"',
      ]);
      expect((await browser.get('/orders', bearer(other))).status).toBe(200);
      denied.clear();
    });

    it('is asked about right tokens only', async () => {
      broken = new Error('asked');
      const expired = await tokenWith({ claims: { exp: now() - 60 } });
      expect((await browser.get('/orders', bearer(expired))).status).toBe(401);
      broken = undefined;
    });

    it('lets nobody pass while it fails, and logs nobody out', async () => {
      broken = new Error('the list is down');
      const { status, json, headers } = await browser.get('/orders', bearer(await tokenWith()));
      expect([status, json.code]).toEqual([503, 'SESSION_STORE_UNAVAILABLE']);
      expect(headers).toMatchObject({ 'retry-after': '1' });
      expect(headers['www-authenticate']).toBeUndefined();
      broken = undefined;
    });
  });
});
