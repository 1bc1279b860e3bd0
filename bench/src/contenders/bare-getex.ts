import { Redis } from 'ioredis';
import { IDLE, type PeerRequest, type Setup } from './contender.js';
import { visitOf, type Visit } from '../visit.js';

/**
 * The least that a session in Redis can cost: the cookie is the key, one `GETEX`, and the value is
 * not even looked at. A limit, not a session.
 */
export function bareGetex(redisUrl: string): Setup {
  const redis = new Redis(redisUrl);
  const visit = visitOf('user-000000', 1_024);
  const keyOf = (request: PeerRequest) => request.headers.cookie?.slice('key='.length) ?? '';
  let count = 0;
  return {
    peer: {
      read: async (request) =>
        (await redis.getex(keyOf(request), 'PX', IDLE)) ? visit : undefined,
      login: async (_request, reply, visit: Visit) => {
        const key = `bare:${String(count++).padStart(43, '0')}`;
        await redis.set(key, JSON.stringify(visit), 'PX', IDLE);
        reply.header('Set-Cookie', `key=${key}; Path=/; HttpOnly`);
      },
    },
    close: () => redis.disconnect(),
  };
}
