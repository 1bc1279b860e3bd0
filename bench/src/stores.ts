import type { Arena, Load, Stand } from './arena.js';
import type { Adapter } from './contenders/contender.js';
import { contender, type ContenderName } from './contenders/index.js';
import type { Count } from './count.js';
import { machineOf } from './machine.js';
import { isThere } from './places.js';
import type { Abilities, StoreFacts, StoresResults } from './results.js';
import { compare, type Scenario } from './scenario.js';
import { countAll, withStands } from './stands.js';

/** Stores of this library. */
export const STORES = [
  'memory',
  'redis',
  'redis-near',
  'postgres',
  'mariadb',
  'sqlite',
  'tiered',
  'files',
  'sealed',
  'sealed-listed',
  'jwt',
  'jwt-listed',
] as const satisfies readonly ContenderName[];

const BYTES = 1_024;

interface Planned extends Load {
  readonly adapter: Adapter;
  readonly rounds: number;
}

const load = { bytes: BYTES, connections: 64, seconds: 0.6 } as const;

const PLAN: readonly Planned[] = [
  { ...load, adapter: 'express', workload: 'read', warmSeconds: 1.2, rounds: 5 },
  { ...load, adapter: 'express', workload: 'change', warmSeconds: 0.8, rounds: 3 },
  { ...load, adapter: 'fastify', workload: 'read', warmSeconds: 1.2, rounds: 3 },
];

/** The same session in every store that can be started here: less than four minutes. */
export async function storesRun(arena: Arena, say: (what: string) => void): Promise<StoresResults> {
  const able = STORES.filter((name) => {
    const { place, title } = contender(name);
    if (!place || isThere(place)) return true;
    say(`${title}: its server is not installed, so it is left out`);
    return false;
  });
  const counts: Count[] = [];
  const facts: StoreFacts[] = [];
  const scenarios: Scenario[] = [];
  let redisVersion = '';
  let databases: Record<string, string> = {};
  for (const adapter of ['express', 'fastify'] as const) {
    await withStands(['ceiling', ...able], adapter, async (stands, redis, places) => {
      if (adapter === 'express') {
        redisVersion = await redis.version();
        databases = await places.versions();
        say('stores: what sessions take');
        for (const stand of stands.slice(1)) facts.push(await factsOf(arena, stand));
        counts.push(...(await countAll(arena, adapter, stands.slice(1))));
      }
      for (const { rounds, adapter: on, ...planned } of PLAN) {
        if (on !== adapter) continue;
        say(`stores: ${planned.workload} on ${adapter}`);
        scenarios.push(await compare(arena, adapter, stands, planned, rounds));
      }
    });
  }
  return { machine: machineOf(redisVersion), databases, bytes: BYTES, scenarios, counts, facts };
}

/** In a database so many that its pages and extents are small beside them. */
const storedBy = ({ place }: Stand): number => (place ? 8_192 : 2_048);

async function factsOf(arena: Arena, stand: Stand): Promise<StoreFacts> {
  const { redis, place } = stand;
  const { home } = contender(stand.name);
  const isInMemory = home === 'memory';
  const heap = async () =>
    isInMemory ? (await stand.process.ask<{ heap: number }>('heap')).heap : 0;
  const sizes = async () => ({
    redis: await redis.memory(),
    place: (await place?.bytes()) ?? 0,
    node: await heap(),
  });
  // Everything once, so that what is allocated once is not counted.
  await arena.logIn(stand, BYTES, { count: 256 });
  // Entries of others' indexes would be shared.
  await redis.client.flushall();
  const before = await sizes();
  const count = storedBy(stand);
  const { cookie } = await arena.logIn(stand, BYTES, { count });
  const all = { bytes: BYTES, connections: 64, amount: count };
  // A copy comes with the first read.
  if (home === 'tiered') await arena.send(stand, { ...all, workload: 'read' });
  const after = await sizes();
  const abilities = await stand.process.ask<Abilities>('abilities');
  const of = (what: keyof typeof after) => (after[what] - before[what]) / count;
  const kept = {
    ...((home === 'redis' || home === 'tiered') && { redis: of('redis') }),
    ...(place && { place: of('place') }),
    ...(isInMemory && { node: of('node') }),
  };
  if (abilities.revocation !== 'by-list') {
    return { contender: stand.name, abilities, cookie, kept };
  }
  await arena.send(stand, { ...all, workload: 'logout' });
  const ended = ((await redis.memory()) - after.redis) / count;
  return { contender: stand.name, abilities, cookie, kept, ended };
}
