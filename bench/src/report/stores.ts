import type { Adapter } from '../contenders/contender.js';
import { CONTENDERS, type Workload } from '../contenders/index.js';
import type { Count } from '../count.js';
import type { Abilities, Results, StoreFacts, StoresResults } from '../results.js';
import type { Row } from '../scenario.js';
import { STORES } from '../stores.js';
import { number, range, table } from './table.js';

type StoreName = (typeof STORES)[number];

/** What a figure cannot say of a store. */
interface Words {
  /** What the sessions take room in, if anything. */
  readonly room: string;
  readonly shared: string;
  readonly restart: string;
}

const inDatabase = { room: 'disk of the database', shared: 'all nodes', restart: 'yes' };
const inRedis = { room: 'memory of Redis', shared: 'all nodes', restart: 'as Redis persists' };
const atClient = { room: '', shared: 'all nodes, by `secret`', restart: 'yes' };
const listed = { ...atClient, restart: 'yes; the list as Redis persists' };

const WORDS: Readonly<Record<StoreName, Words>> = {
  memory: {
    room: 'memory of the node, 100 000 at most',
    shared: 'none: one process',
    restart: 'no',
  },
  redis: inRedis,
  'redis-near': inRedis,
  postgres: inDatabase,
  mariadb: inDatabase,
  sqlite: { room: 'disk', shared: 'processes of one machine', restart: 'yes' },
  tiered: { room: 'disk of the database', shared: 'all nodes', restart: 'yes, that of either' },
  files: { room: 'disk', shared: 'who shares the directory', restart: 'yes' },
  sealed: atClient,
  'sealed-listed': listed,
  jwt: atClient,
  'jwt-listed': listed,
};

const REVOCATION: Readonly<Record<Abilities['revocation'], string>> = {
  'at-once': 'at once',
  'by-list': 'at once, by a list that each request asks',
  none: 'not before its time is over',
};

const NOT_HERE = 'not measured here';

const MARKS = ['<!-- costs -->', '<!-- /costs -->'] as const;

/** `docs/which-store.md` with what the results say between its marks. */
export function withCosts(page: string, { stores }: Results): string {
  const [start, end] = MARKS.map((mark) => page.indexOf(mark)) as [number, number];
  if (start < 0 || end < start) throw new Error(`docs/which-store.md has no ${MARKS.join(' ')}`);
  const block = stores ? `\n${costs(stores)}\n` : '\n';
  return page.slice(0, start + MARKS[0].length) + block + page.slice(end);
}

/** Part of `docs/benchmarks.md`; none before the first run. */
export function storesSection({ stores }: Results): string[] {
  if (!stores) return [];
  const parts = stores.scenarios.map(({ adapter, workload }) => {
    const label = adapter === 'express' ? 'Express' : 'Fastify';
    const rows = rowsOf(stores, adapter, workload, (row) => [
      number(row.requestsPerSecond.median, 0),
      range(row.relative, 2),
      range(row.cpuAbove),
      backendOf(row),
      number(row.p50.median, 1),
      number(row.p99.median, 1),
    ]);
    const head = ['', 'Requests/s', 'relative', 'CPU above no session, µs', 'Backend, µs'];
    return `### ${label}, ${workload}\n\n${table([...head, 'p50, ms', 'p99, ms'], rows)}`;
  });
  return [
    `## Stores

The stores of this library beside each other, in a run of its own ${conditions(stores)} What they can do: [which store](which-store.md).

${parts.join('\n\n')}`,
  ];
}

/** The tables of `docs/which-store.md`. */
function costs(stores: StoresResults): string {
  const asked = (name: StoreName, workload: Workload) =>
    askedOf(stores.counts.find((one) => one.contender === name && one.workload === workload));
  const of = (workload: Workload) =>
    table(
      ['', 'Asks', 'Requests/s', 'Node, µs', 'Backend, µs', 'p50, ms', 'p99, ms'],
      rowsOf(stores, 'express', workload, (row) => [
        asked(row.contender as StoreName, workload),
        number(row.relative.median, 2),
        number(row.cpuAbove.median, 0),
        backendOf(row),
        number(row.p50.median, 1),
        number(row.p99.median, 1),
      ]),
    );
  const { machine, databases } = stores;
  const versions = Object.entries({ Redis: machine.redis, ...databases });
  return `Made by \`npm run bench:stores\` ${conditions(stores)} Requests per second are relative to the same application without a session (1.00), with load, node and backend on the same ${machine.cores} cores. *Node* is the processor time of a request above that; *backend* that of Redis and the database, where it has processes of its own.

A read, by a guard and a decorator:

${of('read')}

A change of one attribute:

${of('change')}

Room, and what can be promised:

${promises(stores)}

Machine: ${machine.processor}, ${machine.cores} cores, ${machine.memoryGigabytes} GB, ${machine.platform}; Node.js ${machine.node}, ${versions.map(([name, one]) => `${name} ${one}`).join(', ')}; ${machine.date}.`;
}

