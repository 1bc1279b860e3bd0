import {
  Kysely,
  MysqlDialect,
  PostgresDialect,
  SqliteDialect,
  type Dialect,
  type SqliteDatabase,
} from './kysely.js';
import Database from 'libsql';
import { createPool } from 'mysql2';
import pg from 'pg';
import { sealedCookie } from '../../../dist/cookie.js';
import { FileSessionStore } from '../../../dist/file.js';
import { jwtSession } from '../../../dist/jwt.js';
import { sessionMigration, SqlSessionStore } from '../../../dist/sql.js';
import { tieredStore } from '../../../dist/tiered.js';
import type { SessionModuleOptions } from '../../../dist/index.js';
import type { Adapter, Setup } from './contender.js';
import { ownSessions } from './ours.js';

/** No session is old enough in a run for its idle window to be moved, which happens once a minute by default. */
const over = (options: SessionModuleOptions): Setup =>
  ownSessions({ ...options, touchAfter: '10m' });

export const inMemory = (): Setup => over({ store: 'memory' });

export const inRedis = (redis: string): Setup => over({ redis });

export const nearRedis = (redis: string): Setup => over({ redis, nearCache: true });

/** Over the pool that each driver makes by itself. */
export async function overSql(_redis: string, _adapter: Adapter, place: string): Promise<Setup> {
  const { store, ...database } = await openSql(place);
  return { ...over({ store }), ...database };
}

/** Written through: the database has what was acknowledged. */
export async function inTiers(redis: string, _adapter: Adapter, place: string): Promise<Setup> {
  const { store: base, ...database } = await openSql(place);
  return {
    ...over({ store: tieredStore({ base, redis, keyPrefix: 'tier' }) }),
    ...database,
  };
}

export const inFiles = (_redis: string, _adapter: Adapter, directory: string): Setup =>
  over({ store: new FileSessionStore({ directory }) });

const listIn = (redis: string, isListed: boolean) => isListed && { revocation: { redis } };

export const sealed =
  (isListed: boolean) =>
  (redis: string): Setup =>
    over({ store: sealedCookie({ ...listIn(redis, isListed) }) });

/** Signed under the option `secret` (HS256). */
export const jwts =
  (isListed: boolean) =>
  (redis: string): Setup => {
    const shop = 'https://shop.example';
    return over({
      store: jwtSession({ issuer: shop, audience: shop, ...listIn(redis, isListed) }),
    });
  };

async function openSql(place: string) {
  let count = 0;
  const db = new Kysely<Record<string, never>>({
    dialect: dialectFor(place),
    log: () => void count++,
  });
  await sessionMigration().up(db);
  return {
    store: new SqlSessionStore({ db }),
    statements: () => count,
    close: () => db.destroy(),
  };
}

function dialectFor(place: string): Dialect {
  if (place.startsWith('postgres:')) {
    return new PostgresDialect({ pool: new pg.Pool({ connectionString: place }) });
  }
  if (place.startsWith('mysql:')) return new MysqlDialect({ pool: createPool({ uri: place }) });
  const database = new Database(place);
  database.pragma('journal_mode = WAL');
  // What was acknowledged survives the end of the process; a loss of power may take the last moments.
  database.pragma('synchronous = NORMAL');
  return new SqliteDialect({ database: database as unknown as SqliteDatabase });
}
