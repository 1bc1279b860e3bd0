import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { createLocalJWKSet, decodeJwt, decodeProtectedHeader, jwtVerify } from 'jose';
import {
  SessionRequiredError,
  SessionService,
  SessionUnavailableError,
  type Session,
} from 'nestjs-distributed-session';
import { tokenSidOf } from 'nestjs-distributed-session/jwt';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, SECRET, startApp, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { issuedIds } from '../support/secrets.js';
import { ISSUER, ORDERS, Shop, startShop } from './shop.js';

const MINUTE = 60;

describe.each(ADAPTERS)('session.token() on %s', (adapter) => {
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  let shop: Awaited<ReturnType<typeof startShop>>;
  let client: HttpClient;
  const clock = new FakeClock();
  const seconds = () => Math.floor(clock.now() / 1_000);

  beforeAll(async () => {
    redis = await startRedis();
    probe = await RedisProbe.start(redis);
    const session = { redis: redis.connection(), secret: SECRET, clock, absoluteTimeout: '1h' };
    shop = await startShop({ adapter }, session as { absoluteTimeout: '1h' });
  });

  afterAll(async () => {
    client.close();
    await shop.close();
    await probe.stop();
    await redis.stop();
  });

  beforeEach(() => {
    client?.close();
    client = new HttpClient(shop.port);
  });

  const login = (more: object = {}) => client.post('/login', { json: { name: 'alice', ...more } });
  const ask = async (json: object = {}) =>
    client.post('/token', { json: { audience: ORDERS, ...json } });
  const claimsOf = async (json?: object) => decodeJwt((await ask(json)).json.token as string);

  it('tells who is logged in, what they may do and how they proved it', async () => {
    await login({ roles: ['buyer'], permissions: ['orders:write'], factors: ['pwd', 'otp'] });
    const at = seconds();
    clock.advance('2m');
    const { status, json } = await ask();
    expect(status).toBe(200);
    const token = json.token as string;
    const { kid, ...header } = decodeProtectedHeader(token);
    expect(header).toEqual({ alg: 'EdDSA', typ: 'at+jwt' });
    expect(kid).toMatch(/^[\w-]{43}$/);
    const { jti, ...claims } = decodeJwt(token);
    expect(claims).toEqual({
      iss: ISSUER,
      sub: 'alice',
      aud: ORDERS,
      client_id: ISSUER,
      iat: seconds(),
      nbf: seconds(),
      exp: seconds() + 5 * MINUTE,
      sid: tokenSidOf(json.handle as string),
      roles: ['buyer'],
      permissions: ['orders:write'],
      auth_time: at,
      acr: 'aal2',
      amr: ['pwd', 'otp'],
      amr_times: { pwd: at, otp: at },
    });
    expect(jti).toMatch(/^[\w-]{22}$/);
    expect((await claimsOf()).jti).not.toBe(jti);
    const keys = createLocalJWKSet(
      (await shop.issuer.jwks()) as Parameters<typeof createLocalJWKSet>[0],
    );
    const currentDate = new Date(clock.now());
    await expect(jwtVerify(token, keys, { currentDate })).resolves.toBeDefined();
  });

  it('holds nothing by which anybody could use, find or refer to the session', async () => {
    await login();
    const before = issuedIds();
    const { json } = await ask();
    expect(before).toBeGreaterThan(0);
    const token = json.token as string;
    const texts = [
      token,
      JSON.stringify(decodeJwt(token)),
      JSON.stringify(decodeProtectedHeader(token)),
    ];
    const [cookie = ''] = client.jar.values();
    expect(cookie).not.toBe('');
    const secrets = [cookie, cookie.slice(0, 44), json.handle as string];
    for (const text of texts) for (const secret of secrets) expect(text).not.toContain(secret);
    // Nor does its name in the token serve as an id, a handle or a reference.
    const { sid } = decodeJwt(token) as { sid: string };
    const sessions = shop.app.get(SessionService);
    expect(await sessions.get(sid)).toBeUndefined();
    expect(await sessions.find(sid)).toBeUndefined();
    expect(await sessions.revoke(sid)).toBe(false);
    for (const value of [token, sid]) {
      const thief = client.another([['__Host-session', value]]);
      expect((await thief.post('/token', { json: { audience: ORDERS } })).status).toBe(401);
    }
  });

  it('costs the one command by which the session is read, and writes nothing', async () => {
    await login();
    const commands = await probe.commandsDuring(() => ask());
    expect(commands).toHaveLength(1);
    expect(shop.logger.texts('error')).toEqual([]);
  });

  it('names a session alike until it gets a new id', async () => {
    await login();
    const first = await claimsOf();
    expect((await claimsOf()).sid).toBe(first.sid);
    const renewed = await claimsOf({ before: ['regenerate'] });
    expect(renewed.sid).not.toBe(first.sid);
    // The id that the client goes on with is the one that the token was made for.
    expect((await claimsOf()).sid).toBe(renewed.sid);
  });

  it('says who really acts', async () => {
    await login({ roles: ['support'], factors: ['pwd'] });
    await client.post('/step', { json: { what: 'switch' } });
    expect(await claimsOf()).toMatchObject({
      sub: 'bob',
      act: { sub: 'alice' },
      roles: ['guest'],
      amr: ['pwd'],
    });
  });

  it('tells a further factor as soon as it is stored', async () => {
    await login({ factors: ['pwd'] });
    expect(await claimsOf()).toMatchObject({ acr: 'aal1', amr: ['pwd'] });
    await client.post('/step', { json: { what: 'elevate' } });
    expect(await claimsOf()).toMatchObject({ acr: 'aal2', amr: ['pwd', 'otp'] });
  });

  it('is for several services if they are named, and as long as is asked for', async () => {
    await login();
    const several = [ORDERS, 'https://stock.example'];
    const { aud, iat = 0, exp } = await claimsOf({ audience: several, ttl: '1m' });
    expect({ aud, exp }).toEqual({ aud: several, exp: iat + MINUTE });
  });

  it('never outlives the session', async () => {
    await login();
    for (let i = 0; i < 58; i += 29) {
      clock.advance('29m');
      await ask();
    }
    const { iat = 0, exp = 0 } = await claimsOf();
    expect(exp - iat).toBe(2 * MINUTE);
    clock.advance('2m');
    expect((await ask()).status).toBe(401);
  });

  it.each<[string, object, number, string]>([
    ['a login that is not stored', { before: ['login'] }, 500, 'SESSION_UNAVAILABLE'],
    ['a factor that is not stored', { before: ['elevate'] }, 500, 'SESSION_UNAVAILABLE'],
    ['a session that was just ended', { before: ['destroy'] }, 500, 'SESSION_ENDED'],
    [
      'one that was renewed, then ended',
      { before: ['regenerate', 'destroy'] },
      500,
      'SESSION_ENDED',
    ],
  ])('is refused for %s', async (_, json, status, code) => {
    await login();
    const answer = await ask(json);
    expect([answer.status, answer.json.code]).toEqual([status, code]);
    expect(answer.text).not.toContain('eyJ');
  });

  it('is given after such a change, once it is saved', async () => {
    await login({ factors: ['pwd'] });
    expect(await claimsOf({ before: ['login', 'save'] })).toMatchObject({
      sub: 'mallory',
      amr: [],
    });
  });

  it('is refused for nobody', async () => {
    const answer = await ask();
    expect([answer.status, answer.json.code]).toEqual([401, 'SESSION_REQUIRED']);
    expect(answer.setCookie).toEqual([]);
  });

  it.each<[string, object]>([
    ['no audience', { audience: undefined }],
    ['an empty audience', { audience: '' }],
    ['a list without audiences', { audience: [] }],
    ['a list with an empty one', { audience: [ORDERS, ''] }],
    ['a ttl of nothing', { ttl: 0 }],
    ['a negative ttl', { ttl: -1_000 }],
    ['a ttl that is none', { ttl: 'soon' }],
    ['a ttl beyond the longest', { ttl: '61m' }],
  ])('is refused with %s', async (_, json) => {
    await login();
    const session = await sessionOf();
    const options = { audience: ORDERS, ...json } as Parameters<Session['token']>[0];
    await expect(session.token(options)).rejects.toThrow(TypeError);
    expect((await ask(json)).status).toBe(500);
  });

  it('works outside of requests, by handle', async () => {
    await login();
    expect(decodeJwt(await (await sessionOf()).token({ audience: ORDERS })).sub).toBe('alice');
  });

  async function sessionOf(): Promise<Session> {
    const sessions = shop.app.get(SessionService);
    const [{ handle } = { handle: '' }] = await sessions.forPrincipal('alice').list();
    return (await sessions.find(handle)) as Session;
  }

  describe('the keys', () => {
    it('are published, the public ones alone, for caches, without a session', async () => {
      await login();
      let answer = await client.get('/.well-known/jwks.json');
      const commands = await probe.commandsDuring(async () => {
        answer = await client.get('/.well-known/jwks.json');
      });
      expect(commands).toEqual([]);
      expect(answer.status).toBe(200);
      expect(answer.setCookie).toEqual([]);
      expect(answer.headers).toMatchObject({
        'content-type': expect.stringMatching(/^application\/jwk-set\+json/) as unknown,
        'cache-control': 'public, max-age=300',
      });
      expect(answer.json).toEqual({
        keys: [
          {
            kty: 'OKP',
            crv: 'Ed25519',
            x: expect.stringMatching(/^[\w-]{43}$/) as unknown,
            kid: expect.stringMatching(/^[\w-]{43}$/) as unknown,
            alg: 'EdDSA',
            use: 'sig',
          },
        ],
      });
    });
  });
});

