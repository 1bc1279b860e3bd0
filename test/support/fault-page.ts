import type { FaultFigures, FaultRecord } from './fault-record.js';

const number = (value: number): string =>
  Math.round(value)
    .toString()
    .replace(/\B(?=(\d{3})+(?!\d))/g, ' ');

const milliseconds = (value: number): string => `${number(value)} ms`;

const optional = <T>(value: T | undefined, show: (value: T) => string): string | undefined =>
  value === undefined ? undefined : show(value);

/** What a table tells of an application, in this order. */
const ROWS: readonly [string, (figures: FaultFigures) => string | undefined][] = [
  ['Requests by status', ({ requests }) => optional(requests, byStatus)],
  ['p99', ({ p99 }) => optional(p99, milliseconds)],
  ['Longest answer', ({ longest }) => optional(longest, milliseconds)],
  ['Acknowledged writes lost', ({ lost }) => optional(lost, number)],
  ['Answers of 200 that did not know of them', ({ untrue }) => optional(untrue, number)],
  ['Writes not acknowledged that took effect', ({ late }) => optional(late, number)],
  ['Writes that took effect twice', ({ doubled }) => optional(doubled, number)],
  [
    'Sessions alive after an acknowledged logout',
    ({ revived, logouts }) => optional(revived, (count) => `${count} of ${number(logouts ?? 0)}`),
  ],
  ['Cookies wrongly changed or cleared', ({ wrongCookies }) => optional(wrongCookies, number)],
  ['Errors with a cookie', ({ cookiesWithErrors }) => optional(cookiesWithErrors, number)],
  [
    'A user is answered as before after',
    ({ recovery }) => (recovery === null ? 'not in time' : optional(recovery, milliseconds)),
  ],
  [
    'Open handles before, after',
    ({ handles }) => optional(handles, ({ before, after }) => `${before}, ${after}`),
  ],
];

/** Of packages, by their names. */
type Versions = Readonly<Record<string, string | undefined>>;

/** `docs/faults.md`. */
export function pageOfFaults(records: readonly FaultRecord[], versions: Versions): string {
  return `${[introduction(versions), ...records.map(sectionOf)].join('\n\n')}\n`;
}

const introduction = (versions: Versions): string => `# Faults

Made by a program from what it measured, \`test/faults/results.json\`; not written by hand.

\`\`\`sh
npm ci && npm run test:faults  # breaks everything and writes this page: some minutes
npm ci && npm test             # the same faults, shorter, on a machine that does other things as well
\`\`\`

What happens to sessions when machines and networks fail: each fault is done to a real Redis on this machine, under visitors that log in, read, count and log out. When it is over, what they were promised is compared with what is there. Beside it, where that is meaningful, is what the same fault did in the same run to the same application with express-session ${versions['express-session']}, connect-redis ${versions['connect-redis']} and node-redis ${versions.redis}, as their documentation shows them. \`none\` are requests without an answer within 15 seconds. In all of them the process lived: an uncaught error or an unhandled rejection fails the test.`;

function sectionOf({ fault, done, figures, peer }: FaultRecord): string {
  const both = peer ? [figures, peer] : [figures];
  const rows = ROWS.map(([title, show]) => [title, ...both.map((one) => show(one) ?? '')]);
  const more = new Set(both.flatMap((one) => Object.keys(one.more ?? {})));
  rows.push(...[...more].map((key) => [key, ...both.map((one) => textOf(one.more?.[key]))]));
  const head = ['', 'nestjs-distributed-session', ...(peer ? ['express-session'] : [])];
  const told = rows.filter(([, ...cells]) => cells.some((cell) => cell !== ''));
  return `## ${fault}\n\n${done}\n\n${table(head, told)}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  return [line(head), line(head.map(() => '---')), ...rows.map(line)].join('\n');
}

const byStatus = (requests: Readonly<Record<string, number>>): string =>
  Object.entries(requests)
    .map(([status, count]) => `${status}: ${number(count)}`)
    .join(', ');

const textOf = (value: string | number | undefined): string =>
  typeof value === 'number' ? number(value) : (value ?? '');
