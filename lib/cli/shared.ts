import type { Command } from 'commander';
import { createInterface } from 'node:readline/promises';
import { SessionError } from '../core/session.errors.js';
import { toUnavailable } from '../stores/redis/redis-client.js';
import { CliFailedError, CliUnconfirmedError, CliUsageError, EXIT, type CliIo } from './cli-io.js';
import {
  addConnectionOptions,
  openRedis,
  lossIn,
  refusalIn,
  type ConnectionOptions,
  type OpenedRedis,
} from './connection.js';
import { colorsFor, type Colors } from './print.js';
import { interruptedError, Interruption } from './interruption.js';
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
  /** Somebody interrupts it. Who does not say what then becomes of it is not waited for. */
  readonly signal: AbortSignal;
  /** A bar on stderr, if that is a terminal; it ends with the command at the latest. */
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

/** What a command does. */
type Work<O extends object> = (run: CliRun<O>) => Promise<CliResult>;

/** How a command is carried out. */
interface HowToRun {
  /** It ends by itself when it is interrupted, and cleans up; then this is told. @default it is left behind */
  readonly interrupted?: string;
}

/** What command files are given to register themselves. */
export interface CliShared {
  readonly io: CliIo;
  /** A new command with the options by which Redis is reached, and `--json`. */
  command(program: Command, nameAndArgs: string, description: string): Command;
  /** What `.action()` takes: connects, carries out, prints, closes, sets the exit code. */
  run<O extends object>(work: Work<O>, how?: HowToRun): (...all: unknown[]) => Promise<void>;
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
      <O extends object>(work: Work<O>, how: HowToRun = {}) =>
      async (...all: unknown[]) => {
        const command = all.at(-1) as Command;
        exit.value = await carryOut(command, io, { work, ...how });
      },
  };
}

async function carryOut<O extends object>(
  command: Command,
  io: CliIo,
  { work, interrupted }: HowToRun & { readonly work: Work<O> },
): Promise<number> {
  const options = command.opts<O & SharedOptions>();
  const bars: Progress[] = [];
  const end = () => bars.forEach((bar) => bar.end());
  const interruption = new Interruption(end);
  let redis: OpenedRedis | undefined;
  try {
    redis = await openRedis(options as ConnectionOptions, io);
    const run = runOf<O>(command, io, { redis, bars, interruption });
    const result = await (interrupted === undefined ? interruption.unless(work(run)) : work(run));
    end();
    const text = options.json ? JSON.stringify(result.json, null, 2) : result.text;
    if (text !== '') await write(io, `${text}\n`);
    return result.exitCode ?? EXIT.fine;
  } catch (error) {
    end();
    const { aborted } = interruption.signal;
    return await tell(aborted ? interruptedError(interrupted) : error, io, options);
  } finally {
    interruption.close();
    // Nobody waits for answers to what was left behind.
    if (interruption.signal.aborted) redis?.abandon();
    await redis?.close();
  }
}

interface Parts {
  readonly redis: OpenedRedis;
  readonly bars: Progress[];
  readonly interruption: Interruption;
}

function runOf<O extends object>(
  command: Command,
  io: CliIo,
  { redis, bars, interruption }: Parts,
): CliRun<O> {
  const options = command.opts<O & SharedOptions>();
  return {
    args: command.args,
    options,
    io,
    redis,
    signal: interruption.signal,
    colors: colorsFor(io.stdout, io.env),
    notes: colorsFor(io.stderr, io.env),
    log: (line) => void io.stderr.write(`${line}\n`),
    progress: (title, total) => {
      const bar = startProgress(io, title, total);
      bars.push(bar);
      return bar;
    },
    confirm: async (question) => options.yes === true || ask(question, io, interruption),
  };
}

async function ask(
  question: string,
  { stdin, stderr }: CliIo,
  interruption: Interruption,
): Promise<boolean> {
  if (!stdin.isTTY || !stderr.isTTY) {
    throw new CliUsageError('This cannot be undone, and nobody can be asked here: give --yes.');
  }
  const lines = createInterface({ input: stdin, output: stderr });
  // While a line is typed no signal comes of it.
  lines.once('SIGINT', () => interruption.interrupt());
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
  const done = error instanceof CliUnconfirmedError ? error.done : {};
  if (json) await write(io, `${JSON.stringify({ ...done, error: { code, message } }, null, 2)}\n`);
  if (error instanceof CliUnconfirmedError) return EXIT.unconfirmed;
  return error instanceof CliUsageError ? EXIT.usage : EXIT.failed;
}

/** In words that say what to do. What is not ours may carry what was sent, and that is data. */
function explained(error: unknown): { readonly code: string; readonly message: string } {
  const refusal = refusalIn(error);
  if (refusal) return refusal;
  const isOurs = [SessionError, CliUsageError, CliFailedError].some((one) => error instanceof one);
  if (isOurs) return error as SessionError;
  if ((error as Error)?.name === 'ReplyError')
    return refusalIn(toUnavailable(error)) ?? toUnavailable(error);
  const loss = lossIn(error);
  if (loss) return loss;
  return { code: 'CLI_UNEXPECTED', message: `unexpected failure (${(error as Error)?.name})` };
}
