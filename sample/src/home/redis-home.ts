import { findRedisServer, startOwnRedis } from './own-redis.js';
import type { RedisAddress, Settings } from '../settings.js';
import { inMemory, type SessionHome } from './session-home.js';

/** The given Redis, Sentinels or Cluster; without one, a redis-server of our own; without that, the memory of this process. */
export async function inRedis(settings: Settings): Promise<SessionHome> {
  const { redisUrl, redisSentinels, redisMasterName, redisClusterNodes, redisOptional } = settings;
  if ([redisUrl, redisSentinels, redisClusterNodes].filter(Boolean).length > 1) {
    throw new Error('Set one of REDIS_URL, REDIS_SENTINELS and REDIS_CLUSTER_NODES.');
  }
  if (redisSentinels) {
    return {
      options: {
        redis: { sentinels: [...redisSentinels], name: redisMasterName },
        bootWithoutStore: redisOptional,
      },
      description: `Sessions are kept in Redis, where the Sentinels at ${listed(redisSentinels)} say that ${redisMasterName} is`,
    };
  }
  if (redisClusterNodes) {
    return {
      options: {
        redis: { cluster: { nodes: redisClusterNodes } },
        bootWithoutStore: redisOptional,
      },
      description: `Sessions are kept in a Redis Cluster, known by ${listed(redisClusterNodes)}`,
    };
  }
  if (redisUrl !== undefined) {
    return {
      options: { redis: redisUrl, bootWithoutStore: redisOptional },
      description: `Sessions are kept in Redis at ${withoutPassword(redisUrl)} (REDIS_URL)`,
    };
  }
  const program = findRedisServer();
  if (program === undefined) {
    return inMemory('no REDIS_URL, and no redis-server on PATH');
  }
  try {
    const url = await startOwnRedis(program);
    return {
      options: { redis: url },
      description: `Sessions are kept in Redis at ${url} (a redis-server of this process, ends with it)`,
    };
  } catch {
    return inMemory(`${program} did not start`);
  }
}

const listed = (addresses: readonly RedisAddress[]): string =>
  addresses.map(({ host, port }) => `${host}:${port}`).join(', ');

export function withoutPassword(url: string): string {
  if (!URL.canParse(url)) return 'the given address';
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}
