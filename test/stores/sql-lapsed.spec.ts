import { afterAll, beforeAll, beforeEach, expect, it } from '@jest/globals';
import type { Kysely } from 'kysely';
import { SessionOptionsError } from 'nestjs-distributed-session';
import { SqlSessionStore } from 'nestjs-distributed-session/sql';
import { FakeClock } from 'nestjs-distributed-session/testing';
import type { StoredValue } from '../../lib/core/session-store.interface.js';
import {
  describeSql,
  SQL_DIALECTS,
  sqlStore,
  startSql,
  type SqlBackend,
  type Tables,
} from '../support/sql-backends.js';
import {
  ahead,
  BUCKET,
  HOUR,
  newHandle,
  newValue,
  pointer,
  standingIn,
} from '../support/sql-sessions.js';

const PLACE = 'p:someone';
const MINUTE = 60_000;
const LAPSED = { lapsed: true } as const;

/** Sessions whose idle window is over in the database, while a copy tells that it was moved. */
describeSql(SQL_DIALECTS, (dialect) => {
  let backend: SqlBackend;
  let db: Kysely<Tables>;
  let table: string;
  let clock: FakeClock;
  let store: SqlSessionStore;

  beforeAll(async () => {
    backend = await startSql(dialect);
    db = backend.connect();
    table = await backend.tablesBy(db);
  }, 60_000);
  afterAll(() => backend?.stop());
  beforeEach(async () => {
    await backend.empty(db, table);
    clock = new FakeClock();
    store = sqlStore(db, { table, clock });
  });

  /** A session whose window was over a minute ago. */
  async function lapsed(): Promise<{ handle: string; value: StoredValue }> {
    const [handle, value] = [newHandle(), newValue()];
    await store.create(handle, value, { ttl: HOUR, standing: standingIn([PLACE]) });
    clock.advance(HOUR + MINUTE);
    expect(await store.load(handle)).toBeUndefined();
    return { handle, value };
  }

  const remaining = async (handle: string) =>
    (await store.load(handle, { remaining: true }))?.remaining;

  it('live on when that is brought: with something newer, or the same', async () => {
    const [one, other] = [await lapsed(), await lapsed()];
    const newer = ahead(one.value, 3);
    expect(await store.bring(one.handle, newer, HOUR)).toBe(false);
    expect(await store.bring(one.handle, newer, HOUR, LAPSED)).toBe(true);
    expect((await store.load(one.handle))?.value).toBe(newer);
    expect(await remaining(one.handle)).toBe(HOUR);
    expect(await store.bring(other.handle, other.value, HOUR, LAPSED)).toBe(true);
    expect((await store.load(other.handle))?.value).toBe(other.value);
    expect(await store.countIn(BUCKET, PLACE)).toBe(2);
  });

  it('have no window that ends earlier because the same is brought late', async () => {
    const { handle, value } = await lapsed();
    await store.bring(handle, value, 2 * HOUR, LAPSED);
    expect(await store.bring(handle, value, HOUR, LAPSED)).toBe(true);
    expect(await remaining(handle)).toBe(2 * HOUR);
    // What is newer says itself how long it lives.
    const next = ahead(value, 1);
    expect(await store.bring(handle, next, HOUR, LAPSED)).toBe(true);
    expect(await remaining(handle)).toBe(HOUR);
  });

  it('are not what is older, or what a renewed id left', async () => {
    const { handle, value } = await lapsed();
    const newer = ahead(value, 3);
    await store.bring(handle, newer, MINUTE, LAPSED);
    for (const late of [value, ahead(value, 2), ahead(value, 3)])
      expect(await store.bring(handle, late, HOUR, LAPSED)).toBe(false);
    expect(await remaining(handle)).toBe(MINUTE);
    const left = pointer(newer);
    await store.bring(handle, left, MINUTE, LAPSED);
    expect(await store.bring(handle, newer, HOUR, LAPSED)).toBe(false);
    expect((await store.load(handle))?.value).toBe(left);
    expect(await remaining(handle)).toBe(MINUTE);
  });

  it('end by a logout, and with their place, and are told of', async () => {
    const [one, other] = [await lapsed(), await lapsed()];
    await store.delete(one.handle);
    const { ended, handles } = await store.endIn(BUCKET, PLACE);
    expect({ ended, handles }).toEqual({ ended: 0, handles: [other.handle] });
    for (const { handle, value } of [one, other]) {
      expect(await store.bring(handle, ahead(value, 1), HOUR, LAPSED)).toBe(false);
      expect(await store.load(handle)).toBeUndefined();
    }
  });

  it('are kept by the sweeper for as long as it was asked to, and no longer', async () => {
    const { handle, value } = await lapsed();
    store.keepLapsed(2 * MINUTE);
    store.keepLapsed(MINUTE);
    expect(await store.deleteExpired()).toBe(0);
    clock.advance(MINUTE - 1);
    expect(await store.deleteExpired()).toBe(0);
    clock.advance(1);
    expect(await store.deleteExpired()).toBe(1);
    expect(await store.bring(handle, value, HOUR, LAPSED)).toBe(false);
  });

  it('are asked for in the database for as long as its slowest change may take', () => {
    const slow = new SqlSessionStore({ db, table, sweepEvery: false, timeout: '10s' });
    expect(slow.slowestChange).toBe(150_000);
    // A timer of Node knows no longer ones: 15 times as long has to be one.
    expect(() => new SqlSessionStore({ db, table, timeout: '2d' })).toThrow(SessionOptionsError);
  });
});
