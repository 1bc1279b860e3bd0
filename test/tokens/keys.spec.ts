import { describe, expect, it } from '@jest/globals';
import { calculateJwkThumbprint, decodeProtectedHeader, exportJWK, type JWK } from 'jose';
import { createPrivateKey, createPublicKey, createSecretKey, webcrypto } from 'node:crypto';
import { inspect } from 'node:util';
import { SessionModule, SessionOptionsError } from 'nestjs-distributed-session';
import {
  JwksModule,
  JwtIssuer,
  JwtSessionModule,
  JwtVerifier,
  type JwtIssuerOptions,
  type JwtKey,
  type JwtSessionOptions,
} from 'nestjs-distributed-session/jwt';
import { startApp, TestLogger } from '../support/app.js';
import { ISSUER, newKey, ORDERS } from './shop.js';

const NOW = 1_900_000_000_000;
const SUBJECT = {
  principal: 'alice',
  actor: undefined,
  roles: [],
  permissions: [],
  factors: {},
  authenticatedAt: NOW,
  assurance: 1,
  sid: 'session',
  realm: undefined,
};
const TERMS = { audience: [ORDERS], issuedAt: NOW, expiresAt: NOW + 60_000 };

const issuerOf = (keys: JwtIssuerOptions['keys']) => new JwtIssuer({ issuer: ISSUER, keys });
const headerOf = async (issuer: JwtIssuer) =>
  decodeProtectedHeader(await issuer.issue(SUBJECT, TERMS));
const verifierOf = (jwks: JwtSessionOptions['jwks'], more: Partial<JwtSessionOptions> = {}) =>
  JwtVerifier.create({
    issuer: ISSUER,
    audience: ORDERS,
    jwks,
    clock: { now: () => NOW },
    ...more,
  });

const pem = newKey();
const publicPem = (key: string) =>
  createPublicKey(key).export({ type: 'spki', format: 'pem' }) as string;
const jwkOf = async (key: string) =>
  (await exportJWK(createPrivateKey(key))) as Record<string, unknown>;
const jwk = await jwkOf(pem);
const cryptoKey = (await webcrypto.subtle.generateKey({ name: 'Ed25519' }, false, [
  'sign',
  'verify',
])) as webcrypto.CryptoKeyPair;

