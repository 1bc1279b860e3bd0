/**
 * What is wrong with a backup:
 *
 * - `SESSION_BACKUP_FOREIGN`: the file is none
 * - `SESSION_BACKUP_FORMAT`: it was written in a format that this version does not read
 * - `SESSION_BACKUP_DAMAGED`: it is cut off, or was altered
 * - `SESSION_BACKUP_KEY`: the key is missing, wrong or not needed
 * - `SESSION_BACKUP_REFUSED`: to restore it here might bring back what was ended
 * - `SESSION_BACKUP_UNREADABLE`: the file cannot be read
 * - `SESSION_BACKUP_UNWRITABLE`: it cannot be written there
 */
export type SessionBackupErrorCode =
  | 'SESSION_BACKUP_FOREIGN'
  | 'SESSION_BACKUP_FORMAT'
  | 'SESSION_BACKUP_DAMAGED'
  | 'SESSION_BACKUP_KEY'
  | 'SESSION_BACKUP_REFUSED'
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

export const wrongKey = (message: string) => new SessionBackupError('SESSION_BACKUP_KEY', message);

export const refused = (message: string) =>
  new SessionBackupError('SESSION_BACKUP_REFUSED', message);
