import type { Command } from 'commander';
import { createInterface } from 'node:readline/promises';
import { SessionError } from '../core/session.errors.js';
import { toUnavailable } from '../stores/redis/redis-client.js';
import { CliFailedError, CliUsageError, EXIT, type CliIo } from './cli-io.js';
import {
  addConnectionOptions,
  openRedis,
  refusalIn,
  type ConnectionOptions,
  type OpenedRedis,
} from './connection.js';
import { colorsFor, type Colors } from './print.js';
import { startProgress, type Progress } from './progress.js';

/** What a command hands back to be printed. */
export interface CliResult {
  /** What `--json` prints. */
  readonly json: unknown;
  /** What people read; nothing is printed if it is empty. */
  readonly text: string;
  /** @default 0 */
  readonly exitCode?: number | undefined;
}

/** What a command works with. */
export interface CliRun<O extends object = Record<string, unknown>> {
  readonly args: readonly string[];
  readonly options: O & SharedOptions;
  readonly io: CliIo;
  /** For `text`. */
  readonly colors: Colors;
  /** For what is said on stderr. */
  readonly notes: Colors;
  /** The connection and the store over it; it answers. Closed when the command is done. */
  readonly redis: OpenedRedis;
  /** A line on stderr. */
  readonly log: (line: string) => void;
  /** A bar on stderr, if that is a terminal. */
  progress(title: string, total: number): Progress;
  /**
   * Asks before something that cannot be undone.
   *
   * @throws CliUsageError without a terminal, unless `--yes` is given
   */
  confirm(question: string): Promise<boolean>;
}

/** Options that every command has. */
export interface SharedOptions {
  readonly json?: boolean;
  readonly yes?: boolean;
}

/** What command files are given to register themselves. */
export interface CliShared {
  readonly io: CliIo;
  /** A new command with the options by which Redis is reached, and `--json`. */
  command(program: Command, nameAndArgs: string, description: string): Command;
  /** What `.action()` takes: connects, carries out, prints, closes, sets the exit code. */
  run<O extends object>(
    work: (run: CliRun<O>) => Promise<CliResult>,
  ): (...all: unknown[]) => Promise<void>;
}

/** Where the exit code is left. */
export interface ExitCode {
  value: number;
}

export function createShared(io: CliIo, exit: ExitCode): CliShared {
  return {
    io,
    command: (program, nameAndArgs, description) =>
      addConnectionOptions(program.command(nameAndArgs).description(description)).option(
        '--json',
        'print one JSON document',
      ),
    run:
      <O extends object>(work: (run: CliRun<O>) => Promise<CliResult>) =>
      async (...all: unknown[]) => {
        const command = all.at(-1) as Command;
        exit.value = await carryOut(command, io, work);
      },
  };
}

async function carryOut<O extends object>(
  command: Command,
  io: CliIo,
  work: (run: CliRun<O>) => Promise<CliResult>,
): Promise<number> {
  const options = command.opts<O & SharedOptions>();
  let redis: OpenedRedis | undefined;
  try {
    redis = await openRedis(options as ConnectionOptions, io);
    const result = await work(runOf(command, io, redis));
    const text = options.json ? JSON.stringify(result.json, null, 2) : result.text;
    if (text !== '') await write(io, `${text}\n`);
    return result.exitCode ?? EXIT.fine;
  } catch (error) {
    return await tell(error, io, options);
  } finally {
    await redis?.close();
  }
}

function runOf<O extends object>(command: Command, io: CliIo, redis: OpenedRedis): CliRun<O> {
  const options = command.opts<O & SharedOptions>();
  return {
    args: command.args,
    options,
    io,
    redis,
    colors: colorsFor(io.stdout, io.env),
    notes: colorsFor(io.stderr, io.env),
    log: (line) => void io.stderr.write(`${line}\n`),
    progress: (title, total) => startProgress(io, title, total),
    confirm: async (question) => options.yes === true || ask(question, io),
  };
}

async function ask(question: string, { stdin, stderr }: CliIo): Promise<boolean> {
  if (!stdin.isTTY || !stderr.isTTY) {
    throw new CliUsageError('This cannot be undone, and nobody can be asked here: give --yes.');
  }
  const lines = createInterface({ input: stdin, output: stderr });
  try {
    return /^y(es)?$/i.test((await lines.question(`${question} [y/N] `)).trim());
  } finally {
    lines.close();
  }
}

/** What is piped into something that ends early is nobody's failure. */
function write({ stdout }: CliIo, text: string): Promise<void> {
  return new Promise((resolve) => void stdout.write(text, () => resolve()));
}

async function tell(error: unknown, io: CliIo, { json }: SharedOptions): Promise<number> {
  const { code, message } = explained(error);
  const { red } = colorsFor(io.stderr, io.env);
  io.stderr.write(`${red('error')} ${message}\n`);
  if (json) await write(io, `${JSON.stringify({ error: { code, message } }, null, 2)}\n`);
  return error instanceof CliUsageError ? EXIT.usage : EXIT.failed;
}

/** In words that say what to do. What is not ours may carry what was sent, and that is data. */
function explained(error: unknown): { readonly code: string; readonly message: string } {
  const refusal = refusalIn(error);
  if (refusal) return refusal;
  const isOurs = [SessionError, CliUsageError, CliFailedError].some((one) => error instanceof one);
  if (isOurs) return error as SessionError;
  if ((error as Error)?.name === 'ReplyError') return toUnavailable(error);
  return { code: 'CLI_UNEXPECTED', message: `unexpected failure (${(error as Error)?.name})` };
}