const conditions = ({ machine, bytes }: StoresResults): string =>
  `on ${machine.date}: sessions of ${number(bytes, 0)} bytes of JSON, 64 connections, medians. Idle windows are not moved within it; by default that happens once a minute for each session in use, and costs a write. Redis keeps its memory only, PostgreSQL and MariaDB have the settings that they are delivered with (what is acknowledged is on the disk), SQLite is in WAL mode with \`synchronous = NORMAL\`, files are not \`durable\`, tiers are written through, JWT are signed by HS256.`;

function promises({ facts, bytes }: StoresResults): string {
  const rows = STORES.map((name) => {
    const { shared, restart } = WORDS[name];
    const found = facts.find(({ contender }) => contender === name);
    const cells = found
      ? [number(found.cookie, 0), keptOf(found), fitsOf(name, found), revocationOf(found)]
      : [NOT_HERE, NOT_HERE, NOT_HERE, NOT_HERE];
    return [CONTENDERS[name].title, ...cells, shared, restart];
  });
  const head = ['', 'Cookie, bytes', `Kept of ${number(bytes, 0)} bytes`, 'How many fit'];
  return table([...head, 'A logout ends it', 'Seen by', 'Outlives a restart'], rows);
}

/** Rows of one workload, of those that could not be started, too. */
function rowsOf(
  { scenarios }: StoresResults,
  adapter: Adapter,
  workload: Workload,
  cells: (row: Row) => string[],
): string[][] {
  const { rows = [] } =
    scenarios.find((one) => one.adapter === adapter && one.workload === workload) ?? {};
  return STORES.map((name) => {
    const row = rows.find(({ contender }) => contender === name);
    return [CONTENDERS[name].title, ...(row ? cells(row) : [NOT_HERE])];
  });
}

/** Of Redis and the database together. */
function backendOf({ contender, redisCpu, placeCpu }: Row): string {
  const asksRedis = /^redis|^tiered$|-listed$/.test(contender);
  const sum = (asksRedis ? redisCpu.median : 0) + (placeCpu?.median ?? 0);
  return asksRedis || placeCpu ? number(sum, sum < 10 ? 1 : 0) : '–';
}

function askedOf(count: Count | undefined): string {
  if (!count) return NOT_HERE;
  const { contender, commands, statements } = count;
  const parts = [
    ...(commands.length > 0 ? [commands.map((name) => `\`${name}\``).join(' ')] : []),
    ...(statements ? [`${statements} ${statements === 1 ? 'statement' : 'statements'}`] : []),
    ...(CONTENDERS[contender].home === 'files' ? ['files'] : []),
  ];
  return parts.join(', ') || 'nothing';
}

function keptOf({ kept, ended }: StoreFacts): string {
  const { place, redis, node } = kept;
  const parts = [
    ...(place === undefined ? [] : [round(place)]),
    ...(redis === undefined
      ? []
      : [place === undefined ? round(redis) : `${round(redis)} in Redis while in use`]),
    ...(node === undefined ? [] : [round(node)]),
    ...(ended === undefined ? [] : [`${round(ended)} in Redis for each logout`]),
  ];
  return parts.join(', and ') || '0';
}

function fitsOf(name: StoreName, { kept }: StoreFacts): string {
  const { place, redis, node } = kept;
  const bytes = place ?? redis ?? node;
  if (bytes === undefined) return 'any number, each in up to 3 cookies of 4096 bytes';
  return `${round(1e9 / bytes)} a GB: ${WORDS[name].room}`;
}

const revocationOf = ({ abilities }: StoreFacts): string => REVOCATION[abilities.revocation];

/** To two digits that mean something. */
const round = (value: number): string => number(Number(value.toPrecision(2)), 0);
