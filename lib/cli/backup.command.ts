import type { Command } from 'commander';
import { stat } from 'node:fs/promises';
import { backupSessions, type BackupReport } from '../backup/backup-sessions.js';
import { writeWhole } from '../backup/backup-file.js';
import { failing, keyFrom, type KeyOptions } from './backup-options.js';
import { bytes, facts, instant } from './print.js';
import type { Progress } from './progress.js';
import type { CliResult, CliRun, CliShared } from './shared.js';

interface BackupCommandOptions extends KeyOptions {
  readonly out: string;
  readonly encrypt?: boolean;
  readonly compress: boolean;
}

/** `backup`: all sessions into a file, while applications use them. */
export function register(program: Command, shared: CliShared): void {
  shared
    .command(program, 'backup', 'Write all sessions into a file, while applications use them')
    .requiredOption('--out <file>', 'where to; what is there is replaced when the backup is whole')
    .option(
      '--encrypt',
      'fail unless there is a key: --key-file, or the variable SESSION_BACKUP_KEY',
    )
    .option('--key-file <file>', 'encrypt (AES-256-GCM); the file holds at least 32 characters')
    .option('--no-compress', 'do not compress')
    .action(
      shared.run<BackupCommandOptions>(backup, { interrupted: 'Nothing of the backup is left.' }),
    );
}

async function backup(run: CliRun<BackupCommandOptions>): Promise<CliResult> {
  const { options, redis } = run;
  const { out, compress, encrypt = false } = options;
  const secret = await keyFrom(options, run.io, { required: encrypt });
  let bar: Progress | undefined;
  const report = await failing(
    writeWhole(out, (to) =>
      backupSessions(redis.client, to, {
        keyPrefix: redis.prefix,
        secret,
        compress,
        signal: run.signal,
        onProgress: ({ done, total }) => {
          bar ??= run.progress('backup', total);
          bar.total(total);
          bar.at(done);
        },
      }),
    ),
  );
  bar?.end();
  if (report.leftOut > 0) {
    run.log(
      run.notes.yellow(
        `${report.leftOut} records were left out: nobody can read them (damaged, of another type, without an end, or of a newer version). \`doctor\` looks through the keys.`,
      ),
    );
  }
  return told(report, { size: (await stat(out)).size, encrypted: secret !== undefined }, run);
}

function told(
  report: BackupReport,
  { size, encrypted }: { readonly size: number; readonly encrypted: boolean },
  { colors }: CliRun<BackupCommandOptions>,
): CliResult {
  const { sessions, pointers, leftOut, takenAt, finishedAt, digest } = report;
  const text = facts(
    [
      ['sessions', String(sessions)],
      ['renewed ids', String(pointers)],
      ['left out', String(leftOut)],
      ['taken at', instant(takenAt)],
      ['took', `${((finishedAt - takenAt) / 1_000).toFixed(1)} s`],
      ['size', bytes(size)],
      ['encrypted', encrypted ? 'yes' : 'no: whoever reads the file reads what sessions hold'],
      ['digest', digest],
    ],
    colors,
  );
  return { json: { ...report, bytes: size, encrypted }, text };
}
