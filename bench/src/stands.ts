import { Stand, type Arena } from './arena.js';
import type { Adapter } from './contenders/contender.js';
import { contender, type ContenderName, type Workload } from './contenders/index.js';
import { count, type Count } from './count.js';
import { Places } from './places.js';
import { BenchRedis } from './redis.js';

/** Starts the servers of some contenders, and ends them after their work. */
export async function withStands<Result>(
  names: readonly ContenderName[],
  adapter: Adapter,
  work: (stands: Stand[], redis: BenchRedis, places: Places) => Promise<Result>,
  places = new Places(),
): Promise<Result> {
  const redis = await BenchRedis.start();
  const stands: Stand[] = [];
  try {
    for (const name of names) {
      const { place: kind } = contender(name);
      const place = kind && (await places.room(kind, name));
      stands.push(await Stand.start(name, adapter, redis, { place }));
    }
    return await work(stands, redis, places);
  } finally {
    await Promise.all(stands.map((stand) => stand.stop()));
    await redis.stop();
    await places.stop();
  }
}

const WORKLOADS: readonly Workload[] = ['read', 'change', 'login', 'logout', 'devices'];
/** Size of the sessions whose commands are counted. */
const BYTES = 1_024;

/** Exact figures of every contender and workload. */
export async function countAll(
  arena: Arena,
  adapter: Adapter,
  stands: readonly Stand[],
): Promise<Count[]> {
  const counts: Count[] = [];
  for (const stand of stands) {
    for (const workload of WORKLOADS) {
      if (!contender(stand.name).workloads.includes(workload)) continue;
      counts.push(await count(arena, adapter, stand, workload, BYTES));
    }
  }
  return counts;
}
