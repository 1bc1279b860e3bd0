import { sessionsOfEach, type Arena, type Stand } from './arena.js';
import type { Adapter } from './contenders/contender.js';
import { contender, type ContenderName, type Workload } from './contenders/index.js';

/** What one request costs Redis; exact, the same on every machine. */
export interface Count {
  readonly contender: ContenderName;
  readonly adapter: Adapter;
  readonly workload: Workload;
  readonly bytes: number;
  /** Commands that came over the wire, in their order. */
  readonly commands: readonly string[];
  /** Bytes that Redis received and sent. */
  readonly in: number;
  readonly out: number;
  /** Statements that a database got, those that begin and end a transaction included. */
  readonly statements?: number;
}

/** Serve from a copy who comes back. */
const COPYING: readonly ContenderName[] = ['near', 'redis-near', 'tiered'];

const isInDatabase = (name: ContenderName): boolean =>
  ['sql', 'tiered'].includes(contender(name).home);

const REQUESTS = 64;

/** Counts commands and bytes of single requests, one after the other. */
export async function count(
  arena: Arena,
  adapter: Adapter,
  stand: Stand,
  workload: Workload,
  bytes: number,
): Promise<Count> {
  const { redis } = stand;
  // A first round apart: scripts are loaded, and what is done once a session is done.
  const ofEach = sessionsOfEach(workload);
  const count = (COPYING.includes(stand.name) ? 1 : Math.max(3, ofEach)) * REQUESTS;
  if (workload !== 'login') await arena.logIn(stand, bytes, { count, each: ofEach });
  const send = () => arena.send(stand, { workload, bytes, connections: 1, amount: REQUESTS });
  if (workload !== 'logout') await send();
  const ownBytes = await difference(redis.totals.bind(redis));
  const sent = isInDatabase(stand.name) && (await stand.statements());
  const wire = await difference(redis.totals.bind(redis), send);
  const statements =
    typeof sent === 'number' ? ((await stand.statements()) - sent) / REQUESTS : undefined;

  if (workload === 'logout') await arena.logIn(stand, bytes, { count: REQUESTS });
  const names: string[] = [];
  const monitor = await redis.client.monitor();
  monitor.on('monitor', (_time: string, args: string[], source: string) => {
    const name = String(args[0]).toUpperCase();
    // Signs of life are asked for by the clock, however many requests there are.
    if (source !== 'lua' && name !== 'PING') names.push(name);
  });
  await send();
  // A marker tells when the monitor has told everything that came before.
  await redis.client.echo('done');
  while (names.at(-1) !== 'ECHO') await new Promise((resolve) => setTimeout(resolve, 5));
  monitor.disconnect();
  names.pop();
  const each = names.length / REQUESTS;
  if (!Number.isInteger(each))
    throw new Error(`${stand.name} ${workload}: ${each} commands a request`);
  return {
    contender: stand.name,
    adapter,
    workload,
    bytes,
    commands: names.slice(0, each),
    in: (wire.in - ownBytes.in) / REQUESTS,
    out: (wire.out - ownBytes.out) / REQUESTS,
    ...(statements !== undefined && { statements }),
  };
}

type Totals = { in: number; out: number };

async function difference(totals: () => Promise<Totals>, work?: () => Promise<unknown>) {
  const before = await totals();
  await work?.();
  const after = await totals();
  return { in: after.in - before.in, out: after.out - before.out };
}
