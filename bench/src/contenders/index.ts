import { bareGetex } from './bare-getex.js';
import { overBetterAuth } from './better-auth.js';
import { ceiling } from './ceiling.js';
import type { Adapter, Start } from './contender.js';
import { face } from './face.js';
import { overExpressSession, overNestjsSession } from './express-session.js';
import { overFastifySession } from './fastify-session.js';
import { overIronSession } from './iron-session.js';
import { overJose } from './jose.js';
import { ours } from './ours.js';
import { overSecureSession } from './secure-session.js';
import { inFiles, inMemory, inRedis, inTiers, jwts, nearRedis, overSql, sealed } from './stores.js';
import type { PlaceKind } from '../places.js';

/** One that takes part in the comparison. */
export interface Contender {
  /** As the report names it. */
  readonly title: string;
  readonly adapters: readonly Adapter[];
  readonly start: Start;
  /** Where the session is: `none` for what is no session at all. */
  readonly home: 'none' | 'redis' | 'cookie' | 'memory' | 'sql' | 'tiered' | 'files';
  /** What it needs beside Redis. */
  readonly place?: PlaceKind;
  /** What a read does to the time to live. */
  readonly extends: string;
  readonly workloads: readonly Workload[];
}

/** `devices`: the user's list of their sessions, ten of them. */
export type Workload = 'read' | 'change' | 'login' | 'logout' | 'devices';
const ALL: readonly Workload[] = ['read', 'change', 'login', 'logout'];

/** One of this library's stores. */
const store = {
  adapters: ['express', 'fastify'],
  extends: 'never',
  workloads: ['read', 'change'],
} as const;

/** Ours extends the session on every read here, as its peers do; its default is once a minute. */
export const CONTENDERS = {
  ceiling: {
    title: 'no session',
    adapters: ['express', 'fastify'],
    start: ceiling,
    home: 'none',
    extends: '–',
    workloads: [...ALL, 'devices'],
  },
  ours: {
    title: 'nestjs-distributed-session',
    adapters: ['express', 'fastify'],
    start: ours({ touchAfter: 0 }),
    home: 'redis',
    extends: 'every read',
    workloads: [...ALL, 'devices'],
  },
  near: {
    title: 'nestjs-distributed-session, near cache',
    adapters: ['express', 'fastify'],
    start: ours({ nearCache: true }),
    home: 'redis',
    extends: 'once a minute',
    workloads: ['read', 'change'],
  },
  face: {
    title: 'guard, interceptor and decorator (limit)',
    adapters: ['express', 'fastify'],
    start: face,
    home: 'none',
    extends: '–',
    workloads: ['read'],
  },
  'bare-getex': {
    title: 'bare GETEX (limit)',
    adapters: ['express', 'fastify'],
    start: bareGetex,
    home: 'none',
    extends: 'every read',
    workloads: ['read'],
  },
  'express-session': {
    title: 'express-session + connect-redis',
    adapters: ['express'],
    start: overExpressSession,
    home: 'redis',
    extends: 'every read',
    workloads: ALL,
  },
  'nestjs-session': {
    title: 'nestjs-session + connect-redis',
    adapters: ['express'],
    start: overNestjsSession,
    home: 'redis',
    extends: 'every read',
    workloads: ALL,
  },
  'fastify-session': {
    title: '@fastify/session + connect-redis',
    adapters: ['fastify'],
    start: overFastifySession,
    home: 'redis',
    extends: 'every read',
    workloads: ALL,
  },
  'better-auth': {
    title: 'better-auth + Redis',
    adapters: ['express', 'fastify'],
    start: overBetterAuth,
    home: 'redis',
    extends: 'once a day',
    workloads: [...ALL, 'devices'],
  },
  'iron-session': {
    title: 'iron-session (cookie)',
    adapters: ['express'],
    start: overIronSession,
    home: 'cookie',
    extends: 'never',
    workloads: ALL,
  },
  'secure-session': {
    title: '@fastify/secure-session (cookie)',
    adapters: ['fastify'],
    start: overSecureSession,
    home: 'cookie',
    extends: 'never',
    workloads: ALL,
  },
  jose: {
    title: 'JWT by jose (cookie)',
    adapters: ['express', 'fastify'],
    start: overJose,
    home: 'cookie',
    extends: 'never',
    workloads: ALL,
  },
  memory: { ...store, title: 'memory', start: inMemory, home: 'memory' },
  redis: { ...store, title: 'Redis', start: inRedis, home: 'redis' },
  'redis-near': { ...store, title: 'Redis, near cache', start: nearRedis, home: 'redis' },
  postgres: {
    ...store,
    title: 'SQL: PostgreSQL',
    start: overSql,
    home: 'sql',
    place: 'postgres',
  },
  mariadb: { ...store, title: 'SQL: MariaDB', start: overSql, home: 'sql', place: 'mariadb' },
  sqlite: { ...store, title: 'SQL: SQLite', start: overSql, home: 'sql', place: 'sqlite' },
  tiered: {
    ...store,
    title: 'tiered: PostgreSQL and Redis',
    start: inTiers,
    home: 'tiered',
    place: 'postgres',
  },
  files: { ...store, title: 'files', start: inFiles, home: 'files', place: 'directory' },
  sealed: { ...store, title: 'sealed cookie', start: sealed(false), home: 'cookie' },
  'sealed-listed': {
    ...store,
    title: 'sealed cookie, `revocation` in Redis',
    start: sealed(true),
    home: 'cookie',
  },
  jwt: { ...store, title: 'JWT', start: jwts(false), home: 'cookie' },
  'jwt-listed': {
    ...store,
    title: 'JWT, `revocation` in Redis',
    start: jwts(true),
    home: 'cookie',
  },
} as const satisfies Record<string, Contender>;

export type ContenderName = keyof typeof CONTENDERS;

export const contender = (name: ContenderName): Contender => CONTENDERS[name];
