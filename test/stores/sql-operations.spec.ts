import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { sql, type Kysely } from 'kysely';
import { Migrator } from 'kysely/migration';
import {
  sessionMigration,
  sqlMigration,
  SqlSessionStore,
  type SqlSessionStoreOptions,
} from 'nestjs-distributed-session/sql';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { systemClock } from '../../lib/core/clock.js';
import { versionOf } from '../../lib/core/session-record.js';
import { tableRows } from '../docs/pages.js';
import { until } from '../support/app.js';
import { MariadbServer } from '../support/mariadb.js';
import { PostgresServer } from '../support/postgres.js';
import {
  describeSql,
  SQL_DIALECTS,
  sqlStore,
  startSql,
  type SqlBackend,
  type Tables,
} from '../support/sql-backends.js';
import { SqlProxy } from '../support/sql-proxy.js';
import {
  BUCKET,
  HOUR,
  limitOf,
  newHandle,
  newValue,
  pointer,
  standingIn,
} from '../support/sql-sessions.js';

const PLACE = 'p:someone';
const OTHER = 'i.tenant:somewhere';

const failureOf = async (answer: Promise<unknown>): Promise<Error & { code?: string }> => {
  try {
    await answer;
  } catch (error) {
    return error as Error & { code?: string };
  }
  throw new Error('it did not fail');
};

/** Statements of each verb as the guide tells them. */
const GUIDE = readFileSync(join(import.meta.dirname, '../../docs/sql.md'), 'utf8');
const STATEMENTS = tableRows(GUIDE, 'sql-statements');