describe('keys of an issuer', () => {
  it.each<[string, string, () => JwtKey | Promise<JwtKey>]>([
    ['EdDSA', 'an Ed25519 key as PEM', () => pem],
    ['EdDSA', 'as JWK', async () => jwkOf(pem)],
    ['EdDSA', 'as KeyObject', () => createPrivateKey(pem)],
    ['EdDSA', 'as CryptoKey that cannot be exported', () => cryptoKey.privateKey],
    ['ES256', 'of P-256', () => newKey('ec')],
    ['RS256', 'of RSA', () => newKey('rsa')],
  ])('sign by %s: %s', async (alg, _, key) => {
    const issuer = issuerOf(key);
    const { keys } = await issuer.jwks();
    const [jwk = {}] = keys;
    expect(keys).toHaveLength(1);
    expect(jwk).toMatchObject({ alg, use: 'sig', kid: await calculateJwkThumbprint(jwk as JWK) });
    expect(await headerOf(issuer)).toEqual({ alg, kid: jwk.kid, typ: 'at+jwt' });
    for (const secret of ['d', 'p', 'q', 'dp', 'dq', 'qi', 'k', 'oth']) {
      expect(jwk).not.toHaveProperty(secret);
    }
    const token = await issuer.issue(SUBJECT, TERMS);
    await expect((await verifierOf({ keys })).verify(token)).resolves.toMatchObject({
      sub: 'alice',
    });
  });

  it('are called what the application says, or their JWK', async () => {
    const named = issuerOf([
      { key: pem, kid: 'mine' },
      { ...(await jwkOf(newKey())), kid: 'other' },
    ]);
    expect((await named.jwks()).keys.map(({ kid }) => kid)).toEqual(['mine', 'other']);
    expect(await headerOf(named)).toMatchObject({ kid: 'mine' });
  });

  it('sign by the first; the others verify, and may be public', async () => {
    const [old, next] = [newKey(), newKey('ec')];
    const issuer = issuerOf([old, publicPem(next)]);
    expect(await headerOf(issuer)).toMatchObject({ alg: 'EdDSA' });
    await issuer.rotate([next, publicPem(old)]);
    expect(await headerOf(issuer)).toMatchObject({ alg: 'ES256' });
    expect((await issuer.jwks()).keys.map(({ alg }) => alg)).toEqual(['ES256', 'EdDSA']);
  });

  it('stay as they are if others cannot be used', async () => {
    const issuer = issuerOf(pem);
    await expect(issuer.rotate('no key')).rejects.toThrow(SessionOptionsError);
    await expect(issuer.rotate([])).rejects.toThrow(SessionOptionsError);
    expect(await headerOf(issuer)).toMatchObject({ alg: 'EdDSA' });
  });

  it('are fetched once, and again if that failed', async () => {
    let calls = 0;
    const issuer = issuerOf(async () => {
      if (++calls === 1) throw new Error('vault');
      return pem;
    });
    await expect(issuer.ready()).rejects.toThrow('vault');
    await Promise.all([issuer.ready(), issuer.ready(), issuer.jwks()]);
    expect(calls).toBe(2);
  });

  it.each<[string, unknown, RegExp]>([
    ['a shared secret', createSecretKey(Buffer.alloc(32, 1)), /shared secret/],
    ['a shared secret as JWK', { kty: 'oct', k: 'A'.repeat(43) }, /cannot be used/],
    ['a text', 'hunter2hunter2hunter2', /cannot be used/],
    ['nothing', [undefined], /cannot be used/],
    ['an empty list', [], /empty/],
    ['a public key in front', publicPem(pem), /public key/],
    ['the same key twice', [pem, pem], /kid of another/],
    ['RSA of 1024 bits', newKey('rsa', 1_024), /2048/],
    ['a key for another algorithm', { ...jwk, alg: 'ES256' }, /another algorithm/],
    ['a kid that is none', { key: pem, kid: 7 }, /kid/],
  ])('are refused at boot, without a word of what they are: %s', async (_, keys, message) => {
    const issuer = issuerOf(keys as JwtKey);
    const error = await issuer.ready().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(SessionOptionsError);
    expect((error as Error).message).toMatch(message);
    expect(inspect(error, { depth: 9 })).not.toMatch(/hunter2|BEGIN|AAAAAAA/);
    const imports = [SessionModule.forRoot({ store: 'memory', tokens: issuer })];
    await expect(startApp({ adapter: 'express', imports })).rejects.toThrow(message);
  });

  it('are printed by nothing', async () => {
    for (const key of [pem, jwk, { key: pem, kid: 'mine' }] as JwtKey[]) {
      const issuer = issuerOf(key);
      await issuer.ready();
      const options = { depth: 20, showHidden: true, getters: true } as const;
      const texts = [
        inspect(issuer, options),
        inspect({ issuer }, options),
        JSON.stringify(issuer),
        JSON.stringify(await issuer.jwks()),
      ];
      for (const text of texts) {
        expect(text).not.toContain(jwk.d);
        expect(text).not.toMatch(/PRIVATE|BEGIN/);
        expect(text).not.toContain(pem.split('\n')[1]);
      }
    }
  });
});

describe('keys that a service is given', () => {
  it.each<[string, () => Promise<JwtSessionOptions['jwks']>]>([
    ['PEM', async () => [publicPem(pem)]],
    ['a KeyObject', async () => [createPublicKey(pem)]],
    ['a JWK', async () => (await issuerOf(pem).jwks()).keys],
    ['a JWK set', async () => issuerOf(pem).jwks()],
  ])('may be %s', async (_, jwks) => {
    const token = await issuerOf(pem).issue(SUBJECT, TERMS);
    const verifier = await verifierOf(await jwks());
    await expect(verifier.verify(token)).resolves.toMatchObject({ sub: 'alice', sid: 'session' });
  });

  it('are fewer where algorithms says so', async () => {
    const token = await issuerOf(pem).issue(SUBJECT, TERMS);
    const verifier = await verifierOf([publicPem(pem)], { algorithms: ['ES256'] });
    await expect(verifier.verify(token)).rejects.toMatchObject({ code: 'SESSION_REQUIRED' });
  });

  it('are of sessions of one name', async () => {
    const token = await issuerOf(pem).issue({ ...SUBJECT, realm: 'admin' }, TERMS);
    const [admin, other] = await Promise.all(
      ['admin', 'staff'].map((realm) => verifierOf([publicPem(pem)], { realm })),
    );
    await expect(admin?.verify(token)).resolves.toMatchObject({ realm: 'admin' });
    await expect(other?.verify(token)).rejects.toMatchObject({ code: 'SESSION_REQUIRED' });
  });
});

