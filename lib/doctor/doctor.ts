import type { RedisClient, RedisConnectionOptions } from '../stores/redis/redis-client.js';
import { answersOf } from './answers.js';
import { checkAnswers } from './check-answers.js';
import { checkClocks } from './check-clocks.js';
import { checkCluster, clusterOf } from './check-cluster.js';
import { checkConnection } from './check-connection.js';
import { checkKeys, keysOf } from './check-keys.js';
import { checkReplication, replicationOf } from './check-replication.js';
import { checkRights, rightsOf } from './check-rights.js';
import { checkServer } from './check-server.js';
import type { Finding } from './finding.js';
import { neededRights, type RightsWanted } from './needed-rights.js';
import { factsOf, mastersOf } from './server-facts.js';

/** What is to be looked at. */
export interface DoctorOptions {
  readonly client: RedisClient;
  readonly prefix: string;
  readonly to: RedisConnectionOptions;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly wanted: Pick<RightsWanted, 'events' | 'nearCache'>;
  /** User of the application, if it is another one than asks. */
  readonly user?: string | undefined;
  /** Replicas that confirm logins. */
  readonly durability: number;
  /** Keys that are looked at. */
  readonly keys: number;
  /** A page that begins a session. */
  readonly url?: URL | undefined;
  readonly cookie?: string | undefined;
  readonly ca?: string | undefined;
  readonly onKeys?: ((passed: number) => void) | undefined;
}

const ORDER = ['error', 'warning', 'hint'];

/** Looks at everything that sessions depend on; empty: all is well. The worst come first. */
export async function examine(options: DoctorOptions): Promise<Finding[]> {
  const parts = await Promise.all([ofServers(options), ofRights(options), ofUrl(options)]);
  const findings = [...checkConnection(options.to), ...parts.flat(), ...(await ofKeys(options))];
  return findings.sort((one, other) => ORDER.indexOf(one.severity) - ORDER.indexOf(other.severity));
}

async function ofServers({ client, now, durability }: DoctorOptions): Promise<Finding[]> {
  const masters = mastersOf(client);
  const servers = await Promise.all(masters.map((node) => factsOf(node, now)));
  const replication = await Promise.all(masters.map((node) => replicationOf(node)));
  return [
    ...servers.flatMap(checkServer),
    ...checkReplication(replication, { durability }),
    ...checkClocks(servers),
    ...checkCluster(await clusterOf(client)),
  ];
}

async function ofRights(options: DoctorOptions): Promise<Finding[]> {
  const { client, prefix, user, wanted, durability } = options;
  const inCluster = client.nodes !== undefined;
  const needed = neededRights(prefix, { ...wanted, inCluster, durability: durability > 0 });
  const masters = mastersOf(client);
  const asked = await Promise.all(masters.map((node) => rightsOf(node, client, needed, user)));
  return asked.flatMap((one) => checkRights(one, prefix));
}

/** Who may not look at keys misses nothing that the application needs. */
async function ofKeys({ client, prefix, keys, onKeys }: DoctorOptions): Promise<Finding[]> {
  if (keys === 0) return [];
  try {
    return checkKeys(await keysOf(client, prefix, keys, onKeys));
  } catch (error) {
    if (!(error as Error).message.startsWith('NOPERM')) throw error;
    return [KEYS_UNKNOWN];
  }
}

const KEYS_UNKNOWN: Finding = {
  code: 'KEYS_UNKNOWN',
  severity: 'hint',
  seen: 'this user may not SCAN',
  why: 'records without an end, dead entries and large records could not be looked for',
  remedy: 'run doctor as the operator of docs/cli.md, with --user for the user of the application',
};

async function ofUrl({ url, cookie, ca }: DoctorOptions): Promise<Finding[]> {
  if (!url) return [];
  return checkAnswers(await answersOf(url, { ca }), { cookie });
}
