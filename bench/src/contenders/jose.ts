import { jwtVerify, SignJWT, type JWTPayload } from 'jose';
import type { Visit } from '../visit.js';
import { IDLE, SECRET, type PeerRequest, type Setup } from './contender.js';

const key = new TextEncoder().encode(SECRET);

/** Lets the algorithm be settled by us, as RFC 8725 asks. */
const algorithms = ['HS256'];

const tokenOf = (request: PeerRequest) => request.headers.cookie?.slice('jwt='.length) ?? '';

/** The whole session in a signed token: no store, so nothing can be ended early or kept secret. */
export function overJose(): Setup {
  const sign = (visit: Visit) =>
    new SignJWT(visit as unknown as JWTPayload)
      .setProtectedHeader({ alg: 'HS256' })
      .setIssuedAt()
      .setExpirationTime(Math.floor(Date.now() + IDLE) / 1_000)
      .sign(key);
  const visitOf = async (request: PeerRequest) => {
    const { payload } = await jwtVerify(tokenOf(request), key, { algorithms });
    return payload as unknown as Visit;
  };
  return {
    peer: {
      read: visitOf,
      change: async (request, reply) => {
        const visit = await visitOf(request);
        const token = await sign({ ...visit, visits: visit.visits + 1 });
        reply.header('Set-Cookie', `jwt=${token}; Path=/; HttpOnly`);
      },
      login: async (_request, reply, visit) =>
        void reply.header('Set-Cookie', `jwt=${await sign(visit)}; Path=/; HttpOnly`),
      logout: async (_request, reply) =>
        void reply.header('Set-Cookie', 'jwt=; Path=/; HttpOnly; Max-Age=0'),
    },
  };
}
