import type { Durability } from './redis-client.js';

/** What a server tells of itself in `INFO`, as far as sessions depend on it. */
export interface RedisFacts {
  readonly version: string;
  readonly role: string;
  readonly replicas: number;
  /** What it drops when its memory is full. */
  readonly evictionPolicy: string;
  /** Whether it writes down every change (AOF). */
  readonly appendOnly: boolean;
}

/** Reads the answer to `INFO`. */
export function factsIn(info: string): RedisFacts {
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
  return {
    version: field('valkey_version') ?? field('redis_version') ?? 'of unknown version',
    role: field('role') ?? 'unknown',
    replicas: Number(field('connected_slaves') ?? 0),
    evictionPolicy: field('maxmemory_policy') ?? 'unknown',
    appendOnly: field('aof_enabled') === '1',
  };
}

/** The servers in one line, for the log at boot. */
export function describeFacts(servers: readonly RedisFacts[]): string {
  const each = servers.map(({ version, role, replicas, evictionPolicy, appendOnly }) =>
    [
      `${version} (${role}`,
      `${replicas} ${replicas === 1 ? 'replica' : 'replicas'}`,
      evictionPolicy,
      `AOF ${appendOnly ? 'on' : 'off'})`,
    ].join(', '),
  );
  const alike = new Set(each).size === 1 && each.length > 1;
  return `Redis ${alike ? `${each.length} masters, each ${each[0]}` : each.join(' and ')}`;
}

/** What is wrong with servers for sessions, each with its remedy. */
export function troubleWith(servers: readonly RedisFacts[], durability?: Durability): string[] {
  const problems: string[] = [];
  const wanted = durability?.replicas ?? 0;
  const alone = servers.find(({ replicas }) => replicas < wanted);
  if (alone) {
    problems.push(
      `durability asks for ${wanted} replicas, and a master has ${alone.replicas}: logins and logouts answer 503 (SESSION_UNCONFIRMED). Add replicas, or ask for fewer.`,
    );
  }
  if (durability?.fsync && servers.some((server) => !canWaitForDisk(server))) {
    problems.push(
      'durability.fsync needs Redis 7.2 or Valkey, and appendonly yes: only the memory of replicas is waited for. Upgrade, or leave fsync out.',
    );
  }
  const evicting = servers.find(({ evictionPolicy }) => isEvicting(evictionPolicy));
  if (evicting) {
    problems.push(
      `maxmemory-policy is ${evicting.evictionPolicy}: Redis may drop sessions, and entries by which they are found, so that revokeAll misses some. Set maxmemory-policy noeviction.`,
    );
  }
  if (servers.some(({ role }) => role === 'slave')) {
    problems.push(
      'This is a replica, which refuses writes: connect to the master, by Sentinel (`sentinels` and `name`), or as a Cluster (`cluster`).',
    );
  }
  if (servers.some(({ appendOnly }) => !appendOnly)) {
    problems.push(
      'The append-only file is off: a restart of Redis loses sessions, and brings back some that were ended since its last snapshot. Set appendonly yes.',
    );
  }
  return problems;
}

/** `WAITAOF` came with Redis 7.2, and Valkey has had it from its beginning. */
function canWaitForDisk({ version, appendOnly }: RedisFacts): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return appendOnly && (major > 7 || (major === 7 && minor >= 2));
}

/** What is not told may still be right. */
export const isEvicting = (policy: string): boolean =>
  policy !== 'noeviction' && policy !== 'unknown';
