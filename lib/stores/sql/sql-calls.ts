import type { KyselyPlugin, PluginTransformQueryArgs, PluginTransformResultArgs } from 'kysely';
import { setTimeout as delay } from 'node:timers/promises';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import { incomplete, isTransient, toUnavailable } from './sql-failure.js';
import type { SessionDatabase, SqlDialect } from './sql-tables.js';

/** How often work is begun at most that fails because of what others do at the same time. */
const ATTEMPTS = 50;
/** Milliseconds between two of them at most. */
const LONGEST_PAUSE = 50;
/** Walks, and what ends a whole place, may take so many times as long as a verb of a request. */
const LONG = 15;

/** Thrown by the work of a transaction: nothing of it is to be left, and this is what became of it. */
export class Undone<Outcome> extends Error {
  constructor(readonly outcome: Outcome) {
    super('undone');
  }
}

/** Calls to the database that end in time, are tried again where others were in the way, and fail as ours. */
export class SqlCalls {
  constructor(
    private readonly db: SessionDatabase,
    readonly dialect: SqlDialect,
    /** Milliseconds that a call may take. */
    private readonly patience: number,
  ) {}

  /** Milliseconds that the slowest call may take. */
  get slowest(): number {
    return this.patience * LONG;
  }

  /** One or more statements over one connection, each for itself. */
  run<T>(work: (db: SessionDatabase) => Promise<T>): Promise<T> {
    return this.#inTime(work, this.patience);
  }

  /** The same for what walks tables. */
  walk<T>(work: (db: SessionDatabase) => Promise<T>): Promise<T> {
    return this.#inTime(work, this.slowest);
  }

  /** All or nothing. */
  transaction<T>(work: (db: SessionDatabase) => Promise<T>): Promise<T> {
    return this.#inTime(inTransaction(work), this.patience);
  }

  /**
   * All or nothing, and nobody else changes places of the bucket meanwhile. All places that a verb changes lie in one
   * bucket: so each transaction takes one lock, the first thing it does, and no two of them wait for each other.
   */
  locked<T>(bucket: string, work: (db: SessionDatabase) => Promise<T>, long = false): Promise<T> {
    const all = async (db: SessionDatabase) => {
      await this.#lock(db, bucket);
      return work(db);
    };
    return this.#inTime(inTransaction(all), long ? this.slowest : this.patience);
  }

  async #lock(db: SessionDatabase, bucket: string): Promise<void> {
    if ((await this.#rowsLocked(db, bucket)) === 0) throw incomplete();
  }

  async #rowsLocked(db: SessionDatabase, bucket: string): Promise<number> {
    if (this.dialect !== 'sqlite') {
      const asked = db.selectFrom('session_buckets').select('bucket');
      return (await asked.where('bucket', '=', bucket).forUpdate().execute()).length;
    }
    // A transaction of SQLite that begins by reading may find, at its first write, that it came too late.
    const update = db.updateTable('session_buckets').set({ bucket }).where('bucket', '=', bucket);
    return Number((await update.executeTakeFirst()).numUpdatedRows);
  }

  async #inTime<T>(work: Work<T>, patience: number): Promise<T> {
    const deadline = new Deadline();
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(deadline.pass()), patience);
    });
    try {
      return await Promise.race([this.#tried(work, deadline), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async #tried<T>(work: Work<T>, deadline: Deadline): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.db.connection().execute((db) => {
          deadline.check();
          return work(db.withPlugin(deadline), deadline);
        });
      } catch (error) {
        if (error instanceof Undone) return error.outcome as T;
        if (!isTransient(error) || attempt === ATTEMPTS) throw toUnavailable(error);
      }
      // Not all at the same time again.
      await delay(Math.random() * Math.min(2 ** attempt, LONGEST_PAUSE));
      deadline.check();
    }
  }
}

type Work<T> = (db: SessionDatabase, deadline: Deadline) => Promise<T>;

const inTransaction =
  <T>(work: (db: SessionDatabase) => Promise<T>): Work<T> =>
  (db, deadline) =>
    // Every statement sees what was committed before it; locks do the rest. Stricter ones would only fail more often.
    db
      .transaction()
      .setIsolationLevel('read committed')
      .execute(async (transaction) => {
        const result = await work(transaction);
        deadline.check();
        return result;
      });

/**
 * Once the time is over nothing more is sent: whoever called has been told that it failed, and may have gone on from
 * there. What is at the server already may still be carried out.
 */
class Deadline implements KyselyPlugin {
  #isOver = false;

  pass(): SessionStoreUnavailableError {
    this.#isOver = true;
    return new SessionStoreUnavailableError('timeout');
  }

  check(): void {
    if (this.#isOver) throw new SessionStoreUnavailableError('timeout');
  }

  transformQuery({ node }: PluginTransformQueryArgs) {
    this.check();
    return node;
  }

  async transformResult({ result }: PluginTransformResultArgs) {
    return result;
  }
}
