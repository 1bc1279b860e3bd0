import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { SessionService, type Duration } from 'nestjs-distributed-session';
import { SqlSessionStore } from 'nestjs-distributed-session/sql';
import {
  tieredStore,
  type TieredMode,
  type TieredStoreOptions,
} from 'nestjs-distributed-session/tiered';
import { sql } from 'kysely';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { toMilliseconds } from '../../lib/core/duration.js';
import { ADAPTERS, inParallel, SECRET, until, type AdapterName } from '../support/app.js';
import { FaultShop } from '../support/fault-shop.js';
import type { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import type { MariadbServer } from '../support/mariadb.js';
import type { PostgresServer } from '../support/postgres.js';
import { RedisServer } from '../support/redis-server.js';
import { describeSql, startSql, type SqlBackend } from '../support/sql-backends.js';

let redis: RedisServer;
let client: Redis;
const opened = new Opened();

beforeAll(async () => {
  redis = await RedisServer.start();
  client = redis.connect();
}, 60_000);
afterEach(opened.close);
afterAll(async () => {
  client.disconnect();
  await redis.stop();
});

/** A shop whose sessions are in a database, those in use in Redis as well. */
async function shopOver(
  backend: SqlBackend,
  adapter: AdapterName,
  more: Partial<TieredStoreOptions> = {},
  idleTimeout: Duration = '30m',
) {
  const db = backend.connect();
  const table = await backend.tablesBy(db);
  const sql = () => new SqlSessionStore({ db, table, sweepEvery: false, timeout: '500ms' });
  const store = tieredStore({ base: sql(), redis: redis.url, keyPrefix: `sess:${table}`, ...more });
  const app = await opened.app({
    adapter,
    session: { store, secret: SECRET, idleTimeout },
    controllers: [FaultShop],
  });
  const sessions = app.app.get(SessionService);
  return { app, browser: opened.browser(app), sessions, base: opened.add(sql()) };
}

async function loggedIn(browser: HttpClient, name: string): Promise<HttpClient> {
  expect((await browser.post(`/login/${name}`)).status).toBe(200);
  return browser;
}

/** How long a database is away in these tests, by hand such as OUTAGE=10s; and the idle window, which is shorter. */
const LASTS = toMilliseconds(process.env.OUTAGE ?? '4s') as number;
const IDLE = '3s';

/** How it goes, and comes back. */
interface Absence {
  readonly begin: () => Promise<void> | void;
  readonly end: () => Promise<void> | void;
}

/** Visitors that count, before, while and after the database is away. */
async function visited(backend: SqlBackend, mode: TieredMode, absence: Absence) {
  const how = { mode, flushEvery: '100ms' } as const;
  const { browser, sessions, base } = await shopOver(backend, 'express', how, IDLE);
  const name = (i: number) => `${mode}-${i}`;
  const visitors = await inParallel(4, 4, (i) => loggedIn(browser.another(), name(i)));
  const counted = visitors.map(() => 0);
  const unsure = visitors.map(() => 0);
  const visit = async (i: number) => {
    if (await written(visitors[i]!)) counted[i]!++;
    else unsure[i]!++;
  };
  for (let n = 0; n < 3; n++) await Promise.all(visitors.map((_, i) => visit(i)));
  await Promise.all(visitors.map(read));
  const listed = await Promise.all(visitors.map((_, i) => sessions.forPrincipal(name(i)).list()));
  const handles = listed.map(([one]) => one!.handle);
  const during = { reads: 0, readsFailed: 0, writes: 0, writesFailed: 0 };
  await absence.begin();
  let isOver = false;
  const over = pause(LASTS)
    .then(absence.end)
    .finally(() => (isOver = true));
  try {
    expect((await browser.another().post('/login/nobody')).status).toBe(503);
    // Two only read, two write: what a write has begun to change is not read until the database answers.
    while (!isOver) {
      for (const i of [0, 1]) {
        if ((await visitors[i]!.get('/read')).status === 200) during.reads++;
        else during.readsFailed++;
      }
      for (const i of [2, 3]) {
        const before = counted[i]!;
        await visit(i);
        if (counted[i]! > before) during.writes++;
        else during.writesFailed++;
      }
      await pause(20);
    }
  } finally {
    await over;
  }
  const works = () =>
    sessions.ping().then(
      () => true,
      () => false,
    );
  await until('the database answers', works, { within: 20_000 });
  const found = (await Promise.all(visitors.map(read))) as number[];
  return { during, found, counted, unsure, handles, base };
}

/** Hot sessions are read, and none ends; nothing that was acknowledged is lost. */
async function ridesOutWritingThrough(backend: SqlBackend, absence: Absence) {
  const { during, found, counted, unsure } = await visited(backend, 'write-through', absence);
  expect(during.reads).toBeGreaterThan(0);
  expect(during.readsFailed).toBe(0);
  expect(during.writesFailed).toBeGreaterThan(during.writes);
  found.forEach((n, i) => {
    expect(n).toBeGreaterThanOrEqual(counted[i]!);
    expect(n).toBeLessThanOrEqual(counted[i]! + unsure[i]!);
  });
}

/** Contents are written on, and come to the database. */
async function ridesOutWritingBehind(backend: SqlBackend, absence: Absence) {
  const { during, found, counted, handles, base } = await visited(backend, 'write-behind', absence);
  expect(during).toMatchObject({ readsFailed: 0, writesFailed: 0 });
  expect(during.writes).toBeGreaterThan(0);
  expect(found).toEqual(counted);
  await until('the database has it', async () => {
    const values = await Promise.all(handles.map((one) => base.load(one)));
    return values.every((one, i) => one?.value.endsWith(`{"n":${counted[i]}}`));
  });
}

const written = async (browser: HttpClient) => (await browser.post('/write')).status === 200;
const read = async (browser: HttpClient) => (await browser.get('/read')).json.n;

describeSql(['sqlite'], (dialect) => {
  let backend: SqlBackend;
  beforeAll(async () => {
    backend = await startSql(dialect);
  }, 60_000);
  afterAll(() => backend?.stop());

  describe.each(ADAPTERS)('an application on %s', (adapter) => {
    it.each(['write-through', 'write-behind'] as const)(
      'has its sessions in both tiers, and ends them in both: %s',
      async (mode) => {
        const { browser, sessions, base } = await shopOver(backend, adapter, { mode });
        await loggedIn(browser, 'alice');
        const phone = await loggedIn(browser.another(), 'alice');
        for (let n = 0; n < 3; n++) expect(await written(browser)).toBe(true);
        expect(await read(browser)).toBe(3);
        expect((await browser.get('/devices/alice')).json.handles).toHaveLength(2);
        if (mode === 'write-through') await client.flushall();
        expect(await read(browser)).toBe(3);
        expect((await browser.post('/logout')).status).toBe(204);
        expect((await browser.get('/me')).status).toBe(401);
        expect((await phone.get('/me')).status).toBe(200);
        expect(await sessions.forPrincipal('alice').revokeAll()).toBe(1);
        expect((await phone.get('/me')).status).toBe(401);
        expect(await base.count()).toBe(0);
      },
    );
  });

  it('loses nothing of 30 visitors while Redis forgets all, five times', async () => {
    const { browser } = await shopOver(backend, 'express');
    const visitors = await inParallel(30, 10, (i) => loggedIn(browser.another(), `visitor-${i}`));
    const untrue: string[] = [];
    let rounds = 0;
    const visits = visitors.map(async (visitor, i) => {
      for (let n = 1; n <= 12; n++) {
        if (!(await written(visitor))) untrue.push(`write ${n} of ${i} failed`);
        const found = await read(visitor);
        if (found !== n) untrue.push(`${i} read ${String(found)} after ${n}`);
        rounds++;
      }
    });
    const flushes = async () => {
      for (let i = 1; i <= 5; i++) {
        await until('visitors go on', () => rounds >= i * 55, { within: 60_000 });
        await client.flushall();
      }
    };
    await Promise.all([...visits, flushes()]);
    expect(untrue).toEqual([]);
    expect(await Promise.all(visitors.map(read))).toEqual(visitors.map(() => 12));
  }, 90_000);

  it('confirms no logout while Redis is down, and ends the session in both when it is back', async () => {
    const { browser, sessions, base } = await shopOver(backend, 'express');
    await loggedIn(browser, 'bob');
    expect(await written(browser)).toBe(true);
    const cookies = [...browser.jar];
    await redis.kill();
    try {
      expect((await browser.post('/logout')).status).toBe(503);
      expect(sessions.counters().logoutsPending).toBe(1);
    } finally {
      await redis.run();
    }
    await until('it is ended', () => sessions.counters().logoutsPending === 0, { within: 20_000 });
    expect(sessions.counters().logoutsConfirmedLate).toBe(1);
    expect((await browser.another(cookies).get('/me')).status).toBe(401);
    expect(await base.count()).toBe(0);
  }, 40_000);
});

describeSql(['mysql'], (dialect) => {
  let backend: SqlBackend;
  beforeAll(async () => {
    backend = await startSql(dialect);
  }, 60_000);
  afterAll(() => backend?.stop());

  /** The whole server, which is one process. */
  const standStill = (still: boolean) => {
    const { directory } = backend.server as MariadbServer;
    const pid = Number(readFileSync(join(directory, 'pid'), 'utf8'));
    process.kill(pid, still ? 'SIGSTOP' : 'SIGCONT');
  };

  const stillness: Absence = { begin: () => standStill(true), end: () => standStill(false) };
  const server = () => backend.server as MariadbServer;
  const death: Absence = {
    begin: () => server().end(),
    end: () => server().run(),
  };

  it(
    'rides out a database that stands still, write-through',
    () => ridesOutWritingThrough(backend, stillness),
    60_000 + LASTS,
  );

  it(
    'rides out a database that stands still, write-behind',
    () => ridesOutWritingBehind(backend, stillness),
    60_000 + LASTS,
  );

  it(
    'rides out a database that is ended and started again, write-behind',
    () => ridesOutWritingBehind(backend, death),
    60_000 + LASTS,
  );

  it('confirms no logout while the database stands still, and serves nobody by it meanwhile', async () => {
    const { browser, sessions } = await shopOver(backend, 'fastify');
    await loggedIn(browser, 'carol');
    expect(await read(browser)).toBeNull();
    const cookies = [...browser.jar];
    standStill(true);
    try {
      expect((await browser.post('/logout')).status).toBe(503);
      expect((await browser.another(cookies).get('/me')).status).toBe(503);
    } finally {
      standStill(false);
    }
    await until('it is ended', () => sessions.counters().logoutsPending === 0, { within: 20_000 });
    expect((await browser.another(cookies).get('/me')).status).toBe(401);
  }, 60_000);
});

describeSql(['postgres'], (dialect) => {
  let backend: SqlBackend;
  beforeAll(async () => {
    backend = await startSql(dialect);
  }, 60_000);
  afterAll(() => backend?.stop());

  const server = () => backend.server as PostgresServer;
  const death: Absence = {
    begin: async () => {
      await sql`checkpoint`.execute(backend.connect());
      await server().end('SIGQUIT');
    },
    end: () => server().run(),
  };

  it(
    'rides out a database that is killed and started again, write-through',
    () => ridesOutWritingThrough(backend, death),
    60_000 + LASTS,
  );

  it(
    'rides out a database that is killed and started again, write-behind',
    () => ridesOutWritingBehind(backend, death),
    60_000 + LASTS,
  );
});
