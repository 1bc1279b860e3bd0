import { toMilliseconds, type Duration } from '../../core/duration.js';
import { SessionOptionsError } from '../../core/session.errors.js';

/** Where the sessions lie, and how they are kept. */
export interface FileStoreOptions {
  /** A directory for sessions alone, on a disk of this machine or on a mount that all nodes share. */
  directory: string;
  /**
   * Make the directory if it is not there. `false` for a mount: while it is not mounted, requests fail
   * instead of finding an empty directory.
   *
   * @default true
   */
  create?: boolean;
  /**
   * Removes sessions whose time is over so often, up to 24 days; `false`: only `deleteExpired()` does.
   *
   * @default '10m'
   */
  sweepEvery?: Duration | false;
  /**
   * What is acknowledged survives a loss of power, too: it is on the disk (`fsync`). Costs milliseconds
   * on each write. Without it, what was acknowledged survives the end of any process.
   *
   * @default false
   */
  durable?: boolean;
  /** After which a call without an answer fails, up to 24 days: a mount whose server is away. @default '5s' */
  timeout?: Duration;
  /**
   * Is told what no request meets: that sessions whose time is over cannot be removed, and which folders are
   * left out. Once each.
   *
   * @default `process.emitWarning`
   */
  onTrouble?: (message: string) => void;
  /** Milliseconds since the epoch. The clocks of all nodes have to agree to about a second (NTP). @default the machine's */
  now?: () => number;
}

/** A timer of Node takes no longer one: it would end at once. */
export const LONGEST_TIMER = 2 ** 31 - 1;

/** @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) */
export function checkedOptions(options: FileStoreOptions) {
  const { directory, create = true, durable = false, onTrouble = warn } = options;
  const timeout = toMilliseconds(options.timeout ?? '5s');
  const { sweepEvery: every = '10m' } = options;
  const sweepEvery = every === false ? undefined : toMilliseconds(every);
  const problems: string[] = [];
  if (typeof directory !== 'string' || directory === '' || directory.includes('\0')) {
    problems.push('directory of the file store is no path: give a directory for sessions alone');
  }
  if (!isForTimer(timeout)) {
    problems.push(
      "timeout of the file store cannot be used: use a duration such as '5s', of at most '24d'",
    );
  }
  if (every !== false && !isForTimer(sweepEvery)) {
    problems.push(
      "sweepEvery of the file store cannot be used: use a duration such as '10m', or false; at most '24d'",
    );
  }
  if (typeof onTrouble !== 'function') {
    problems.push('onTrouble of the file store is no function: give one that takes a message');
  }
  if (problems.length > 0) throw new SessionOptionsError(problems);
  return { directory, create, durable, sweepEvery, timeout: timeout as number, onTrouble };
}

/** @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for what would never get on */
export function checkLimit(limit: unknown): void {
  if (limit === undefined || (typeof limit === 'number' && limit >= 1)) return;
  throw new SessionOptionsError([
    'limit of deleteExpired() is no number of sessions: use 1 or more, or leave it out',
  ]);
}

const isForTimer = (milliseconds: number | undefined): boolean =>
  milliseconds !== undefined && milliseconds >= 1 && milliseconds <= LONGEST_TIMER;

function warn(message: string): void {
  process.emitWarning(message, 'SessionWarning');
}
