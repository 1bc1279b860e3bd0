/**
 * What is wrong with a backup:
 *
 * - `SESSION_BACKUP_FOREIGN`: the file is none
 * - `SESSION_BACKUP_FORMAT`: it was written in a format that this version does not read
 * - `SESSION_BACKUP_DAMAGED`: it is cut off, or was altered
 * - `SESSION_BACKUP_KEY`: the key is missing, wrong or not needed
 * - `SESSION_BACKUP_REFUSED`: to restore it here might bring back what was ended
 * - `SESSION_BACKUP_MOVING`: slots of the Cluster do not come to rest, and sessions there might be missed
 * - `SESSION_BACKUP_UNREADABLE`: the file cannot be read
 * - `SESSION_BACKUP_UNWRITABLE`: it cannot be written there
 */
export type SessionBackupErrorCode =
  | 'SESSION_BACKUP_FOREIGN'
  | 'SESSION_BACKUP_FORMAT'
  | 'SESSION_BACKUP_DAMAGED'
  | 'SESSION_BACKUP_KEY'
  | 'SESSION_BACKUP_REFUSED'
  | 'SESSION_BACKUP_MOVING'
  | 'SESSION_BACKUP_UNREADABLE'
  | 'SESSION_BACKUP_UNWRITABLE';

/**
 * A backup could not be made or restored; {@link code} says what is wrong, the message how to mend it.
 * Whatever is wrong with a file is found before anything of it is restored.
 *
 * @example
 * if (error instanceof SessionBackupError && error.code === 'SESSION_BACKUP_DAMAGED') useTheOneBefore();
 */
export class SessionBackupError extends Error {
  constructor(
    readonly code: SessionBackupErrorCode,
    message: string,
  ) {
    super(message);
    this.name = 'SessionBackupError';
  }
}

export const foreign = () =>
  new SessionBackupError(
    'SESSION_BACKUP_FOREIGN',
    'This is no backup of sessions: give a file that `backup` has written.',
  );

export const otherFormat = (format: number) =>
  new SessionBackupError(
    'SESSION_BACKUP_FORMAT',
    `The backup is in format ${format}, which this version does not read: restore it with the version that wrote it, or a newer one.`,
  );

/** @param where which part of the file */
export const damaged = (where: string) =>
  new SessionBackupError(
    'SESSION_BACKUP_DAMAGED',
    `The backup is damaged (${where}): nothing was restored, take the one before.`,
  );

/** It was verified, and became another one while it was restored. */
export const exchanged = () =>
  new SessionBackupError(
    'SESSION_BACKUP_DAMAGED',
    'The backup has changed while it was restored: empty the Redis, and restore a file that nobody writes to.',
  );

/** Nobody takes what is written. */
export const closed = () =>
  new SessionBackupError(
    'SESSION_BACKUP_UNWRITABLE',
    'The backup cannot be written: what takes it was closed before its end. What was written is no backup; see what closed it.',
  );

export const wrongKey = (message: string) => new SessionBackupError('SESSION_BACKUP_KEY', message);

/** @param count of the 256 buckets */
export const moving = (count: number) =>
  new SessionBackupError(
    'SESSION_BACKUP_MOVING',
    `Slots of the Cluster are on their way to other masters, or without one that answers (${count} of 256 buckets): sessions there might be missed. Let the moves end, end what was left halfway (redis-cli --cluster fix), and run it again.`,
  );

export const refused = (message: string) =>
  new SessionBackupError('SESSION_BACKUP_REFUSED', message);
