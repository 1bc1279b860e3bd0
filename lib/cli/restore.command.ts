import type { Command } from 'commander';
import { stat } from 'node:fs/promises';
import { readWhole } from '../backup/backup-file.js';
import {
  restoreSessions,
  type RestoreOptions,
  type RestoreReport,
} from '../backup/restore-sessions.js';
import { toMilliseconds } from '../core/duration.js';
import { failing, handlesOf, keyFrom, linesOf, type KeyOptions } from './backup-options.js';
import { CliUsageError } from './cli-io.js';
import { facts, instant } from './print.js';
import type { CliResult, CliRun, CliShared } from './shared.js';

interface RestoreCommandOptions extends KeyOptions {
  readonly in: string;
  readonly maxAge: string;
  readonly extendIdle: string;
  readonly exceptPrincipals?: string;
  readonly exceptHandles?: string;
  readonly merge?: boolean;
  readonly again?: boolean;
  readonly dryRun?: boolean;
}

/** `restore`: the sessions of a backup, as far as nobody has ended them since. */
export function register(program: Command, shared: CliShared): void {
  shared
    .command(program, 'restore', 'Put the sessions of a backup into an empty Redis')
    .requiredOption('--in <file>', 'the backup')
    .option('--key-file <file>', 'the key of the backup (or the variable SESSION_BACKUP_KEY)')
    .option('--max-age <duration>', 'refuse a backup that is older', '24h')
    .option('--extend-idle <duration>', 'sessions were used after the backup: add so much', '0s')
    .option('--except-principals <file>', 'whose sessions stay ended, one a line')
    .option('--except-handles <file>', 'sessions that stay ended, one a line')
    .option('--merge', 'there are other sessions, and what is absent was lost: restore that')
    .option('--again', 'restore a backup that was restored already')
    .option('--dry-run', 'verify the file, and tell what would be done')
    .action(
      shared.run<RestoreCommandOptions>(restore, {
        interrupted: 'Run it again: it goes on from there.',
      }),
    );
}

async function restore(run: CliRun<RestoreCommandOptions>): Promise<CliResult> {
  const { options, redis } = run;
  const { dryRun = false } = options;
  const wanted = await restoreOptionsFrom(run);
  const bars = new RestoreBars(run, await sizeOf(options.in));
  const report = await failing(
    restoreSessions(redis.client, () => readWhole(options.in), {
      ...wanted,
      keyPrefix: redis.prefix,
      dryRun,
      signal: run.signal,
      onProgress: (progress) => bars.show(progress),
    }),
  );
  bars.end();
  return told(report, dryRun, run);
}

async function restoreOptionsFrom({ options, io }: CliRun<RestoreCommandOptions>) {
  const { exceptPrincipals: principals, exceptHandles: handles, merge, again } = options;
  return {
    secret: await keyFrom(options, io),
    maxAge: durationOf('--max-age', options.maxAge),
    extendIdle: durationOf('--extend-idle', options.extendIdle),
    ...(principals !== undefined && { exceptPrincipals: await linesOf(principals) }),
    ...(handles !== undefined && { exceptHandles: await handlesOf(handles, '--except-handles') }),
    merge,
    again,
  };
}

/** What is not there is told when it is opened. */
const sizeOf = (path: string): Promise<number> =>
  stat(path).then(
    ({ size }) => size,
    () => 0,
  );

function durationOf(option: string, text: string): number {
  const duration = toMilliseconds(text);
  if (duration !== undefined) return duration;
  throw new CliUsageError(`${option} is a number with a unit: 30m, 12h or 14d.`);
}

type Shown = Parameters<NonNullable<RestoreOptions['onProgress']>>[0];

/** One bar after the other: the file is read twice. */
class RestoreBars {
  #phase: string | undefined;
  #bar: ReturnType<CliRun['progress']> | undefined;

  /** @param size of the file */
  constructor(
    private readonly run: Pick<CliRun, 'progress'>,
    private readonly size: number,
  ) {}

  show({ phase, done, total }: Shown): void {
    if (phase !== this.#phase) {
      this.end();
      this.#bar = this.run.progress(phase, phase === 'verify' ? this.size : total);
    }
    this.#phase = phase;
    this.#bar?.at(done);
  }

  end(): void {
    this.#bar?.end();
    this.#bar = undefined;
  }
}

function told(
  report: RestoreReport,
  dryRun: boolean,
  { colors }: CliRun<RestoreCommandOptions>,
): CliResult {
  const { sessions, pointers, expired, revoked, excepted, present, before, unmatched } = report;
  const text = facts(
    [
      ['backup of', instant(report.takenAt)],
      [dryRun ? 'would restore' : 'restored', `${sessions} sessions, ${pointers} renewed ids`],
      ['ended by time', String(expired)],
      ['ended since', String(revoked)],
      ['left out', String(excepted)],
      ['  not in the backup', `${unmatched.handles} handles, ${unmatched.principals} principals`],
      ['there already', String(present)],
      ['by earlier runs', String(before)],
    ],
    colors,
  );
  return { json: { ...report, dryRun }, text };
}