describe('a token', () => {
  let redis: RedisUnderTest;
  const apps: TestApp[] = [];
  const browser = async (session: Parameters<typeof startShop>[1]) => {
    const app = await startShop({ adapter: 'express' }, { redis: redis.connection(), ...session });
    apps.push(app);
    return new HttpClient(app.port);
  };

  beforeEach(async () => {
    redis = await startRedis();
  });

  afterEach(async () => {
    for (const app of apps.splice(0)) await app.close();
    await redis.stop();
  });

  it('is of what the store has, whatever copy this node has', async () => {
    const client = await browser({ nearCache: true });
    const probe = await RedisProbe.start(redis);
    await client.post('/login', { json: { name: 'alice' } });
    await client.get('/me');
    const ofCopy = await probe.commandsDuring(() => client.get('/me'));
    const ofStore = await probe.commandsDuring(() => client.get('/token'));
    expect([ofCopy.length, ofStore.length]).toEqual([0, 1]);
    await probe.stop();
    client.close();
  });

  it('is refused to another client than the one that the session began with', async () => {
    const client = await browser({ binding: { userAgent: true, onMismatch: 'reauthenticate' } });
    const from = (browserName: string) => ({ headers: { 'user-agent': browserName } });
    const firefox = 'Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0';
    await client.post('/login', { json: { name: 'alice' }, ...from(firefox) });
    expect((await client.get('/token', from(firefox))).status).toBe(200);
    const { status, json } = await client.get('/token', from('curl/8.0'));
    expect([status, json.code]).toEqual([401, 'SESSION_STEP_UP_REQUIRED']);
    client.close();
  });

  it.each(['stale', 'anonymous'] as const)(
    'is given to nobody while the store does not answer, and requests go on: %s',
    async (onStoreFailure) => {
      const client = await browser({ onStoreFailure });
      await client.post('/login', { json: { name: 'alice' } });
      await client.get('/me');
      await redis.kill();
      expect((await client.get('/me')).status).toBe(200);
      const { status, json, headers } = await client.get('/token');
      expect([status, json.code]).toEqual([503, 'SESSION_STORE_UNAVAILABLE']);
      expect(headers['retry-after']).toBe('1');
      client.close();
    },
  );
});

