import { RedisStore } from 'connect-redis';
import expressSession, { type Session } from 'express-session';
import { SessionModule as NestjsSessionModule } from 'nestjs-session';
import { promisify } from 'node:util';
import { createClient } from 'redis';
import { IDLE, SECRET, type PeerRequest, type PeerSessions, type Setup } from './contender.js';
import { onRequestSession } from './on-request-session.js';

const sessionOf = (request: PeerRequest) => request.session as Session;

/** As its documentation advises: nothing saved untouched, a new id at login. */
const sessions: PeerSessions = {
  ...onRequestSession,
  login: async (request, _reply, visit) => {
    await promisify((done: (error?: unknown) => void) => sessionOf(request).regenerate(done))();
    Object.assign(sessionOf(request), visit);
  },
  logout: async (request) => {
    await promisify((done: (error?: unknown) => void) => sessionOf(request).destroy(done))();
  },
};

async function optionsOf(redisUrl: string, prefix: string) {
  const client = createClient({ url: redisUrl });
  await client.connect();
  const options: expressSession.SessionOptions = {
    store: new RedisStore({ client, prefix, ttl: IDLE / 1_000 }),
    secret: SECRET,
    resave: false,
    saveUninitialized: false,
    cookie: { secure: false, maxAge: IDLE },
  };
  return { options, close: () => client.close() };
}

/** express-session over connect-redis and node-redis, in front of the application. */
export async function overExpressSession(redisUrl: string): Promise<Setup> {
  const { options, close } = await optionsOf(redisUrl, 'express:');
  return {
    peer: sessions,
    mount: (app) => void app.use(expressSession(options)),
    close,
  };
}

/** The same as a Nest module. */
export async function overNestjsSession(redisUrl: string): Promise<Setup> {
  const { options: session, close } = await optionsOf(redisUrl, 'nestjs:');
  return { peer: sessions, imports: [NestjsSessionModule.forRoot({ session })], close };
}
