import { describe, it } from '@jest/globals';
import { Kysely, SqliteDialect, type SqliteDatabase } from 'kysely';
import Database from 'libsql';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SessionModuleOptions } from 'nestjs-distributed-session';
import { sealedCookie } from 'nestjs-distributed-session/cookie';
import { FileSessionStore } from 'nestjs-distributed-session/file';
import { jwtSession } from 'nestjs-distributed-session/jwt';
import { sqlMigration, SqlSessionStore } from 'nestjs-distributed-session/sql';
import { tieredStore } from 'nestjs-distributed-session/tiered';
import { SqlUnderTest, type SqlServerName } from './sql-under-test.js';

type Redis = NonNullable<SessionModuleOptions['redis']>;
type Given = SessionModuleOptions & { readonly redis: Redis };

const SHOP = 'https://shop.example';
const base = mkdtempSync(join(tmpdir(), 'session-stores-'));
process.on('exit', () => rmSync(base, { recursive: true, force: true }));

/** One place for all nodes of an application, and for nobody else. */
const places = new Map<string, string>();

function placeOf({ redis, keyPrefix = 'sess' }: Given): string {
  const key = `${JSON.stringify(redis)} ${keyPrefix}`;
  const known = places.get(key) ?? join(base, String(places.size));
  places.set(key, known);
  return known;
}

/** One connection for all nodes: libsql 0.5 does not get over a file that another one has locked. */
const databases = new Map<string, Kysely<unknown>>();

function database(given: Given): SqlSessionStore {
  const path = `${placeOf(given)}.db`;
  const db = databases.get(path) ?? openDatabase(path);
  databases.set(path, db);
  return new SqlSessionStore({ db, clock: given.clock });
}

function openDatabase(path: string): Kysely<unknown> {
  const file = new Database(path);
  file.exec('pragma journal_mode = wal; pragma synchronous = off');
  for (const one of sqlMigration({ dialect: 'sqlite' }).up) file.exec(one);
  return new Kysely({
    dialect: new SqliteDialect({ database: file as unknown as SqliteDatabase }),
  });
}

/** The server of a file of tests. */
let sqlServer: SqlUnderTest | undefined;
const inServer = (given: Given) => sqlServer!.storeOf(placeOf(given), given.clock);

const STORES = {
  memory: () => 'memory' as const,
  sql: database,
  postgres: inServer,
  mariadb: inServer,
  tiered: (given: Given) =>
    tieredStore({
      base: database({ ...given, clock: undefined }),
      redis: given.redis,
      keyPrefix: given.keyPrefix ?? 'sess',
    }),
  behind: (given: Given) =>
    tieredStore({
      base: database({ ...given, clock: undefined }),
      redis: given.redis,
      keyPrefix: given.keyPrefix ?? 'sess',
      mode: 'write-behind',
      flushEvery: '50ms',
    }),
  file: (given: Given) =>
    new FileSessionStore({
      directory: placeOf(given),
      ...(given.clock && { now: () => given.clock!.now() }),
    }),
  cookie: ({ redis }: Given) => sealedCookie({ revocation: { redis } }),
  jwt: ({ redis }: Given) => jwtSession({ issuer: SHOP, audience: SHOP, revocation: { redis } }),
} satisfies Record<string, (given: Given) => NonNullable<SessionModuleOptions['store']>>;

/** Where applications under test keep their sessions in this run, instead of in Redis; `undefined`: in Redis. */
export const STORE = process.env.STORE as keyof typeof STORES | undefined;
if (STORE && !(STORE in STORES))
  throw new Error(`STORE is one of ${Object.keys(STORES).join(', ')}`);

if (STORE === 'postgres' || STORE === 'mariadb') {
  sqlServer = new SqlUnderTest(STORE satisfies SqlServerName);
}

/** Its sessions are with their clients. */
export const IS_CARRIED = STORE === 'cookie' || STORE === 'jwt';
if (STORE)
  console.warn(
    `STORE=${STORE}: SKIPPED what looks into Redis itself, and what this store declares not to do`,
  );

/** For what a test looks up in Redis itself, or does there. */
export const inRedis = STORE ? describe.skip : describe;
export const itInRedis = STORE ? it.skip : it;
/** For what reads the id in a cookie. */
export const itByCookie = IS_CARRIED ? it.skip : it;
/** For what moves the clock of all that keeps sessions. */
export const itByOneClock = STORE === 'tiered' || STORE === 'behind' ? it.skip : it;
/** For what takes a store that lists sessions. */
export const itListed = ['file', 'cookie', 'jwt'].includes(STORE ?? '') ? it.skip : it;

/** The same application, with its sessions there. */
export function inStoreOfThisRun(session: SessionModuleOptions): SessionModuleOptions {
  if (!STORE || session.redis === undefined) return session;
  const { redis, durability: _, bootWithoutStore: __, ...others } = session;
  // Where clients carry their sessions a secret is needed.
  const secret = session.secret ?? (IS_CARRIED ? 'x8Jd93kd02kdLs93kfj3kdlsk39fkslw0' : undefined);
  return { ...others, secret, store: STORES[STORE]({ ...session, redis }) };
}
