import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AppProcess } from '../support/app-process.js';
import { SECRET } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { MariadbServer } from '../support/mariadb.js';
import { PostgresServer } from '../support/postgres.js';
import { RedisServer } from '../support/redis-server.js';

const BOOT = 180_000;
const ALICE = { username: 'alice', password: 'wonderland' };

/** What the shop does where its sessions are, beside what it does everywhere. */
interface Case {
  readonly environment: () => Record<string, string>;
  /** As the log says it. */
  readonly where: RegExp;
  /** Devices can be listed, and ended from elsewhere. */
  readonly lists: boolean;
  /** A node that is started again knows its sessions; so do nodes beside it. */
  readonly lasts: boolean;
}

let redis: RedisServer;
let postgres: PostgresServer | undefined;
let mariadb: MariadbServer | undefined;
const folder = mkdtempSync(join(tmpdir(), 'shop-stores-'));

const CASES: Record<string, Case> = {
  redis: {
    environment: () => ({ STORE: 'redis', REDIS_URL: redis.url }),
    where: /kept in Redis at/,
    lists: true,
    lasts: true,
  },
  memory: {
    environment: () => ({ STORE: 'memory' }),
    where: /in the memory of this process/,
    lists: true,
    lasts: false,
  },
  'sql: SQLite': {
    environment: () => ({ STORE: 'sql', DATABASE_URL: join(folder, 'sessions.db') }),
    where: /kept in the SQLite file/,
    lists: true,
    lasts: true,
  },
  ...(PostgresServer.isThere && {
    'sql: PostgreSQL': {
      environment: () => ({ STORE: 'sql', DATABASE_URL: (postgres as PostgresServer).url }),
      where: /kept in the database postgres:/,
      lists: true,
      lasts: true,
    },
  }),
  ...(MariadbServer.isThere && {
    'sql: MariaDB': {
      environment: () => ({ STORE: 'sql', DATABASE_URL: (mariadb as MariadbServer).url }),
      where: /kept in the database mysql:/,
      lists: true,
      lasts: true,
    },
  }),
  tiered: {
    environment: () => ({
      STORE: 'tiered',
      REDIS_URL: redis.url,
      DATABASE_URL: join(folder, 'tiered.db'),
    }),
    where: /Redis at .* while they are in use, and all of them in the SQLite file/,
    lists: true,
    lasts: true,
  },
  cookie: {
    environment: () => ({ STORE: 'cookie', REDIS_URL: redis.url }),
    where: /sealed in cookies; Redis knows which were ended/,
    lists: false,
    lasts: true,
  },
  jwt: {
    environment: () => ({ STORE: 'jwt', REDIS_URL: redis.url }),
    where: /in signed tokens that they can read/,
    lists: false,
    lasts: true,
  },
  file: {
    environment: () => ({ STORE: 'file', SESSION_DIRECTORY: join(folder, 'files') }),
    where: /kept in files in/,
    lists: false,
    lasts: true,
  },
};

beforeAll(async () => {
  redis = await RedisServer.start();
  if (PostgresServer.isThere) postgres = await PostgresServer.start();
  if (MariadbServer.isThere) mariadb = await MariadbServer.start();
}, BOOT);

afterAll(async () => {
  await redis?.stop();
  await postgres?.stop();
  await mariadb?.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe.each(Object.entries(CASES))('the shop with its sessions in %s', (_, one) => {
  const apps: AppProcess[] = [];

  const start = async () => {
    // Nodes need not run on the same adapter.
    const adapter = apps.length % 2 === 0 ? 'fastify' : 'express';
    const environment = { ...one.environment(), SESSION_SECRET: SECRET, ADAPTER: adapter };
    const app = await AppProcess.start(environment);
    apps.push(app);
    return app;
  };

  afterEach(async () => {
    for (const app of apps.splice(0)) await app.stop();
  });

  it('keeps the cart through the login, and nothing after the logout', async () => {
    const app = await start();
    expect(app.log).toMatch(one.where);
    const visitor = new HttpClient(app.port);
    expect((await visitor.post('/cart/items', { json: { sku: 'mug', qty: 1 } })).status).toBe(201);
    const before = new Map(visitor.jar);
    expect((await visitor.post('/auth/login', { json: ALICE })).status).toBe(200);
    expect((await visitor.get('/auth/me')).json).toEqual({ principal: 'alice', roles: [] });
    const { items } = (await visitor.get('/cart')).json as { items: unknown[] };
    expect(items).toHaveLength(1);
    // Nobody is logged in by what an attacker may have known before.
    expect((await visitor.another(before).get('/auth/me')).status).toBe(401);

    const stolen = visitor.another(visitor.jar);
    expect((await stolen.get('/auth/me')).status).toBe(200);
    expect((await visitor.post('/auth/logout')).status).toBe(204);
    expect((await visitor.get('/auth/me')).status).toBe(401);
    expect((await stolen.get('/auth/me')).status).toBe(401);
    visitor.close();
  });

  it(`lists devices${one.lists ? '' : ' not, and says so'}`, async () => {
    const app = await start();
    const here = new HttpClient(app.port);
    const there = here.another();
    for (const device of [here, there]) {
      expect((await device.post('/auth/login', { json: ALICE })).status).toBe(200);
    }
    const answer = await here.get('/devices');
    if (one.lists) {
      expect(answer.json).toMatchObject({ devices: [{}, {}] });
      expect((await here.post('/devices/revoke-others')).json).toEqual({ revoked: 1 });
      expect((await there.get('/auth/me')).status).toBe(401);
    } else {
      expect(answer.status).toBe(501);
      expect(answer.json).toMatchObject({ code: 'SESSION_UNAVAILABLE' });
    }
    expect((await here.get('/auth/me')).status).toBe(200);
    here.close();
  });

  it(`is ${one.lasts ? '' : 'not '}known to another node, and to one that starts later`, async () => {
    const first = await start();
    const visitor = new HttpClient(first.port);
    await visitor.post('/auth/login', { json: ALICE });
    await visitor.post('/cart/items', { json: { sku: 'mug', qty: 1 } });
    await first.stop();
    apps.splice(0);
    const later = await start();
    const again = new HttpClient(later.port, visitor.jar);
    expect((await again.get('/auth/me')).status).toBe(one.lasts ? 200 : 401);
    if (one.lasts) expect((await again.get('/cart')).json).toMatchObject({ items: [{}] });
    again.close();
    visitor.close();
  });
});
