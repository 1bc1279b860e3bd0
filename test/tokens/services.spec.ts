import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Injectable } from '@nestjs/common';
import { decodeProtectedHeader } from 'jose';
import { OnSessionEvent, type SessionEvent } from 'nestjs-distributed-session';
import { JwksModule, JwtIssuer, tokenSidOf } from 'nestjs-distributed-session/jwt';
import { createServer, type RequestListener, type Server } from 'node:http';
import { once } from 'node:events';
import { ADAPTERS, inParallel, startApp, until, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { freePort } from '../support/redis-server.js';
import { bearer, ISSUER, newKey, ORDERS, Shop, startOrders, startShop } from './shop.js';

/** Session of tokens that count no more. */
const ended = new Set<string>();

@Injectable()
class Ends {
  /** What was ended, and what goes on under another id. */
  @OnSessionEvent(['destroyed', 'revoked', 'expired', 'elevated', 'authenticated', 'regenerated'])
  note({ type, handle, previous }: SessionEvent): void {
    const isOver = ['destroyed', 'revoked', 'expired'].includes(type);
    for (const one of [isOver ? handle : undefined, previous]) {
      if (one !== undefined) ended.add(tokenSidOf(one));
    }
  }
}

describe.each(ADAPTERS)('a service that is told by tokens who is logged in, on %s', (adapter) => {
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  let shop: TestApp;
  let orders: TestApp;
  let browser: HttpClient;
  let service: HttpClient;
  let connections: number;
  let fetches = 0;
  const [first, second] = [newKey(), newKey('ec')];
  const issuer = new JwtIssuer({ issuer: ISSUER, keys: () => first });

  beforeAll(async () => {
    redis = await startRedis();
    probe = await RedisProbe.start(redis);
    shop = await startApp({
      adapter,
      session: { redis: redis.connection(), tokens: issuer },
      imports: [JwksModule.forRoot({ maxAge: '1m' })],
      controllers: [Shop],
      setup: (app) => {
        app.use((request: { url?: string }, _: unknown, next: () => void) => {
          if (request.url?.endsWith('jwks.json')) fetches++;
          next();
        });
      },
    });
    browser = new HttpClient(shop.port);
    await browser.post('/login', { json: { name: 'alice', roles: ['buyer'] } });
    await probe.watch();
    connections = await probe.connections();
    const url = `http://127.0.0.1:${shop.port}/.well-known/jwks.json`;
    orders = await startOrders({ adapter }, { jwks: { url, cooldown: 0 } });
    service = new HttpClient(orders.port);
  });

  afterAll(async () => {
    service.close();
    browser.close();
    await orders.close();
    await shop.close();
    await probe.stop();
    await redis.stop();
  });

  const newToken = async () => {
    const { status, json } = await browser.post('/token', { json: { audience: ORDERS } });
    expect(status).toBe(200);
    return json.token as string;
  };

  it('asks neither Redis nor, once it has the keys, the issuer', async () => {
    const token = await newToken();
    const commands = await probe.commandsDuring(async () => {
      for (let i = 0; i < 20; i++) {
        const { status, json } = await service.get('/orders', bearer(token));
        expect([status, json.principal]).toEqual([200, 'alice']);
      }
    });
    expect(commands).toEqual([]);
    expect(await probe.connections()).toBe(connections);
    expect(fetches).toBe(1);
  });

  it('refuses no token while keys are replaced under traffic', async () => {
    const used = new Set<unknown>();
    let going = true;
    const refused: unknown[] = [];
    const traffic = inParallel(4, 4, async () => {
      while (going) {
        const token = await newToken();
        used.add(decodeProtectedHeader(token).alg);
        const { status } = await service.get('/orders', bearer(token));
        if (status !== 200) refused.push(status);
      }
    });
    const some = async (alg: string) => {
      used.clear();
      await until(`tokens by ${alg}`, () => used.has(alg), { within: 20_000 });
    };
    await some('EdDSA');
    const last = await newToken();
    await issuer.rotate([first, second]);
    await some('EdDSA');
    await issuer.rotate([second, first]);
    await some('ES256');
    // What the old key has signed is good to its end.
    expect((await service.get('/orders', bearer(last))).status).toBe(200);
    await issuer.rotate(second);
    await some('ES256');
    going = false;
    await traffic;
    expect(refused).toEqual([]);
  });
});

describe.each(ADAPTERS)('a service on %s that is told of ends', (adapter) => {
  let redis: RedisUnderTest;
  let shop: TestApp;
  let orders: TestApp;
  let browser: HttpClient;
  let service: HttpClient;

  beforeAll(async () => {
    redis = await startRedis();
    const issuer = new JwtIssuer({ issuer: ISSUER, keys: newKey() });
    shop = await startApp({
      adapter,
      session: { redis: redis.connection(), tokens: issuer, events: true },
      controllers: [Shop],
      providers: [Ends],
    });
    const deny = ({ sid }: { sid: string }) => ended.has(sid);
    orders = await startOrders({ adapter }, { jwks: await issuer.jwks(), deny });
    [browser, service] = [new HttpClient(shop.port), new HttpClient(orders.port)];
  });

  afterAll(async () => {
    service.close();
    browser.close();
    await orders.close();
    await shop.close();
    await redis.stop();
  });

  it('refuses the tokens of a session that has ended', async () => {
    const guest = browser.another();
    await guest.post('/login', { json: { name: 'carol' } });
    const { json } = await guest.post('/token', { json: { audience: ORDERS } });
    const { token } = json as { token: string };
    expect((await service.get('/orders', bearer(token))).status).toBe(200);
    await guest.post('/step', { json: { what: 'logout' } });
    expect((await guest.post('/token', { json: { audience: ORDERS } })).status).toBe(401);
    await until('the refusal', async () => {
      const { status } = await service.get('/orders', bearer(token));
      return status === 401;
    });
  });

  it('refuses tokens that a session got under an id which it has given up', async () => {
    const guest = browser.another();
    await guest.post('/login', { json: { name: 'dave' } });
    const ask = () => guest.post('/token', { json: { audience: ORDERS } });
    const { token } = (await ask()).json as { token: string };
    await guest.post('/step', { json: { what: 'elevate' } });
    await until('the refusal', async () => {
      return (await service.get('/orders', bearer(token))).status === 401;
    });
    const renewed = (await ask()).json as { token: string };
    expect((await service.get('/orders', bearer(renewed.token))).status).toBe(200);
  });
});

describe.each(ADAPTERS)('a service on %s that cannot fetch the keys', (adapter) => {
  const issuer = new JwtIssuer({ issuer: ISSUER, keys: newKey() });
  let port: number;
  let server: Server | undefined;
  let answer: RequestListener;
  let asked = 0;
  let orders: TestApp;
  let service: HttpClient;
  let now: number;

  beforeEach(async () => {
    [asked, now, port] = [0, 1_900_000_000_000, await freePort()];
    const keys = JSON.stringify(await issuer.jwks());
    answer = (_, response) => void response.end(keys);
    const url = `http://127.0.0.1:${port}/keys`;
    const clock = { now: () => now };
    orders = await startOrders({ adapter }, { jwks: { url, cooldown: 0 }, clock });
    service = new HttpClient(orders.port);
  });

  afterEach(async () => {
    service.close();
    await orders.close();
    await stop();
  });

  async function serve(): Promise<void> {
    server = createServer((request, response) => {
      asked++;
      answer(request, response);
    }).listen(port, '127.0.0.1');
    await once(server, 'listening');
  }

  async function stop(): Promise<void> {
    if (!server) return;
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
    server = undefined;
  }

  const token = () =>
    issuer.issue(
      {
        principal: 'alice',
        actor: undefined,
        roles: [],
        permissions: [],
        factors: {},
        authenticatedAt: now,
        assurance: 1,
        sid: 'session',
        realm: undefined,
      },
      { audience: [ORDERS], issuedAt: now, expiresAt: now + 300_000 },
    );
  const send = async () => service.get('/orders', bearer(await token()));

  it('answers 503, not 401, and works as soon as it can', async () => {
    const { status, json, headers } = await send();
    expect([status, json.code]).toEqual([503, 'SESSION_STORE_UNAVAILABLE']);
    expect(headers['retry-after']).toBe('1');
    expect(headers['www-authenticate']).toBeUndefined();
    await serve();
    now += 1_000;
    expect((await send()).status).toBe(200);
  });

  it.each<[string, RequestListener]>([
    ['answers with an error', (_, response) => void response.writeHead(500).end()],
    ['answers what is no JWK set', (_, response) => void response.end('{"keys":1}')],
    ['answers what is no JSON', (_, response) => void response.end('<html>')],
    [
      'leads elsewhere',
      (_, response) => void response.writeHead(302, { location: '/others' }).end(),
    ],
  ])('answers 503 where the issuer %s', async (_, listener) => {
    const right = answer;
    answer = (request, response) =>
      request.url === '/keys' ? listener(request, response) : right(request, response);
    await serve();
    expect((await send()).status).toBe(503);
  });

  it('asks once a second at most', async () => {
    answer = (_, response) => void response.writeHead(503).end();
    await serve();
    for (let i = 0; i < 5; i++) expect((await send()).status).toBe(503);
    expect(asked).toBe(1);
    now += 1_000;
    await send();
    expect(asked).toBe(2);
    expect(orders.logger.texts('warn')).toHaveLength(2);
  });

  it('goes on with the keys that it has, whatever else is asked of it', async () => {
    await serve();
    expect((await send()).status).toBe(200);
    await stop();
    const header = Buffer.from('{"alg":"EdDSA","kid":"other","typ":"at+jwt"}').toString(
      'base64url',
    );
    const forged = await service.get('/orders', bearer(`${header}.e30.${'A'.repeat(86)}`));
    expect(forged.status).toBe(503);
    expect((await send()).status).toBe(200);
  });
});

describe('a token after a logout', () => {
  it('lives to its end, and no longer, where nobody tells the service', async () => {
    let now = 1_900_000_000_000;
    const clock = { now: () => now };
    const shop = await startShop({ adapter: 'express' }, { store: 'memory', clock });
    const orders = await startOrders(
      { adapter: 'fastify' },
      { jwks: await shop.issuer.jwks(), clock, clockTolerance: 0 },
    );
    const [browser, service] = [new HttpClient(shop.port), new HttpClient(orders.port)];
    await browser.post('/login', { json: { name: 'alice' } });
    const { json } = await browser.post('/token', { json: { audience: ORDERS, ttl: '2m' } });
    await browser.post('/step', { json: { what: 'logout' } });
    const statuses: number[] = [];
    for (const later of [0, 119_000, 1_000]) {
      now += later;
      statuses.push((await service.get('/orders', bearer(json.token))).status);
    }
    expect(statuses).toEqual([200, 200, 401]);
    browser.close();
    service.close();
    await orders.close();
    await shop.close();
  });
});
