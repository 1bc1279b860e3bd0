import { SessionStoreUnavailableError } from '../../core/session.errors.js';

/** A failure that says nothing but "not at the same time as somebody else": nothing was done, and may be done again. */
const TRANSIENT = /^(40001|40P01|ER_LOCK_DEADLOCK|ER_CHECKREAD|SQLITE_BUSY\w*|SQLITE_LOCKED\w*)$/;

export const isTransient = (error: unknown): boolean => TRANSIENT.test(codeOf(error));

interface Refusal {
  readonly codes: RegExp;
  readonly reason: string;
  readonly remedy: string;
}

// SQLSTATE of PostgreSQL, names of MySQL and MariaDB, codes of SQLite.
const REFUSALS: readonly Refusal[] = [
  {
    codes: /^(42P01|42703|3F000|ER_NO_SUCH_TABLE|ER_BAD_FIELD_ERROR|no such (table|column))$/,
    reason: 'its tables are missing, or are not those of this store',
    remedy:
      'run its migration (sessionMigration or sqlMigration), or name the right table and schema',
  },
  {
    codes: /^(28000|28P01|ER_ACCESS_DENIED\w*|ER_DBACCESS_DENIED_ERROR)$/,
    reason: 'the database refuses the login',
    remedy: 'check user, password and database of the pool',
  },
  {
    codes: /^(3D000|ER_BAD_DB_ERROR|SQLITE_CANTOPEN\w*)$/,
    reason: 'there is no such database',
    remedy: 'check where the pool leads, and create it',
  },
  {
    codes: /^(42501|ER_TABLEACCESS_DENIED_ERROR|ER_COLUMNACCESS_DENIED_ERROR)$/,
    reason: 'the database user may not do this',
    remedy: 'grant it select, insert, update and delete on the tables',
  },
  {
    codes: /^(25006|ER_OPTION_PREVENTS_STATEMENT|ER_READ_ONLY_MODE|SQLITE_READONLY\w*)$/,
    reason: 'the database is read-only',
    remedy: 'let the pool lead to the primary',
  },
  {
    codes: /^(53300|ER_CON_COUNT_ERROR|ER_TOO_MANY_USER_CONNECTIONS|ER_USER_LIMIT_REACHED)$/,
    reason: 'too many connections',
    remedy: 'make pools smaller, or let the server take more',
  },
  {
    codes: /^(53100|ER_DISK_FULL\w*|ER_RECORD_FILE_FULL|SQLITE_FULL)$/,
    reason: 'the disk is full',
    remedy: 'make room',
  },
  {
    codes: /^(57014|55P03|ER_LOCK_WAIT_TIMEOUT|ER_QUERY_TIMEOUT|ER_STATEMENT_TIMEOUT)$/,
    reason: 'timeout',
    remedy: 'try again shortly',
  },
];

/** The server has gone, or is on its way out or in: it refuses nothing in particular. */
const GONE = /^(08|57P|E[A-Z]+$|PROTOCOL_|ER_SERVER_SHUTDOWN|ER_CONNECTION_KILLED|SQLITE_IOERR)/;
/** Codes that only a database gives. */
const ANSWER = /^([0-9A-Z]{5}|ER_\w+|\w*SQLITE_\w+)$/;

/**
 * An error of the driver as one of ours. The driver's own carries the statement, its parameters or the row that it was
 * about, that is handles and session data: it must not travel on, not even as a cause.
 */
export function toUnavailable(error: unknown): SessionStoreUnavailableError {
  if (error instanceof SessionStoreUnavailableError) return error;
  const code = codeOf(error);
  if (isTransient(error)) {
    return new SessionStoreUnavailableError('the database is busy', undefined, true);
  }
  const refusal = REFUSALS.find(({ codes }) => codes.test(code));
  if (refusal) return new SessionStoreUnavailableError(refusal.reason, refusal.remedy, true);
  if (GONE.test(code)) return new SessionStoreUnavailableError(`no connection, ${code}`);
  if (ANSWER.test(code)) return new SessionStoreUnavailableError(code, undefined, true);
  const isLate = /timed out|timeout/i.test(messageOf(error));
  return new SessionStoreUnavailableError(isLate ? 'timeout' : 'no connection');
}

/** Its migration was carried out in part. */
export const incomplete = (): SessionStoreUnavailableError =>
  new SessionStoreUnavailableError(
    'rows of its table of buckets are missing',
    'run its migration (sessionMigration or sqlMigration) down, and up again',
    true,
  );

function codeOf(error: unknown): string {
  const { code } = (error ?? {}) as { code?: unknown };
  // SQLite has one code for all that is wrong with a statement.
  const missing = /^no such (?:table|column)/.exec(messageOf(error))?.[0];
  return missing ?? (typeof code === 'string' ? code : '');
}

function messageOf(error: unknown): string {
  const { message } = (error ?? {}) as { message?: unknown };
  return typeof message === 'string' ? message : '';
}
