import { isEvicting } from '../stores/redis/redis-facts.js';
import type { Finding } from './finding.js';
import { numberIn, type ServerFacts } from './server-facts.js';

/** What is wrong with a server by itself: version, role, eviction, memory, persistence. */
export function checkServer(server: ServerFacts): Finding[] {
  if (Object.keys(server.info).length === 0) return [NOT_TOLD(server)];
  return [
    ...checkVersion(server),
    ...checkRole(server),
    ...checkEviction(server),
    ...checkMemory(server),
    ...checkPersistence(server),
  ];
}

const NOT_TOLD = ({ where }: ServerFacts): Finding => ({
  code: 'INFO_REFUSED',
  severity: 'warning',
  seen: `${where} does not answer INFO to this user`,
  why: 'eviction, persistence, memory and replication could not be looked at',
  remedy: 'ACL SETUSER <user> +info, or run doctor as the operator of docs/cli.md',
});

/** `GETEX` and `GETDEL` came with it. */
const OLDEST = [6, 2] as const;

export function checkVersion({ where, info }: ServerFacts): Finding[] {
  const told = info.redis_version ?? '';
  const [major = NaN, minor = NaN] = told.split('.').map(Number);
  const isOld = major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]);
  if (!isOld) return [];
  return [
    {
      code: 'VERSION',
      severity: 'error',
      seen: `${where} is Redis ${told}`,
      why: 'the library uses commands that came with Redis 6.2',
      remedy: 'upgrade to Redis 7 or Valkey',
    },
  ];
}

export function checkRole({ where, info }: ServerFacts): Finding[] {
  if (info.role !== 'slave') return [];
  const link = info.master_link_status === 'up' ? '' : ', which has lost its master';
  return [
    {
      code: 'REPLICA',
      severity: 'error',
      seen: `${where} is a replica${link}`,
      why: 'it refuses writes, and tells of logouts late',
      remedy:
        'connect to the master: by --sentinel and --master, or --cluster; in the application likewise',
    },
  ];
}

export function checkEviction({ where, info }: ServerFacts): Finding[] {
  const policy = info.maxmemory_policy ?? 'unknown';
  if (!isEvicting(policy)) return [];
  return [
    {
      code: 'EVICTION',
      severity: 'error',
      seen: `${where} has maxmemory-policy ${policy}`,
      why: 'when its memory is full Redis ends sessions, and drops entries by which they are found, so that revokeAll misses some',
      remedy: 'CONFIG SET maxmemory-policy noeviction, and the same in redis.conf',
    },
  ];
}

const NEARLY_FULL = 0.75;
const FULL = 0.9;

export function checkMemory(server: ServerFacts): Finding[] {
  const max = numberIn(server, 'maxmemory');
  const share = numberIn(server, 'used_memory') / max;
  if (!(max > 0) || !(share >= NEARLY_FULL)) return [];
  const percent = Math.floor(share * 100);
  return [
    {
      code: 'MEMORY',
      severity: share >= FULL ? 'error' : 'warning',
      seen: `${server.where} uses ${percent} % of its maxmemory (${server.info.maxmemory_human ?? max})`,
      why: 'once it is full, logins and changes are refused (503), or sessions are evicted',
      remedy: 'CONFIG SET maxmemory to more, shorten idleTimeout, or store less: see `stats`',
    },
  ];
}

export function checkPersistence(server: ServerFacts): Finding[] {
  const { where, info, save, appendfsync } = server;
  if (info.aof_enabled === undefined) return [];
  const findings = checkFailures(server);
  if (info.aof_enabled === '1') {
    if (appendfsync === 'no') findings.push(NO_FSYNC(where));
    return findings;
  }
  findings.push(save === '' ? NOTHING_KEPT(where) : SNAPSHOTS_ONLY(where, save));
  return findings;
}

const NO_FSYNC = (where: string): Finding => ({
  code: 'APPENDFSYNC',
  severity: 'warning',
  seen: `${where} has appendfsync no`,
  why: 'a crash of the machine loses what the system has not written yet, often half a minute of logins and logouts',
  remedy: 'CONFIG SET appendfsync everysec, and the same in redis.conf',
});

const NOTHING_KEPT = (where: string): Finding => ({
  code: 'NO_PERSISTENCE',
  severity: 'error',
  seen: `${where} writes nothing to disk (appendonly no, save "")`,
  why: 'a restart of Redis logs everybody out',
  remedy: 'CONFIG SET appendonly yes, and the same in redis.conf',
});

const SNAPSHOTS_ONLY = (where: string, save: string | undefined): Finding => ({
  code: 'SNAPSHOTS_ONLY',
  severity: 'warning',
  seen: `${where} has appendonly no${save === undefined ? '' : `, and snapshots by save "${save}"`}`,
  why: 'a restart of Redis loses sessions, and brings back some that were ended since its last snapshot',
  remedy: 'CONFIG SET appendonly yes, and the same in redis.conf',
});

function checkFailures({ where, info }: ServerFacts): Finding[] {
  const failing = [
    ['the append-only file', info.aof_last_write_status],
    ['rewriting the append-only file', info.aof_last_bgrewrite_status],
    ['the last snapshot', info.rdb_last_bgsave_status],
  ].filter(([, status]) => status !== undefined && status !== 'ok');
  return failing.map(([what]) => ({
    code: 'PERSISTENCE_FAILS',
    severity: 'error',
    seen: `${where}: ${what} failed`,
    why: 'a restart loses sessions, and as long as it fails Redis may refuse writes (MISCONF)',
    remedy: 'look into its log: most often the disk is full or the directory is not writable',
  }));
}
