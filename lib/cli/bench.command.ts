import type { Command } from 'commander';
import { randomBytes } from 'node:crypto';
import type { SessionManager } from '../core/session-manager.js';
import { SessionRecords } from '../core/session-records.js';
import type { Session } from '../core/session.js';
import { CliUsageError } from './cli-io.js';
import { whole } from './doctor.command.js';
import { table } from './print.js';
import { managerOf } from './session-access.js';
import type { CliRun, CliShared } from './shared.js';

interface BenchOptions {
  readonly sessions: string;
  readonly width: string;
  readonly bytes: string;
}

const MOST = 100_000;

export function register(program: Command, shared: CliShared): void {
  shared
    .command(
      program,
      'bench',
      'Measures what sessions take here, with some of its own that it ends again.',
    )
    .option('--sessions <count>', `how many, at most ${MOST}`, '1000')
    .option('--width <count>', 'how many at the same time', '8')
    .option('--bytes <count>', 'data of each', '500')
    .action(
      shared.run<BenchOptions>(bench, { interrupted: 'Nothing of what it has made is left.' }),
    );
}

/** Should this be killed, what it has made ends by itself. */
const ENDS_AFTER = 120_000;
const TIMEOUTS = { idleTimeout: ENDS_AFTER, absoluteTimeout: ENDS_AFTER, touchAfter: 0 };

type Step = readonly [name: string, (index: number) => Promise<unknown>];

async function bench(run: CliRun<BenchOptions>) {
  const { options, redis, io } = run;
  const count = whole(options.sessions, '--sessions');
  const width = whole(options.width, '--width');
  const size = whole(options.bytes, '--bytes');
  if (count < 1 || count > MOST || width < 1 || width > 1_000 || size > 1_000_000) {
    throw new CliUsageError(
      `--sessions is 1 to ${MOST}, --width 1 to 1000, --bytes at most 1000000.`,
    );
  }
  // Beside those of the application: nobody counts, lists or ends these.
  const prefix = `${redis.prefix}:bench-${randomBytes(4).toString('hex')}`;
  const store = redis.store.withPrefix(prefix);
  const records = new SessionRecords();
  const manager = managerOf({ store, records, clock: { now: io.now }, timeouts: TIMEOUTS });
  const { signal } = run;
  const sessions: Session[] = [];
  const progress = run.progress('bench', 5 * count);
  const rows: BenchRow[] = [];
  try {
    for (const step of stepsOf(manager, sessions, 'x'.repeat(size))) {
      rows.push(
        await measure(step, {
          count,
          width,
          signal,
          done: (done) => progress.at(rows.length * count + done),
        }),
      );
    }
  } finally {
    progress.end();
    for (const { handle } of sessions) await manager.revoke(handle);
  }
  const json = { sessions: count, width, bytes: size, steps: rows };
  return { json, text: shown(rows, run) };
}

function stepsOf(manager: SessionManager, sessions: Session[], text: string): Step[] {
  return [
    [
      'create',
      async (index) => {
        const session = manager.open([]);
        session.set('bench', text);
        await session.authenticate(`bench-${index}`);
        await manager.store(session);
        sessions.push(session);
      },
    ],
    ['load', (index) => manager.openById(sessions[index]!.id)],
    ['touch', (index) => manager.touchHandle(sessions[index]!.handle)],
    [
      'save',
      (index) => {
        const session = sessions[index]!;
        session.set('at', index);
        return session.save();
      },
    ],
    ['delete', (index) => manager.revoke(sessions[index]!.handle)],
  ];
}

interface BenchRow {
  readonly step: string;
  readonly p50: number;
  readonly p99: number;
  readonly perSecond: number;
}

async function measure(
  [name, work]: Step,
  how: { count: number; width: number; signal: AbortSignal; done: (done: number) => void },
): Promise<BenchRow> {
  const times: number[] = [];
  const begun = performance.now();
  let next = 0;
  const lane = async () => {
    while (next < how.count) {
      how.signal.throwIfAborted();
      const index = next++;
      const started = performance.now();
      await work(index);
      times.push(performance.now() - started);
      if (times.length % 100 === 0) how.done(times.length);
    }
  };
  // What is under way may still begin a session, which is to be ended as well.
  const lanes = await Promise.allSettled(Array.from({ length: how.width }, lane));
  for (const one of lanes) if (one.status === 'rejected') throw one.reason;
  const took = performance.now() - begun;
  times.sort((one, other) => one - other);
  const at = (share: number) =>
    rounded(times[Math.min(times.length - 1, Math.floor(times.length * share))]!);
  return {
    step: name,
    p50: at(0.5),
    p99: at(0.99),
    perSecond: Math.round((how.count / took) * 1_000),
  };
}

const rounded = (ms: number): number => Math.round(ms * 1_000) / 1_000;

function shown(rows: readonly BenchRow[], { colors }: CliRun<BenchOptions>): string {
  const lines = rows.map((row) => [
    row.step,
    `${row.p50} ms`,
    `${row.p99} ms`,
    String(row.perSecond),
  ]);
  return table([['step', 'p50', 'p99', 'per second'], ...lines], colors);
}
