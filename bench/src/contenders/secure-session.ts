import secureSession from '@fastify/secure-session';
import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import type { Visit } from '../visit.js';
import { IDLE, type PeerRequest, type Setup } from './contender.js';

interface SealedSession {
  get(key: 'visit'): Visit | undefined;
  set(key: 'visit', visit: Visit): void;
  delete(): void;
}

const sessionOf = (request: PeerRequest) => request.session as SealedSession;

/** The whole session in an encrypted cookie: no store, so nothing can be ended early. */
export function overSecureSession(): Setup {
  return {
    peer: {
      read: (request) => sessionOf(request).get('visit'),
      change: async (request) => {
        const visit = sessionOf(request).get('visit') as Visit;
        sessionOf(request).set('visit', { ...visit, visits: visit.visits + 1 });
      },
      login: async (request, _reply, visit) => sessionOf(request).set('visit', visit),
      logout: async (request) => sessionOf(request).delete(),
    },
    mount: async (app) => {
      await (app as NestFastifyApplication).register(
        secureSession as never,
        {
          key: Buffer.alloc(32, 7),
          expiry: IDLE / 1_000,
          cookie: { path: '/', httpOnly: true, secure: false },
        } as never,
      );
    },
  };
}
