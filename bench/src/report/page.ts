import { CONTENDERS, type ContenderName, type Workload } from '../contenders/index.js';
import type { Adapter } from '../contenders/contender.js';
import type { Results } from '../results.js';
import type { Row } from '../scenario.js';
import { find } from './find.js';
import { goalsOf } from './goals.js';
import { storesSection } from './stores.js';
import { number, range, table } from './table.js';

const title = (name: ContenderName): string =>
  name === 'ours' || name === 'near' ? `**${CONTENDERS[name].title}**` : CONTENDERS[name].title;

/** `docs/benchmarks.md`. */
export function pageOf(results: Results): string {
  return `${[
    intro(results),
    goals(results),
    reads(results),
    wire(results),
    writes(results),
    connections(results),
    sizes(results),
    nearCache(results),
    ...storesSection(results),
    growth(results),
    footprints(results),
    limits(results),
  ].join('\n\n')}\n`;
}

function intro({ machine }: Results): string {
  const versions = Object.entries(machine.versions).map(([name, one]) => `${name} ${one}`);
  return `# Benchmarks

Made by a program from what it measured, \`bench/results.json\`; not written by hand. It needs \`redis-server\` on the path; databases that are not installed are left out. Where the microseconds go: [performance](performance.md).

\`\`\`sh
npm ci && npm run bench        # measures everything and writes this page: about a quarter of an hour
npm ci && npm run bench:near   # the near cache alone: about two minutes
npm ci && npm run bench:stores # the stores of the library alone: about four minutes
npm ci && npm run bench:smoke  # the gate: our commands and bytes, and a read beside express-session's
\`\`\`

The same Nest application, with the same route and the same session, once for each contender, each in a process of its own, side by side in one run. Rounds go there and back (A B C, C B A), after each server is warm; figures are medians, with the range of the rounds. The load comes from autocannon in another process, over connections of which no two share a session. **Ratios within a run say something; absolute numbers are this machine's.** All processes share its cores, so requests per second contain what the load and Redis cost, and processor time of the server is the figure to compare.

The library stands here with what an application uses: \`SessionGuard\`, \`@Session()\`, signed tokens (\`secret\`), and \`touchAfter: 0\`, so that it extends the session on every read as express-session does; by default it does so once a minute, which costs Redis less. Peers are used as their documentation shows. better-auth's users are in SQLite in memory, its logins are without a password. Sessions in cookies and JWT keep no state: they cannot be ended early, and are not extended by a read.

Machine: ${machine.processor}, ${machine.cores} cores, ${machine.memoryGigabytes} GB, ${machine.platform}; Node.js ${machine.node}, Redis ${machine.redis}; ${machine.date}. ${versions.join(', ')}.`;
}

function goals(results: Results): string {
  const rows = goalsOf(results).map(({ goal, bound, reached, met }) => [
    goal,
    bound,
    reached,
    met ? 'yes' : 'no',
  ]);
  return `## Goals\n\n${table(['Goal', 'Bound', 'Measured', 'Reached'], rows)}`;
}

const READ_HEAD = [
  '',
  'CPU above no session, µs',
  'Requests/s',
  'relative',
  'Redis CPU, µs',
  'p50, ms',
  'p99, ms',
];

const readRow = (row: Row): string[] => [
  title(row.contender),
  row.contender === 'ceiling' ? '0' : range(row.cpuAbove),
  number(row.requestsPerSecond.median, 0),
  range(row.relative, 2),
  number(row.redisCpu.median, 1),
  number(row.p50.median, 1),
  number(row.p99.median, 1),
];

const label = (adapter: Adapter): string => (adapter === 'express' ? 'Express' : 'Fastify');
const BOTH: readonly Adapter[] = ['express', 'fastify'];

function reads(results: Results): string {
  const parts = BOTH.map((adapter) => {
    const rows = find(results, adapter, 'read').rows.map(readRow);
    return `### ${label(adapter)}

![Processor time of a read](benchmarks/read-${adapter}.svg)

![Requests per second of a read](benchmarks/throughput-${adapter}.svg)

${table(READ_HEAD, rows)}`;
  });
  return `## Authenticated read, 1 KB, 64 connections\n\n${parts.join('\n\n')}`;
}

function nearCache({ near }: Results): string {
  const parts = BOTH.map((adapter) => {
    const rows = near.scenarios.find((one) => one.adapter === adapter)?.rows ?? [];
    return `### ${label(adapter)}\n\n${table(READ_HEAD, rows.map(readRow))}`;
  });
  const counts = near.counts.map(
    ({ adapter, workload, commands }) =>
      `${workload} on ${label(adapter)}: ${commands.join(', ') || 'none'}`,
  );
  return `## Near cache

The same read, 1 KB at 64 connections, served from copies on the node (\`nearCache: true\`), in a run of its own of ${near.machine.date}. Beside it stands an application with the same face, a guard, an interceptor and a parameter decorator, and nothing behind them: what Nest itself takes for these. Commands of one request to a session that is in use: ${counts.join('; ')}.

${parts.join('\n\n')}`;
}

