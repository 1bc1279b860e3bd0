import { PassThrough } from 'node:stream';
import { systemClock } from '../../lib/core/clock.js';
import { runProgram } from '../../lib/cli/program.js';

/** What a run of the program gave. */
export interface CliOutcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** There is a terminal, and this is typed. */
  readonly typed?: string;
  readonly now?: () => number;
}

/** Runs the program in this process: as a process of its own it is run by cli-program.ts. */
export async function runCli(
  args: readonly string[],
  { env = {}, typed, now = () => systemClock.now() }: CliOptions = {},
): Promise<CliOutcome> {
  const isTTY = typed !== undefined;
  const stream = () => Object.assign(new PassThrough(), { isTTY });
  const [stdin, stdout, stderr] = [stream(), stream(), stream()];
  const texts = [stdout, stderr].map((one) => {
    const chunks: Buffer[] = [];
    one.on('data', (chunk: Buffer) => chunks.push(chunk));
    return () => Buffer.concat(chunks).toString();
  });
  stdin.end(typed);
  const code = await runProgram(args, { stdin, stdout, stderr, env, now });
  await new Promise((resolve) => setImmediate(resolve));
  return { code, stdout: texts[0]!(), stderr: texts[1]!() };
}

/** The same with `--json`, read. */
export async function runJson<T>(
  args: readonly string[],
  options?: CliOptions,
): Promise<{ code: number; json: T; stderr: string }> {
  const { code, stdout, stderr } = await runCli([...args, '--json'], options);
  return { code, json: JSON.parse(stdout) as T, stderr };
}
