import type { Arena, Load, Stand } from './arena.js';
import type { Adapter } from './contenders/contender.js';
import { CONTENDERS, contender, type ContenderName } from './contenders/index.js';
import type { Count } from './count.js';
import { grow } from './growth.js';
import { getexLoop } from './limits.js';
import { machineOf } from './machine.js';
import type { BenchRedis } from './redis.js';
import type { Footprint, NearResults, Results } from './results.js';
import { compare, type Scenario } from './scenario.js';
import { countAll, withStands } from './stands.js';
import { STORES, storesRun } from './stores.js';

const ADAPTERS: readonly Adapter[] = ['express', 'fastify'];
const KB = 1_024;

interface Planned extends Load {
  readonly rounds: number;
}

/** What a full run compares, on each adapter. */
const PLAN: readonly Planned[] = [
  { workload: 'read', bytes: KB, connections: 64, seconds: 1, rounds: 5 },
  { workload: 'read', bytes: KB, connections: 256, seconds: 1, rounds: 3 },
  { workload: 'read', bytes: 100, connections: 64, seconds: 0.7, rounds: 3 },
  { workload: 'read', bytes: 10 * KB, connections: 64, seconds: 0.7, rounds: 3 },
  { workload: 'change', bytes: KB, connections: 64, seconds: 1, rounds: 3 },
  { workload: 'login', bytes: KB, connections: 64, seconds: 1, rounds: 3 },
  { workload: 'logout', bytes: KB, connections: 64, seconds: 1, rounds: 3 },
  { workload: 'devices', bytes: KB, connections: 64, seconds: 1, rounds: 3 },
];

/** A cookie holds no more than 4 KB. */
const fits = (name: ContenderName, { workload, bytes }: Load): boolean =>
  contender(name).workloads.includes(workload) &&
  !(contender(name).home === 'cookie' && bytes > 2 * KB);

/** Compared in runs of their own: with what Nest itself costs of the same application, and with each other. */
const APART: readonly ContenderName[] = [...STORES, 'near', 'face'];

export const contendersOn = (adapter: Adapter): ContenderName[] =>
  (Object.keys(CONTENDERS) as ContenderName[]).filter(
    (name) => contender(name).adapters.includes(adapter) && !APART.includes(name),
  );

/** Everything, on both adapters: about a quarter of an hour. */
export async function fullRun(arena: Arena, say: (what: string) => void): Promise<Results> {
  const scenarios: Scenario[] = [];
  const counts: Count[] = [];
  const footprints: Footprint[] = [];
  let redisVersion = '';
  let limits = { getexLoop: 0, getexLoopRedis: 0 };
  for (const adapter of ADAPTERS) {
    await withStands(contendersOn(adapter), adapter, async (stands, redis) => {
      redisVersion = await redis.version();
      say(`${adapter}: commands and bytes`);
      counts.push(...(await countAll(arena, adapter, stands)));
      for (const { rounds, ...load } of PLAN) {
        say(`${adapter}: ${load.workload}, ${load.bytes} bytes, ${load.connections} connections`);
        const able = stands.filter(({ name }) => fits(name, load));
        scenarios.push(await compare(arena, adapter, able, load, rounds));
      }
      say(`${adapter}: memory`);
      footprints.push(...(await measureFootprints(arena, adapter, stands, redis)));
      if (adapter === 'express') limits = await getexLoop(redis);
    });
  }
  const near = await nearRun(arena, say);
  const stores = await storesRun(arena, say);
  say('growth to a million sessions');
  const growth = await grow(arena, [1_000, 100_000, 1_000_000], 5);
  const machine = machineOf(redisVersion);
  return { machine, scenarios, counts, footprints, growth, limits, near, stores };
}

/** Reads that a near cache serves, beside what nothing could do without: about two minutes. */
export async function nearRun(arena: Arena, say: (what: string) => void): Promise<NearResults> {
  const scenarios: Scenario[] = [];
  const counts: Count[] = [];
  let redisVersion = '';
  for (const adapter of ADAPTERS) {
    say(`${adapter}: reads from the near cache`);
    await withStands(['ceiling', 'face', 'near', 'ours'], adapter, async (stands, redis) => {
      redisVersion = await redis.version();
      const near = stands.filter(({ name }) => name === 'near');
      counts.push(...(await countAll(arena, adapter, near)));
      const load: Load = { workload: 'read', bytes: KB, connections: 64, seconds: 1 };
      scenarios.push(await compare(arena, adapter, stands, load, 7));
    });
  }
  return { machine: machineOf(redisVersion), scenarios, counts };
}

const STORED = 10_000;

async function measureFootprints(
  arena: Arena,
  adapter: Adapter,
  stands: readonly Stand[],
  redis: BenchRedis,
): Promise<Footprint[]> {
  const footprints: Footprint[] = [];
  for (const bytes of [191, KB]) {
    for (const stand of stands.filter(({ name }) => contender(name).home === 'redis')) {
      await redis.client.flushall();
      const before = await redis.memory();
      await arena.logIn(stand, bytes, { count: STORED });
      const stored = ((await redis.memory()) - before) / STORED;
      footprints.push({ contender: stand.name, adapter, bytes, stored });
    }
  }
  return footprints;
}
