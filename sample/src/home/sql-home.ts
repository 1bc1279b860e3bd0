import {
  Kysely,
  MysqlDialect,
  PostgresDialect,
  SqliteDialect,
  type Dialect,
  type SqliteDatabase,
} from 'kysely';
import { Migrator } from 'kysely/migration';
import { sessionMigration, SqlSessionStore } from 'nestjs-distributed-session/sql';
import { tieredStore } from 'nestjs-distributed-session/tiered';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Settings } from '../settings.js';
import { inRedis, withoutPassword } from './redis-home.js';
import type { SessionHome } from './session-home.js';

/** In the tables of a database, which are made if they are not there. */
export async function inDatabase(settings: Settings): Promise<SessionHome> {
  const { store, where } = await openDatabase(settings);
  return {
    options: { store, bootWithoutStore: settings.redisOptional },
    description: `Sessions are kept in ${where}`,
    isSilent: true,
  };
}

/** All in a database, those in use in Redis as well. */
export async function inTiers(settings: Settings): Promise<SessionHome> {
  const { options, description } = await inRedis(settings);
  if (options.redis === undefined) {
    throw new Error('STORE is "tiered", which needs Redis: set REDIS_URL.');
  }
  const { store: base, where } = await openDatabase(settings);
  return {
    options: { store: tieredStore({ base, redis: options.redis }) },
    description: `${description} while they are in use, and all of them in ${where}`,
    isSilent: true,
  };
}

async function openDatabase({ databaseUrl }: Settings) {
  const url = databaseUrl ?? join(mkdtempSync(join(tmpdir(), 'shop-sessions-')), 'sessions.db');
  const db = new Kysely<unknown>({ dialect: await dialectFor(url) });
  const provider = { getMigrations: async () => ({ sessions: sessionMigration() }) };
  const { error } = await new Migrator({ db, provider }).migrateToLatest();
  if (error) throw error as Error;
  const where = isServer(url) ? `the database ${withoutPassword(url)}` : `the SQLite file ${url}`;
  return { store: new SqlSessionStore({ db }), where };
}

const isServer = (url: string): boolean => /^(postgres(ql)?|mysql|mariadb):/.test(url);

/** Only the driver that is used is loaded. */
async function dialectFor(url: string): Promise<Dialect> {
  if (/^postgres(ql)?:/.test(url)) {
    const { default: pg } = await import('pg');
    const pool = new pg.Pool({ connectionString: url, max: 10 });
    // One that breaks would end the process if nobody listened; the store notices it by itself.
    pool.on('error', () => undefined);
    pool.on('connect', (client) => client.on('error', () => undefined));
    return new PostgresDialect({ pool });
  }
  if (/^(mysql|mariadb):/.test(url)) {
    const { createPool } = await import('mysql2');
    return new MysqlDialect({ pool: createPool({ uri: url.replace(/^mariadb/, 'mysql') }) });
  }
  const { default: Database } = await import('libsql');
  const database = new Database(url);
  database.exec('pragma journal_mode = wal');
  return new SqliteDialect({ database: database as unknown as SqliteDatabase });
}
