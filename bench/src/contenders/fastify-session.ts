import fastifyCookie from '@fastify/cookie';
import fastifySession, { type FastifySessionObject } from '@fastify/session';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { RedisStore } from 'connect-redis';
import { createClient } from 'redis';
import { IDLE, SECRET, type PeerRequest, type Setup } from './contender.js';
import { onRequestSession } from './on-request-session.js';

const sessionOf = (request: PeerRequest) => request.session as FastifySessionObject;

/** @fastify/session over connect-redis, which its documentation names. */
export async function overFastifySession(redisUrl: string): Promise<Setup> {
  const client = createClient({ url: redisUrl });
  await client.connect();
  const store = new RedisStore({ client, prefix: 'fastify:', ttl: IDLE / 1_000 });
  return {
    peer: {
      ...onRequestSession,
      login: async (request, _reply, visit) => {
        await sessionOf(request).regenerate();
        Object.assign(sessionOf(request), visit);
      },
      logout: (request) => sessionOf(request).destroy(),
    },
    mount: async (app) => {
      const fastify = app as NestFastifyApplication;
      await fastify.register(fastifyCookie as never);
      await fastify.register(
        fastifySession as never,
        {
          secret: SECRET,
          store,
          saveUninitialized: false,
          cookie: { secure: false, maxAge: IDLE },
        } as never,
      );
    },
    close: () => client.close(),
  };
}
