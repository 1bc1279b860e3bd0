import { readFile } from 'node:fs/promises';
import { SessionBackupError } from '../backup/backup.errors.js';
import { isHandle } from '../core/session-id.js';
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

/**
 * Handles in a file, one a line.
 *
 * @throws CliUsageError with the number of a line that is none; what stands there may be an id, and is not told
 */
export async function handlesOf(path: string, option: string): Promise<string[]> {
  const lines = (await textOf(path)).split('\n').map((line) => line.trim());
  const wrong = lines.findIndex((line) => line !== '' && !isHandle(line));
  if (wrong < 0) return lines.filter((line) => line !== '');
  throw new CliUsageError(
    `Line ${wrong + 1} of the file of ${option} is no handle: those have 45 characters, as \`list\` prints them. A session id is none.`,
  );
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new CliUsageError(`A file that was given cannot be read (${code}).`);
  }
}

/** What goes wrong with a backup, as a command tells it. */
export async function failing<T>(work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof SessionBackupError) throw new CliFailedError(error.code, error.message);
    throw error;
  }
}
