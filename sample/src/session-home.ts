import type { SessionModuleOptions } from 'nestjs-distributed-session';
import { findRedisServer, startOwnRedis } from './own-redis.js';
import type { Settings } from './settings.js';

/** Where the sessions live, and how to say that in a log. */
export interface SessionHome {
  readonly options: Pick<SessionModuleOptions, 'redis' | 'store' | 'bootWithoutStore'>;
  readonly description: string;
}

/** The given Redis; without one, a redis-server of our own; without that, the memory of this process. */
export async function chooseSessionHome(settings: Settings): Promise<SessionHome> {
  const { redisUrl, redisOptional } = settings;
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

function inMemory(reason: string): SessionHome {
  return {
    options: { store: 'memory' },
    description: `Sessions are kept in the memory of this process (${reason})`,
  };
}

function withoutPassword(url: string): string {
  if (!URL.canParse(url)) return 'the given address';
  const { protocol, host, pathname } = new URL(url);
  return `${protocol}//${host}${pathname}`;
}