function wire({ counts }: Results): string {
  const rows = counts
    .filter(({ contender }) => CONTENDERS[contender].home === 'redis')
    .map(({ contender, adapter, workload, commands, in: received, out }) => [
      title(contender),
      label(adapter),
      workload,
      `${commands.length}: ${commands.map((name) => `\`${name}\``).join(' ')}`,
      number(received, 0),
      number(out, 0),
    ]);
  const head = ['', 'Adapter', 'Workload', 'Commands', 'Bytes to Redis', 'Bytes from Redis'];
  return `## Commands and bytes of one request, 1 KB

Exact, the same on every machine. The command of ours that changes (\`EVALSHA\`) compares and writes in one step, so that no update is lost; the others overwrite.

${table(head, rows)}`;
}

function writes(results: Results): string {
  const workloads: readonly [Workload, string][] = [
    ['change', 'Read and change one attribute'],
    ['login', 'Login: a new id, the session stored'],
    ['logout', 'Logout: the session removed, the cookie cleared'],
    ['devices', "List the user's sessions, ten of them"],
  ];
  const parts = workloads.map(([workload, what]) => {
    const rows = BOTH.flatMap((adapter) =>
      find(results, adapter, workload)
        .rows.filter(({ contender }) => contender !== 'ceiling')
        .map((row) => [title(row.contender), label(adapter), ...readRow(row).slice(1)]),
    );
    return `### ${what}\n\n${table(['', 'Adapter', ...READ_HEAD.slice(1)], rows)}`;
  });
  return `## Writes and lists, 1 KB, 64 connections\n\n${parts.join('\n\n')}`;
}

function connections(results: Results): string {
  const rows = BOTH.flatMap((adapter) =>
    find(results, adapter, 'read', 1_024, 256).rows.map((row) => [
      title(row.contender),
      label(adapter),
      ...readRow(row).slice(1),
    ]),
  );
  return `## Read, 1 KB, 256 connections\n\n${table(['', 'Adapter', ...READ_HEAD.slice(1)], rows)}`;
}

function sizes(results: Results): string {
  const SIZES = [100, 1_024, 10_240];
  const rows = BOTH.flatMap((adapter) =>
    find(results, adapter, 'read')
      .rows.filter(({ contender }) => contender !== 'ceiling')
      .map(({ contender }) => [
        title(contender),
        label(adapter),
        ...SIZES.map((bytes) => {
          const row = find(results, adapter, 'read', bytes).rows.find(
            (one) => one.contender === contender,
          );
          return row ? range(row.cpuAbove) : 'too large for a cookie';
        }),
      ]),
  );
  const head = ['', 'Adapter', ...SIZES.map((bytes) => `${number(bytes, 0)} bytes`)];
  return `## Read, by size of the session: CPU above no session, µs

![Processor time by size](benchmarks/payload.svg)

${table(head, rows)}`;
}

function growth({ growth: all }: Results): string {
  const rows = all.map(({ stored, requestsPerSecond, relative, redisCpu, p99, bytes }) => [
    number(stored, 0),
    range(requestsPerSecond),
    range(relative, 2),
    number(redisCpu.median, 1),
    number(p99.median, 1),
    number(bytes, 0),
  ]);
  const head = [
    'Stored sessions',
    'Reads/s',
    'relative',
    'Redis CPU, µs',
    'p99, ms',
    'Bytes each in Redis',
  ];
  return `## Growth with stored sessions

![Reads per second by number of stored sessions](benchmarks/growth.svg)

${table(head, rows)}`;
}

function footprints({ footprints: all }: Results): string {
  const rows = all
    .filter(({ adapter, contender }) => adapter === 'express' || contender === 'fastify-session')
    .map(({ contender, bytes, stored }) => [title(contender), number(bytes, 0), number(stored, 0)]);
  return `## Memory in Redis\n\n${table(['', 'Bytes of data', 'Bytes in Redis for each session'], rows)}`;
}

function limits({ limits: { getexLoop, getexLoopRedis } }: Results): string {
  return `## Limits

A bare loop of \`GETEX\` of 1 KB over ioredis, 64 in flight, without any HTTP: ${number(getexLoop, 1)} µs of the client's processor time and ${number(getexLoopRedis, 1)} µs of Redis' for each. \`bare GETEX (limit)\` in the tables is the same command inside of the application. A session that is not asked for costs no command.`;
}