describeSql(SQL_DIALECTS, (dialect) => {
  let backend: SqlBackend;
  let db: Kysely<Tables>;
  let table: string;
  let store: SqlSessionStore;
  const statements: string[] = [];

  beforeAll(async () => {
    backend = await startSql(dialect);
    db = backend.connect(backend.server.dialect(), ({ query }) => void statements.push(query.sql));
    table = await backend.tablesBy(db);
    store = sqlStore(db, { table });
  }, 60_000);

  beforeEach(async () => {
    await backend.empty(db, table);
    statements.length = 0;
  });

  afterAll(() => backend?.stop());

  const stored = async (places: string[] = [], ttl = HOUR) => {
    const [handle, value] = [newHandle(), newValue()];
    await store.create(handle, value, { ttl, standing: standingIn(places) });
    return { handle, value, expected: versionOf(value) };
  };
  const rowsIn = async (name: string) =>
    Number(
      (await sql<{ n: number }>`select count(*) as n from ${sql.table(name)}`.execute(db)).rows[0]
        ?.n,
    );

  it('each verb sends as many statements as the guide says', async () => {
    const one = await stored();
    const placed = await stored([PLACE]);
    const moving = await stored([PLACE]);
    const renewed = await stored([PLACE]);
    const ended = await stored();
    const full = limitOf(OTHER, 1, 'retire-oldest');
    const standing = standingIn([PLACE, OTHER]);
    const options = { ttl: HOUR, standing };
    const second = newValue('second', one.value);
    const verbs: Record<string, () => Promise<unknown>> = {
      load: () => store.load(one.handle, { remaining: true }),
      'load with touch': () => store.load(one.handle, { touch: HOUR, remaining: true }),
      touch: () => store.touch(one.handle, 2 * HOUR),
      'create without places': () => store.create(newHandle(), newValue(), { ttl: HOUR }),
      'create with places': () =>
        store.create(newHandle(), newValue(), { ttl: HOUR, standing: standingIn([PLACE]) }),
      admit: () => store.admit(newHandle(), newValue(), { ...options, limit: full }),
      'admit, and one gives way': () =>
        store.admit(newHandle(), newValue(), { ...options, limit: full }),
      save: () => store.save(one.handle, second, { expected: one.expected, ttl: HOUR }),
      'save in conflict': () =>
        store.save(one.handle, newValue('third', one.value), { expected: one.expected }),
      'save between places': () =>
        store.save(moving.handle, newValue('moved', moving.value), {
          expected: moving.expected,
          standing: standingIn([OTHER]),
          leaves: [PLACE],
        }),
      replace: () =>
        store.replace(renewed.handle, pointer(renewed.value), {
          expected: renewed.expected,
          ttl: HOUR,
          leaves: [PLACE],
          next: { handle: newHandle(), value: newValue(), ttl: HOUR, standing },
        }),
      bring: () => store.bring(one.handle, newValue('fourth', second), HOUR),
      delete: () => store.delete(one.handle),
      list: () => store.list(BUCKET, PLACE, { limit: 10 }),
      countIn: () => store.countIn(BUCKET, PLACE),
      endIn: () => store.endIn(BUCKET, PLACE),
      count: () => store.count(),
      ping: () => store.ping(),
      deleteExpired: async () => {
        await db
          .updateTable(table)
          .set({ expires: 1 })
          .where('handle', '=', ended.handle)
          .execute();
        statements.length = 0;
        return store.deleteExpired();
      },
    };
    const sent: Record<string, number> = {};
    for (const [name, verb] of Object.entries(verbs)) {
      statements.length = 0;
      await verb();
      sent[name] = statements.length;
    }
    expect(placed).toBeDefined();
    const column = SQL_DIALECTS.indexOf(dialect) + 1;
    const told = STATEMENTS.map((row) => [row[0], Number(row[column])]);
    expect(sent).toEqual(Object.fromEntries(told));
  });

  it('a list reads no data, and nothing reads all columns', async () => {
    await stored([PLACE]);
    statements.length = 0;
    expect(await store.list(BUCKET, PLACE, { limit: 10 })).toHaveLength(1);
    await store.countIn(BUCKET, PLACE);
    expect(statements.join()).not.toMatch(/body|select \*|\.\*/);
  });

  it('windows end when they should, whatever time zone a session of the database is set to', async () => {
    const one = await stored([], HOUR);
    const { rows } = await sql<{ expires: number }>`
      select expires from ${sql.table(table)} where handle = ${one.handle}`.execute(db);
    const inAnHour = systemClock.now() + HOUR;
    expect(Math.abs(Number(rows[0]?.expires) - inAnHour)).toBeLessThan(60_000);
    if (dialect === 'sqlite') return;
    await db.connection().execute(async (session) => {
      const zones = {
        postgres: "set timezone = 'America/St_Johns'",
        mysql: "set time_zone = '-03:30'",
      };
      await sql.raw(zones[dialect]).execute(session);
      const there = sqlStore(session, { table });
      const remaining = (await there.load(one.handle, { remaining: true }))?.remaining ?? 0;
      expect(Math.abs(remaining - HOUR)).toBeLessThan(60_000);
      await there.touch(one.handle, 2 * HOUR);
      // A pool gives a session back as it was.
      const back = { postgres: 'reset timezone', mysql: 'set time_zone = default' };
      await sql.raw(back[dialect]).execute(session);
    });
    const { remaining = 0 } = (await store.load(one.handle, { remaining: true })) ?? {};
    expect(Math.abs(remaining - 2 * HOUR)).toBeLessThan(60_000);
  });

  describe('migrations', () => {
    it('go up, down and up again by the Migrator of Kysely', async () => {
      const name = backend.newTable();
      const migrator = new Migrator({
        db,
        migrationTableName: `${name}_migrations`,
        migrationLockTableName: `${name}_lock`,
        provider: {
          getMigrations: async () => ({ '1-sessions': sessionMigration({ table: name }) }),
        },
      });
      const its = sqlStore(db, { table: name });
      for (let round = 0; round < 2; round++) {
        expect((await migrator.migrateToLatest()).error).toBeUndefined();
        await its.ping();
        expect(await its.create(newHandle(), newValue(), { ttl: HOUR })).toBe(true);
        expect((await migrator.migrateDown()).error).toBeUndefined();
        expect((await failureOf(its.ping())).message).toMatch(
          /tables are missing.*run its migration/,
        );
      }
    });

    it('are printed as what they do, and nothing is left of them', async () => {
      const name = backend.newTable();
      const schema = dialect === 'sqlite' ? undefined : 'elsewhere';
      if (schema) await sql.raw(`create schema ${schema}`).execute(db);
      const { up, down } = sqlMigration({ dialect, table: name, schema });
      for (const statement of up) await sql.raw(statement).execute(db);
      const its = sqlStore(db, { table: name, schema });
      await its.ping();
      const handle = newHandle();
      await its.create(handle, newValue(), { ttl: HOUR, standing: standingIn([PLACE]) });
      expect(await its.countIn(BUCKET, PLACE)).toBe(1);
      expect(await store.countIn(BUCKET, PLACE)).toBe(0);
      await its.delete(handle);
      const entries = `${schema ? `${schema}.` : ''}${name}_places`;
      expect(await rowsIn(entries)).toBe(0);
      for (const statement of down) await sql.raw(statement).execute(db);
      expect((await failureOf(its.ping())).code).toBe('SESSION_STORE_UNAVAILABLE');
      if (schema) await sql.raw(`drop schema ${schema}`).execute(db);
    });

    it('that were carried out in part are noticed', async () => {
      const name = await backend.tablesBy(db);
      await db.deleteFrom(`${name}_buckets`).where('bucket', '=', BUCKET).execute();
      const its = sqlStore(db, { table: name });
      const remedy = /rows of its table of buckets are missing.*down, and up again/;
      expect((await failureOf(its.ping())).message).toMatch(remedy);
      expect((await failureOf(its.endIn(BUCKET, PLACE))).message).toMatch(remedy);
    });

    it('tables of somebody else are not taken for its own', async () => {
      const name = backend.newTable();
      await sql.raw(`create table ${name} (sid varchar(9))`).execute(db);
      await expect(sessionMigration({ table: name }).up(db)).rejects.toThrow();
      const { message } = await failureOf(sqlStore(db, { table: name }).load(newHandle()));
      expect(message).toMatch(/are not those of this store.*name the right table/);
    });
  });

  describe('the sweeper', () => {
    const HERE = 4_900;
    const fill = async (name: string, count: number, expires: number) => {
      for (let i = 0; i < count; i += 700) {
        const rows = Array.from({ length: Math.min(700, count - i) }, () => ({
          handle: newHandle(),
          version: newValue().slice(0, 14),
          live: 1,
          head: Buffer.from('head'),
          expires,
        }));
        await db.insertInto(name).values(rows).execute();
      }
    };

    it('removes 5000 that ended, from two nodes at once, in batches, and nothing else', async () => {
      const clock = new FakeClock();
      await fill(table, HERE, clock.now());
      await fill(table, 100, clock.now() + 1);
      const [handle, value] = [newHandle(), newValue()];
      const mine = sqlStore(db, { table, clock });
      for (let i = 0; i < 100; i++) {
        const place = standingIn([PLACE], i);
        await mine.create(newHandle(), newValue(), { ttl: 10, standing: place });
      }
      await mine.create(handle, value, { ttl: HOUR, standing: standingIn([PLACE], 100) });
      clock.advance(10);
      expect(await mine.countIn(BUCKET, PLACE)).toBe(1);
      const other = sqlStore(backend.connect(), { table, clock });
      statements.length = 0;
      const removed = await Promise.all([mine.deleteExpired(), other.deleteExpired()]);
      expect(removed[0] + removed[1]).toBe(5_100);
      // One that takes more than a batch at a time would have come around with one statement.
      const batches = statements.filter((text) => /^(with|delete)/.test(text)).length;
      expect(batches).toBeGreaterThanOrEqual(Math.ceil(removed[0] / 1_000));
      expect(await rowsIn(table)).toBe(1);
      expect(await rowsIn(`${table}_places`)).toBe(1);
      expect((await mine.load(handle))?.value).toBe(value);
    });

    // A second goes by, and what it does is the same everywhere.
    if (dialect !== 'sqlite') return;

    it('runs by itself, and no more once it is closed', async () => {
      const mine = sqlStore(db, { table, sweepEvery: '1s' });
      await fill(table, 10, 1);
      await until('they are removed', async () => (await rowsIn(table)) === 0, { within: 30_000 });
      await mine.close();
      statements.length = 0;
      await fill(table, 1, 1);
      expect(await mine.deleteExpired()).toBe(0);
      expect(await rowsIn(table)).toBe(1);
    });
  });

  it('what is wrong with options is said, with a remedy', async () => {
    const wrong: [Partial<SqlSessionStoreOptions>, RegExp][] = [
      [{ table: 'a b' }, /table .*use up to 40 letters/],
      [{ table: 'x"; drop table users; --' }, /table .*use up to 40 letters/],
      [{ schema: '' }, /schema .*use up to 40 letters/],
      [{ sweepEvery: 0 }, /sweepEvery .*'1s'/],
      [{ timeout: 'soon' as '1s' }, /timeout .*'2s'/],
      [{ dialect: 'oracle' as 'mysql' }, /'postgres', 'mysql' or 'sqlite'/],
      [{ db: {} as typeof db }, /no instance of Kysely/],
    ];
    for (const [options, message] of wrong) {
      expect(() => new SqlSessionStore({ db, ...options })).toThrow(message);
    }
    await db.transaction().execute(async (transaction) => {
      expect(() => new SqlSessionStore({ db: transaction })).toThrow(/a transaction, which ends/);
    });
    const inSqlite = () => new SqlSessionStore({ db, dialect: 'sqlite', schema: 'main' });
    expect(inSqlite).toThrow(/no meaning in SQLite/);
    expect(() => sqlMigration({ dialect: 'oracle' as 'mysql' })).toThrow(/dialect/);
  });

  it('the pool stays open when the store is closed', async () => {
    await sqlStore(db, { table }).close();
    await store.ping();
  });

  if (dialect === 'sqlite') {
    it('the plugins of an application change nothing', async () => {
      const { CamelCasePlugin } = await import('kysely');
      const its = sqlStore(db.withPlugin(new CamelCasePlugin({ upperCase: true })), { table });
      const { handle, value } = await stored([PLACE]);
      expect((await its.load(handle))?.value).toBe(value);
    });
    return;
  }

  describe('an outage', () => {
    /** A pool with other options than those of the test itself. */
    const connectBy = (to: { port?: number; max?: number; user?: string; database?: string }) => {
      const { server } = backend;
      if (server instanceof PostgresServer) return backend.connect(server.dialect(to));
      const { max: connectionLimit = 10, ...rest } = to;
      return backend.connect((server as MariadbServer).dialect({ ...rest, connectionLimit }));
    };

    it('is told apart: a wrong login, a missing database', async () => {
      const login = sqlStore(connectBy({ user: 'nobody' }), { table });
      expect((await failureOf(login.ping())).message).toMatch(/refuses the login.*check user/);
      const nowhere = sqlStore(connectBy({ database: 'nowhere' }), { table });
      expect((await failureOf(nowhere.ping())).message).toMatch(/no such database.*check where/);
    });

    it('that comes from the database tells nothing of the session', async () => {
      const name = await backend.tablesBy(db);
      await sql.raw(`alter table ${name} add constraint ${name}_c check (live = 5)`).execute(db);
      const handle = newHandle();
      const options = { ttl: HOUR, standing: standingIn([PLACE]) };
      const its = sqlStore(db, { table: name });
      // MySQL leaves out what cannot be inserted, if it is told to leave out what is there already.
      const failure = await failureOf(
        its.create(handle, newValue('what-only-the-session-knows'), options),
      );
      const told = inspect(failure, { depth: 10, showHidden: true });
      expect(told).not.toMatch(/what-only-the-session-knows|someone/);
      expect(told).not.toContain(handle.slice(2));
      expect(failure.code).toBe('SESSION_STORE_UNAVAILABLE');
    });

    it('of the pool ends in time, and nothing is sent any more when it is over', async () => {
      const small = connectBy({ max: 1 });
      const hurried = sqlStore(small, { table, timeout: 50 });
      const handles = [newHandle(), newHandle()];
      let late: unknown;
      await small.connection().execute(async () => {
        for (const [i, handle] of handles.entries()) {
          const standing = standingIn(i === 0 ? [] : [PLACE]);
          late = await failureOf(hurried.create(handle, newValue(), { ttl: HOUR, standing }));
        }
      });
      expect((late as Error).message).toMatch(/timeout/);
      // The connection is free again for those that waited, one after the other, and then for this.
      await small.selectFrom(table).select('handle').execute();
      for (const handle of handles) expect(await store.load(handle)).toBeUndefined();
    });

    it('in which an answer is lost: what was done is not done again', async () => {
      const proxy = await SqlProxy.start((backend.server as PostgresServer).port);
      const far = sqlStore(connectBy({ port: proxy.port }), { table });
      const again = async <T>(loses: RegExp, verb: () => Promise<T>): Promise<T> => {
        proxy.loses = loses;
        const before = proxy.lost;
        expect((await failureOf(verb())).code).toBe('SESSION_STORE_UNAVAILABLE');
        expect(proxy.lost).toBe(before + 1);
        return verb();
      };
      const standing = standingIn([PLACE]);
      const [handle, value] = [newHandle(), newValue()];
      expect(await again(/commit/, () => far.create(handle, value, { ttl: HOUR, standing }))).toBe(
        true,
      );
      expect(await store.countIn(BUCKET, PLACE)).toBe(1);
      const limit = limitOf(PLACE, 2, 'retire-oldest');
      const [second, third] = [newHandle(), newHandle()];
      const [secondValue, thirdValue] = [newValue(), newValue()];
      const admit = (it: string, its: string, since: number) =>
        far.admit(it, its, { ttl: HOUR, standing: standingIn([PLACE], since), limit });
      await again(/commit/, () => admit(second, secondValue, 2));
      await again(/commit/, () => admit(third, thirdValue, 3));
      expect(await store.countIn(BUCKET, PLACE)).toBe(2);
      expect(await store.load(handle)).toBeUndefined();
      const moved = newValue('moved', secondValue);
      const move = () =>
        far.save(second, moved, {
          expected: versionOf(secondValue),
          standing: standingIn([OTHER]),
          leaves: [PLACE],
        });
      expect(await again(/commit/, move)).toEqual({ status: 'saved' });
      const left = pointer(thirdValue);
      const next = { handle: newHandle(), value: newValue(), ttl: HOUR, standing };
      const renew = () =>
        far.replace(third, left, {
          expected: versionOf(thirdValue),
          ttl: HOUR,
          leaves: [PLACE],
          next,
        });
      expect(await again(/commit/, renew)).toEqual({ status: 'saved' });
      expect((await store.list(BUCKET, PLACE, { limit: 9 })).map((it) => it.handle)).toEqual([
        next.handle,
      ]);
      // Sent a third time, after somebody has ended it: it does not come back.
      await store.delete(next.handle);
      expect(await renew()).toEqual({ status: 'saved' });
      expect(await store.load(next.handle)).toBeUndefined();
      const plain = newValue('plain', moved);
      const save = () => far.save(second, plain, { expected: versionOf(moved), ttl: HOUR });
      expect(await again(/update/, save)).toEqual({ status: 'saved' });
      await again(/commit/, () => far.endIn(BUCKET, OTHER));
      expect(await store.load(second)).toBeUndefined();
      await proxy.stop();
    });

    it('is over when the server is back', async () => {
      const { handle, value } = await stored([PLACE]);
      const server = backend.server as PostgresServer;
      await server.end();
      const failure = await failureOf(store.load(handle));
      expect(failure.code).toBe('SESSION_STORE_UNAVAILABLE');
      expect(failure.message).toMatch(/no connection/);
      await server.run();
      await until(
        'it answers',
        () =>
          store.ping().then(
            () => true,
            () => false,
          ),
        { within: 30_000 },
      );
      expect((await store.load(handle))?.value).toBe(value);
      expect(await store.endIn(BUCKET, PLACE)).toMatchObject({ ended: 1 });
    });
  });
});
