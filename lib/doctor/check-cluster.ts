import type { RedisClient } from '../stores/redis/redis-client.js';
import type { Finding } from './finding.js';
import { ask, fieldsIn } from './server-facts.js';

/** What a Cluster tells of its slots; `undefined` where there is none, or it does not tell. */
export async function clusterOf(client: RedisClient): Promise<Record<string, string> | undefined> {
  if (!client.nodes) return undefined;
  const told = await ask(client, 'CLUSTER', 'INFO').catch(() => undefined);
  return typeof told === 'string' ? fieldsIn(told) : undefined;
}

export function checkCluster(cluster: Readonly<Record<string, string>> | undefined): Finding[] {
  if (!cluster) return [];
  const { cluster_state, cluster_slots_assigned, cluster_slots_pfail, cluster_slots_fail } =
    cluster;
  const failing = Number(cluster_slots_pfail ?? 0) + Number(cluster_slots_fail ?? 0);
  if (cluster_state === 'ok' && failing === 0) return [];
  return [
    {
      code: 'CLUSTER_STATE',
      severity: 'error',
      seen: `cluster_state ${cluster_state}, ${cluster_slots_assigned} of 16384 slots assigned, ${failing} of them without an answer`,
      why: 'requests whose session lies in a slot without a master answer 503',
      remedy:
        'redis-cli --cluster check <host:port>, then --cluster fix, or start the masters that are down',
    },
  ];
}