describe('without the option tokens', () => {
  let app: TestApp;

  beforeAll(async () => {
    app = await startApp({ adapter: 'express', session: { store: 'memory' }, controllers: [Shop] });
  });

  afterAll(() => app.close());

  it('there are none, and the error says what is missing', async () => {
    const session = await app.app.get(SessionService).create({ principal: 'alice' });
    const asked = session.token({ audience: ORDERS });
    await expect(asked).rejects.toThrow(SessionUnavailableError);
    await expect(asked).rejects.toThrow(/option `tokens`/);
  });
});

describe('sessions of another name', () => {
  it('tell it in their tokens', async () => {
    const { SessionModule, getSessionServiceToken } = await import('nestjs-distributed-session');
    const shop = await startAdmin(SessionModule);
    const sessions = shop.app.get<SessionService>(getSessionServiceToken('admin'), {
      strict: false,
    });
    const session = await sessions.create({ principal: 'alice' });
    expect(decodeJwt(await session.token({ audience: ORDERS }))).toMatchObject({ realm: 'admin' });
    await shop.close();
  });
});

async function startAdmin(module: typeof import('nestjs-distributed-session').SessionModule) {
  const { JwtIssuer } = await import('nestjs-distributed-session/jwt');
  const { newKey } = await import('./shop.js');
  return startApp({
    adapter: 'express',
    session: { store: 'memory', tokens: new JwtIssuer({ issuer: ISSUER, keys: newKey() }) },
    imports: [module.forFeature('admin')],
  });
}

describe('the types', () => {
  it('ask for an audience, and take durations', () => {
    const check = (session: Session) => {
      void session.token({ audience: 'a', ttl: '5m' });
      void session.token({ audience: ['a', 'b'] });
      // @ts-expect-error -- nobody is to accept it
      void session.token({});
      // @ts-expect-error -- no duration
      void session.token({ audience: 'a', ttl: 'soon' });
    };
    expect(check).toBeInstanceOf(Function);
    expect(new SessionRequiredError().code).toBe('SESSION_REQUIRED');
  });
});
