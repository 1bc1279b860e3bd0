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

/** One that takes part in the comparison. */
export interface Contender {
  /** As the report names it. */
  readonly title: string;
  readonly adapters: readonly Adapter[];
  readonly start: Start;
  /** Where the session is: `none` for what is no session at all. */
  readonly home: 'none' | 'redis' | 'cookie';
  /** What a read does to the time to live. */
  readonly extends: string;
  readonly workloads: readonly Workload[];
}

/** `devices`: the user's list of their sessions, ten of them. */
export type Workload = 'read' | 'change' | 'login' | 'logout' | 'devices';
const ALL: readonly Workload[] = ['read', 'change', 'login', 'logout'];

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
} as const satisfies Record<string, Contender>;

export type ContenderName = keyof typeof CONTENDERS;

export const contender = (name: ContenderName): Contender => CONTENDERS[name];
