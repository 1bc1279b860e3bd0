import { betterAuth, type BetterAuthOptions, type BetterAuthPlugin, type User } from 'better-auth';
import { createAuthEndpoint } from 'better-auth/api';
import { setSessionCookie } from 'better-auth/cookies';
import { getMigrations } from 'better-auth/db/migration';
import { fromNodeHeaders } from 'better-auth/node';
import { Redis } from 'ioredis';
import { DatabaseSync } from 'node:sqlite';
import type { Visit } from '../visit.js';
import { IDLE, SECRET, type PeerReply, type PeerRequest, type Setup } from './contender.js';

interface VisitSession {
  readonly token: string;
  readonly visit?: string | null;
}

/** A login without a password: hashing one would hide what the session costs. */
const startSession = createAuthEndpoint('/start-session', { method: 'POST' }, async (context) => {
  const { user, visit } = context.body as { user: User; visit: string };
  const session = await context.context.internalAdapter.createSession(user.id, false, { visit });
  await setSessionCookie(context, { session, user });
  return context.json({});
});

function optionsOver(redis: Redis): BetterAuthOptions {
  return {
    baseURL: 'http://127.0.0.1',
    secret: SECRET,
    telemetry: { enabled: false },
    database: new DatabaseSync(':memory:'),
    secondaryStorage: {
      get: (key) => redis.get(key),
      getAndDelete: (key) => redis.getdel(key),
      increment: (key) => redis.incr(key),
      set: async (key, value, ttl) =>
        void (await (ttl ? redis.set(key, value, 'EX', ttl) : redis.set(key, value))),
      delete: async (key) => void (await redis.del(key)),
    },
    session: {
      expiresIn: IDLE / 1_000,
      additionalFields: { visit: { type: 'string', required: false } },
    },
    plugins: [{ id: 'login-only', endpoints: { startSession } } satisfies BetterAuthPlugin],
  };
}

/** better-auth with Redis as its secondary storage: sessions live there, users in SQLite in memory. */
export async function overBetterAuth(redisUrl: string): Promise<Setup> {
  const redis = new Redis(redisUrl);
  const options = optionsOver(redis);
  await (await getMigrations(options)).runMigrations();
  const auth = betterAuth(options);
  const { internalAdapter } = await auth.$context;

  const sessionOf = async (request: PeerRequest) => {
    const found = await auth.api.getSession({ headers: fromNodeHeaders(request.headers) });
    return found?.session as VisitSession | undefined;
  };
  const visitOf = (session: VisitSession | undefined) =>
    session?.visit ? (JSON.parse(session.visit) as Visit) : undefined;
  const userOf = async (name: string) => {
    const email = `${name}@shop.test`;
    const known = await internalAdapter.findUserByEmail(email);
    return (
      known?.user ?? internalAdapter.createUser({ email, name }, { path: '/sign-up' } as never)
    );
  };
  const relay = (headers: Headers, reply: PeerReply) =>
    void reply.header('Set-Cookie', headers.getSetCookie());

  return {
    peer: {
      read: async (request) => visitOf(await sessionOf(request)),
      change: async (request) => {
        const session = await sessionOf(request);
        const visit = visitOf(session) as Visit;
        const changed = JSON.stringify({ ...visit, visits: visit.visits + 1 });
        await internalAdapter.updateSession((session as VisitSession).token, { visit: changed });
      },
      login: async (_request, reply, visit) => {
        const body = { user: await userOf(visit.user), visit: JSON.stringify(visit) };
        const api = auth.api as unknown as {
          startSession(call: object): Promise<{ headers: Headers }>;
        };
        relay((await api.startSession({ body, returnHeaders: true })).headers, reply);
      },
      logout: async (request, reply) => {
        const headers = fromNodeHeaders(request.headers);
        relay((await auth.api.signOut({ headers, returnHeaders: true })).headers, reply);
      },
      devices: (request) => auth.api.listSessions({ headers: fromNodeHeaders(request.headers) }),
    },
    close: () => redis.disconnect(),
  };
}
