import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { constants, type WriteStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { finished } from 'node:stream/promises';
import { SessionBackupError } from './backup.errors.js';

/** Nobody else may read it: whoever has a backup that is not encrypted has what sessions hold. */
const OWNER_ONLY = 0o600;

/**
 * Writes a file that is there whole or not at all: beside its place first, then on disk, then renamed. What was
 * there before is replaced in that moment.
 *
 * @throws SessionBackupError (`SESSION_BACKUP_UNWRITABLE`) if there is no room or no permission; of what was
 * written nothing is left
 */
export async function writeWhole<T>(
  path: string,
  write: (to: WriteStream) => Promise<T>,
): Promise<T> {
  const draft = `${path}.part-${randomBytes(6).toString('hex')}`;
  const handle = await open(draft, 'wx', OWNER_ONLY).catch(unwritable);
  const stream = handle.createWriteStream({ flush: true });
  try {
    const result = await write(stream);
    stream.end();
    await finished(stream);
    await rename(draft, path);
    await flushFolder(dirname(path));
    return result;
  } catch (error) {
    stream.destroy();
    if (!stream.closed) await once(stream, 'close').catch(() => undefined);
    await rm(draft, { force: true });
    return unwritable(error);
  }
}

/** The bytes of a file. @throws SessionBackupError (`SESSION_BACKUP_UNREADABLE`) */
export async function* readWhole(path: string): AsyncGenerator<Buffer> {
  try {
    const handle = await open(path, constants.O_RDONLY);
    yield* handle.createReadStream() as AsyncIterable<Buffer>;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (!code || error instanceof SessionBackupError) throw error;
    throw new SessionBackupError(
      'SESSION_BACKUP_UNREADABLE',
      `The backup cannot be read (${code}): check where it is, and who may read it.`,
    );
  }
}

/** The new name is on disk as well; file systems that cannot do that do it in their own time. */
async function flushFolder(folder: string): Promise<void> {
  const handle = await open(folder, constants.O_RDONLY).catch(() => undefined);
  await handle?.sync().catch(() => undefined);
  await handle?.close();
}

const WRITING = new Set(['open', 'write', 'fsync', 'rename', 'close', 'writev']);

/** What the file system refuses; other failures go on as they are. */
function unwritable(error: unknown): never {
  const { code, syscall = '' } = error as NodeJS.ErrnoException;
  if (!code || !WRITING.has(syscall)) throw error;
  throw new SessionBackupError(
    'SESSION_BACKUP_UNWRITABLE',
    `The backup cannot be written (${code}): check the room on the disk and the rights of its folder. Nothing of it is left.`,
  );
}