describe('wrong options', () => {
  it.each<[string, object, RegExp]>([
    ['no issuer', { issuer: undefined }, /issuer is missing/],
    ['no audience', { audience: undefined }, /audience is missing/],
    ['an empty audience', { audience: [] }, /audience is missing/],
    ['no keys', { jwks: undefined }, /jwks is missing/],
    ['a shared secret', { jwks: [{ kty: 'oct', k: 'A'.repeat(43) }] }, /shared secret/],
    ['a private key', { jwks: [pem] }, /private key/],
    ['keys by plain http', { jwks: 'http://shop.example/keys' }, /https/],
    ['keys by plain http from a host like this one', { jwks: 'http://127.evil.example' }, /https/],
    ['keys of a file', { jwks: 'file:///etc/keys' }, /https/],
    ['what is no URL', { jwks: 'keys' }, /https/],
    ['fetching all the time', { jwks: { url: 'https://x.example', maxAge: 0 } }, /maxAge/],
    ['tokens that are not signed', { algorithms: ['none'] }, /algorithms/],
    ['a shared secret by algorithm', { algorithms: ['EdDSA', 'HS256'] }, /algorithms/],
    ['no algorithms', { algorithms: [] }, /algorithms/],
    ['clocks that differ by an hour', { clockTolerance: '1h' }, /clockTolerance/],
    ['a name that is none', { realm: '' }, /realm/],
    ['a deny that is none', { deny: true }, /deny/],
  ])('of a service do not boot: %s', async (_, more, message) => {
    const right = { issuer: ISSUER, audience: ORDERS, jwks: 'https://shop.example/keys' };
    const options = { ...right, ...more } as JwtSessionOptions;
    const start = startApp({
      adapter: 'fastify',
      imports: [JwtSessionModule.forRoot(options)],
      logger: new TestLogger(),
    });
    await expect(start).rejects.toThrow(SessionOptionsError);
    await expect(start).rejects.toThrow(message);
  });

  it.each<[string, object, RegExp]>([
    ['no issuer', { issuer: '' }, /issuer is missing/],
    ['no keys', { keys: undefined }, /keys are missing/],
    ['no client', { clientId: '' }, /clientId/],
    ['a ttl of nothing', { ttl: 0 }, /ttl/],
    ['a ttl beyond the longest', { ttl: '2h' }, /ttl/],
    ['a longest of nothing', { maxTtl: 0 }, /maxTtl/],
  ])('of an issuer are refused when it is made: %s', (_, more, message) => {
    const make = () => new JwtIssuer({ issuer: ISSUER, keys: pem, ...more } as JwtIssuerOptions);
    expect(make).toThrow(SessionOptionsError);
    expect(make).toThrow(message);
  });

  it.each<unknown>([{}, 'jwt', null, { issue: () => '' }, { issue: () => '', ttl: 1, maxTtl: 2 }])(
    'of SessionModule do not boot: tokens %j',
    async (tokens) => {
      const imports = [SessionModule.forRoot({ store: 'memory', tokens: tokens as JwtIssuer })];
      await expect(startApp({ adapter: 'express', imports })).rejects.toThrow(
        /tokens .*use a JwtIssuer/,
      );
    },
  );

  it('of the published keys do not boot', async () => {
    expect(() => JwksModule.forRoot({ path: 'keys' })).toThrow(SessionOptionsError);
    expect(() => JwksModule.forRoot({ maxAge: -1 })).toThrow(SessionOptionsError);
    const imports = [SessionModule.forRoot({ store: 'memory' }), JwksModule.forRoot()];
    await expect(startApp({ adapter: 'express', imports })).rejects.toThrow(/no keys to publish/);
  });

  it('do not compile', () => {
    const check = () => {
      // @ts-expect-error -- a shared secret signs nothing here
      void verifierOf('https://x.example', { algorithms: ['HS256'] });
      // @ts-expect-error -- an issuer has keys
      void new JwtIssuer({ issuer: ISSUER });
      // @ts-expect-error -- a service has a name
      void JwtSessionModule.forRoot({ issuer: ISSUER, jwks: 'https://x.example' });
    };
    expect(check).toBeInstanceOf(Function);
  });
});

describe('the module for services', () => {
  it('takes its options from a factory, and hands out the verifier', async () => {
    const { app } = await startApp({
      adapter: 'express',
      imports: [
        JwtSessionModule.forRootAsync({
          useFactory: async () => ({
            issuer: ISSUER,
            audience: ORDERS,
            jwks: await issuerOf(pem).jwks(),
            clock: { now: () => NOW },
          }),
        }),
      ],
    });
    const token = await issuerOf(pem).issue(SUBJECT, TERMS);
    await expect(app.get(JwtVerifier).verify(token)).resolves.toMatchObject({ sub: 'alice' });
    await app.close();
  });
});
