import { BUCKETS } from '../core/session-id.js';
import { RedisKeys } from '../stores/redis/redis-keys.js';
import type { OpenedRedis } from './connection.js';

/** Whether nodes of the application listen: each session that they begin leaves what is to be told of its end. */
export async function listensAnybody({
  client,
  prefix,
}: Pick<OpenedRedis, 'client' | 'prefix'>): Promise<boolean> {
  const keys = new RedisKeys(prefix);
  const found = BUCKETS.map(async (bucket) => client.call?.('EXISTS', keys.notices(bucket)));
  return (await Promise.all(found)).some((count) => Number(count) === 1);
}
