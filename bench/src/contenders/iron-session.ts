import { getIronSession, type IronSession, type SessionOptions } from 'iron-session';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Visit } from '../visit.js';
import { IDLE, SECRET, type PeerReply, type PeerRequest, type Setup } from './contender.js';

const options: SessionOptions = {
  cookieName: 'iron',
  password: SECRET,
  ttl: IDLE / 1_000,
  cookieOptions: { secure: false },
};

const sessionOf = (request: PeerRequest, reply: PeerReply): Promise<IronSession<Partial<Visit>>> =>
  getIronSession(request as IncomingMessage, reply as unknown as ServerResponse, options);

/** The whole session in an encrypted cookie: no store, so nothing can be ended early. */
export function overIronSession(): Setup {
  return {
    peer: {
      read: async (request, reply) => {
        const session = await sessionOf(request, reply);
        return session.user === undefined ? undefined : (session as unknown as Visit);
      },
      change: async (request, reply) => {
        const session = await sessionOf(request, reply);
        session.visits = (session.visits as number) + 1;
        await session.save();
      },
      login: async (request, reply, visit) => {
        const session = await sessionOf(request, reply);
        Object.assign(session, visit);
        await session.save();
      },
      logout: async (request, reply) => (await sessionOf(request, reply)).destroy(),
    },
  };
}
