import { sql } from 'kysely';
import type { SqlCalls } from './sql-calls.js';
import type { Instant } from './sql-dialect.js';
import type { SessionDatabase } from './sql-tables.js';

/** Rows that one statement removes: others are never kept waiting for long. */
export const BATCH = 1_000;

/**
 * Removes what has ended. Nothing depends on it but the size of the tables: no verb sees what has ended. Any number of
 * nodes may do it at once, as each leaves alone what another one is about to remove.
 */
export class SqlSweeper {
  readonly #timer: NodeJS.Timeout | undefined;
  #running: Promise<unknown> | undefined;
  #isStopped = false;
  /** Milliseconds. */
  #lapsedFor = 0;

  /** @param every milliseconds between two rounds; `undefined`: only when it is asked to */
  constructor(
    private readonly calls: SqlCalls,
    private readonly now: () => Instant,
    every: number | undefined,
  ) {
    if (every !== undefined) this.#timer = setInterval(() => this.#round(), every).unref();
  }

  /** What has ended is left where it is for so many milliseconds. The longest that was asked for counts. */
  keepLapsed(milliseconds: number): void {
    this.#lapsedFor = Math.max(this.#lapsedFor, Math.ceil(milliseconds));
  }

  /** Removes all that has ended, and tells how much that was. */
  async sweep(): Promise<number> {
    let removed = 0;
    for (let batch = BATCH; batch >= BATCH && !this.#isStopped; removed += batch) {
      batch = await this.#removeSome();
    }
    return removed;
  }

  /** Begins no further round, and waits for what is under way. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    clearInterval(this.#timer);
    await this.#running;
  }

  #round(): void {
    // In an outage the next round does what this one could not; requests tell of the outage.
    this.#running ??= this.sweep()
      .catch(() => undefined)
      .finally(() => (this.#running = undefined));
  }

  async #removeSome(): Promise<number> {
    const { dialect } = this.calls;
    if (dialect === 'mysql') return this.calls.transaction((db) => this.#removeByName(db));
    const remove = (db: SessionDatabase) => {
      const ended = this.#ended(db);
      const named = dialect === 'sqlite' ? ended : ended.forUpdate().skipLocked();
      // By a name, so that it is looked for once only, and the batch stays one.
      return db
        .with('ended', () => named)
        .deleteFrom('sessions')
        .where('handle', 'in', (of) => of.selectFrom('ended').select('ended.handle'))
        .executeTakeFirst();
    };
    return Number((await this.calls.walk(remove)).numDeletedRows);
  }

  /** MySQL takes no LIMIT within IN, and a DELETE of its own would wait for rows that others have. */
  async #removeByName(db: SessionDatabase): Promise<number> {
    const ended = await this.#ended(db).forUpdate().skipLocked().execute();
    const handles = ended.map(({ handle }) => handle);
    if (handles.length > 0) {
      await db.deleteFrom('sessions').where('handle', 'in', handles).execute();
    }
    return handles.length;
  }

  #ended(db: SessionDatabase) {
    const until = sql<number>`${this.now()} - ${sql.lit(this.#lapsedFor)}`;
    return db.selectFrom('sessions').select('handle').where('expires', '<=', until).limit(BATCH);
  }
}
