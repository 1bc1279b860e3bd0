import { SessionError, SessionStoreUnavailableError } from '../../core/session.errors.js';

/** What a file system says, as a reason and a remedy. */
const FAILURES: Readonly<Record<string, readonly [reason: string, remedy: string]>> = {
  ENOSPC: ['the disk is full', 'make room where the directory of the sessions lies'],
  EDQUOT: ['the quota is used up', 'raise it for the user of this process'],
  EROFS: ['the file system is read-only', 'mount it writable'],
  EACCES: ['not permitted', 'let this process read and write the directory of the sessions'],
  EPERM: ['not permitted', 'let this process read and write the directory of the sessions'],
  ENOENT: ['the directory is missing', 'mount the file system, or make the directory'],
  ENOTDIR: ['a file lies where a directory belongs', 'give a directory of its own to the sessions'],
  EMFILE: ['too many open files', 'raise the limit of open files of this process'],
  ENFILE: ['too many open files', 'raise the limit of open files of this machine'],
  ESTALE: ['the mount is stale', 'mount the file system again'],
};

/** What may end by itself, or needs somebody who looks at the machine. */
const OTHER = 'look at the file system of the directory of the sessions';

export function codeOf(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === 'string' ? code : undefined;
}

/** An error of the file system as one of the store; it tells no path. */
export function asFailure(error: unknown): unknown {
  const code = codeOf(error);
  if (error instanceof SessionError || code === undefined) return error;
  const [reason, remedy] = FAILURES[code] ?? [code, OTHER];
  // It did answer: to read, or to end a session, may well be possible.
  return new SessionStoreUnavailableError(reason, remedy, true);
}

/** What an operation answers; `undefined` if it fails in one of the given ways. */
export async function unless<T>(
  codes: readonly string[],
  work: Promise<T>,
): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (codes.includes(codeOf(error) ?? '')) return undefined;
    throw error;
  }
}

/** Whether it was done; `false` if it fails in one of the given ways. */
export async function isDone(codes: readonly string[], work: Promise<unknown>): Promise<boolean> {
  return (
    (await unless(
      codes,
      work.then(() => true),
    )) ?? false
  );
}
