import { setTimeout as delay } from 'node:timers/promises';
import type { RedisClient } from '../stores/redis/redis-client.js';
import type { Finding } from './finding.js';
import { fieldsIn, whereIs } from './server-facts.js';

/** A replica as its master sees it. */
export interface ReplicaFacts {
  readonly where: string;
  readonly state: string;
  /** Bytes that it has not confirmed of what the master had when the looking began. */
  readonly behind: number;
  /** Seconds since it was last heard of. */
  readonly silentFor: number;
}

/** A master, and who follows it. */
export interface ReplicationFacts {
  readonly where: string;
  readonly replicas: readonly ReplicaFacts[];
}

/** Milliseconds in which a replica has to confirm what its master has: it does so once a second. */
const PATIENCE = 3_000;
const STEP = 200;
/** Seconds without a word that are no delay yet. */
const USUAL = 1;

/** Waits for replicas to confirm what their master has now; at once where they do, or where there are none. */
export async function replicationOf(node: RedisClient): Promise<ReplicationFacts> {
  const until = performance.now() + PATIENCE;
  let wanted: number | undefined;
  for (;;) {
    const info = fieldsIn(await node.info('replication').catch(() => ''));
    wanted ??= offsetIn(info);
    const replication = { where: whereIs(node), replicas: replicasIn(info, wanted) };
    if (!hasLate(replication) || performance.now() > until) return replication;
    await delay(STEP);
  }
}

/** What a master tells of its replicas, without waiting for them. */
export const replicationIn = (
  where: string,
  info: Readonly<Record<string, string>>,
): ReplicationFacts => ({ where, replicas: replicasIn(info, offsetIn(info)) });

/** Replicas have yet to confirm something: which is usual for a second. */
export const hasLate = ({ replicas }: ReplicationFacts): boolean => replicas.some(isLate);

const offsetIn = (info: Readonly<Record<string, string>>): number =>
  Number(info.master_repl_offset ?? 0);

function replicasIn(info: Readonly<Record<string, string>>, wanted: number): ReplicaFacts[] {
  const lines = Object.entries(info).filter(([name]) => /^slave\d+$/.test(name));
  return lines.map(([, line]) => {
    const told = Object.fromEntries(line.split(',').map((pair) => pair.split('=')));
    const { ip = '', port = '', state = '', offset = 0, lag = 0 } = told;
    const behind = Math.max(0, wanted - Number(offset));
    return { where: `${ip}:${port}`, state: String(state), behind, silentFor: Number(lag) };
  });
}

const isLate = ({ state, behind, silentFor }: ReplicaFacts): boolean =>
  state !== 'online' || behind > 0 || silentFor > USUAL;

/** It is, even if nobody has waited for it. */
const isSilent = ({ state, silentFor }: ReplicaFacts): boolean =>
  state !== 'online' || silentFor * 1_000 > PATIENCE;

/**
 * What is wrong with the replicas of masters, where so many are to confirm.
 *
 * @param waited they had time to confirm what their master had; without it only those count that are silent
 */
export function checkReplication(
  masters: readonly ReplicationFacts[],
  {
    durability = 0,
    waited = true,
  }: { readonly durability?: number; readonly waited?: boolean } = {},
): Finding[] {
  const most = Math.max(...masters.map(({ replicas }) => replicas.length));
  const isLagging = waited ? isLate : isSilent;
  return masters.flatMap((master) => [
    ...master.replicas.filter(isLagging).map((one) => lag(master, one)),
    ...tooFew(master, durability, most),
  ]);
}

function lag(master: ReplicationFacts, replica: ReplicaFacts): Finding {
  const { where, state, behind, silentFor } = replica;
  const online = `${behind} bytes behind, last heard of ${silentFor} s ago`;
  return {
    code: 'REPLICA_LAG',
    severity: 'error',
    seen: `replica ${where} of ${master.where}: ${state === 'online' ? online : state}`,
    why: 'a failover to it loses logins, and brings back sessions that were ended; with `durability` logins and logouts answer 503',
    remedy: `look at that server and the network to it (redis-cli -h … INFO replication); option durability: { replicas: 1 } makes the library wait for replicas`,
  };
}

function tooFew(master: ReplicationFacts, durability: number, most: number): Finding[] {
  const { where, replicas } = master;
  const has = `${where} has ${replicas.length} ${replicas.length === 1 ? 'replica' : 'replicas'}`;
  if (replicas.length < durability) {
    return [
      {
        code: 'TOO_FEW_REPLICAS',
        severity: 'error',
        seen: `${has}, and durability asks for ${durability}`,
        why: 'logins and logouts answer 503 (SESSION_UNCONFIRMED)',
        remedy: 'add replicas, or ask for fewer in durability: { replicas }',
      },
    ];
  }
  if (replicas.length > 0 || most === 0) return [];
  return [
    {
      code: 'NO_REPLICA',
      severity: 'warning',
      seen: `${has}, and other masters have ${most}`,
      why: 'if it fails, the sessions of its slots are gone or unavailable',
      remedy:
        'redis-cli --cluster add-node <host:port> <host:port> --cluster-slave --cluster-master-id <id>',
    },
  ];
}
