import type { Redis } from 'ioredis';

/** How many sessions were read from Redis so far: who waits for one more knows that a handler runs. */
export async function readsOf(redis: Redis): Promise<number> {
  const stats = await redis.info('commandstats');
  const calls = [...stats.matchAll(/^cmdstat_get(?:ex)?:calls=(\d+)/gm)];
  return calls.reduce((sum, match) => sum + Number(match[1]), 0);
}
