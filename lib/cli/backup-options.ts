import { readFile } from 'node:fs/promises';
import { SessionBackupError } from '../backup/backup.errors.js';
import { CliFailedError, CliUsageError, type CliIo } from './cli-io.js';

/** How a key is given. Never on the command line: others see that. */
export interface KeyOptions {
  readonly keyFile?: string;
}

/** @throws CliUsageError if there is none and there must be one, or its file cannot be read */
export async function keyFrom(
  { keyFile }: KeyOptions,
  { env }: CliIo,
  { required = false }: { readonly required?: boolean } = {},
): Promise<string | undefined> {
  const given = keyFile === undefined ? env.SESSION_BACKUP_KEY : await textOf(keyFile);
  const key = given?.trim();
  if (key) return key;
  if (keyFile !== undefined) throw new CliUsageError('The file of --key-file is empty.');
  if (!required) return undefined;
  throw new CliUsageError(
    '--encrypt needs a key: give --key-file, or set SESSION_BACKUP_KEY (`openssl rand -base64 32` makes one).',
  );
}

/** Lines of a file, empty ones left out. @throws CliUsageError */
export async function linesOf(path: string): Promise<string[]> {
  return (await textOf(path)).split(/\r?\n/).filter((line) => line !== '');
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CliUsageError(`A file that was given cannot be read (${code}).`);
  }
}

/** Gives what it does the chance to clean up when somebody interrupts it. */
export async function untilInterrupted<T>(work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const interrupt = () => controller.abort();
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  try {
    return await work(controller.signal);
  } finally {
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
  }
}

/** What goes wrong, as a command tells it. */
export async function failing<T>(work: Promise<T>, interrupted: string): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof SessionBackupError) throw new CliFailedError(error.code, error.message);
    if ((error as Error).name !== 'AbortError') throw error;
    throw new CliFailedError('CLI_INTERRUPTED', `Interrupted. ${interrupted}`);
  }
}
