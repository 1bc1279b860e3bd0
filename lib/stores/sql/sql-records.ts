import { sql, type SqlBool } from 'kysely';
import type {
  LoadedValue,
  LoadOptions,
  SaveOutcome,
  StoredValue,
} from '../../core/session-store.interface.js';
import { versionOf } from '../../core/session-record.js';
import type { Instant } from './sql-dialect.js';
import type { Milliseconds, SessionDatabase, SqlBytes, SqlDialect } from './sql-tables.js';
import { rowOf, valueOf } from './sql-values.js';

/** What became of a value that was to be stored under a handle of its own. */
export type Taking = 'stored' | 'there already' | 'taken';

/** Digits that a version's counter has: of fixed width, so that they compare as what they count. */
const COUNTER = 8;

/** What became of a value that was to replace another: it did so now, or when it was sent before; or it did not. */
export type Swap = 'now' | 'before' | Exclude<SaveOutcome, { status: 'saved' }>;

interface Found {
  readonly head: SqlBytes;
  readonly body: SqlBytes | null;
  readonly remaining: Milliseconds;
}

/** Sessions by their handles: each method is one step of a verb, over the connection that it is given. */
export class SqlRecords {
  readonly #returns: boolean;

  constructor(
    private readonly dialect: SqlDialect,
    private readonly now: () => Instant,
  ) {
    // MySQL cannot tell what it has just changed.
    this.#returns = dialect !== 'mysql';
  }

  async load(
    db: SessionDatabase,
    handle: string,
    { touch, remaining = false }: LoadOptions,
  ): Promise<LoadedValue | undefined> {
    const found =
      touch === undefined ? await this.#find(db, handle) : await this.#touched(db, handle, touch);
    if (!found) return undefined;
    const value = valueOf(found);
    return remaining ? { value, remaining: Number(found.remaining) } : { value };
  }

  async touch(db: SessionDatabase, handle: string, ttl: number): Promise<boolean> {
    const touched = await this.#touch(db, handle, ttl).executeTakeFirst();
    // MySQL may count what it changed, and a window that ends at the same millisecond as before is none.
    return touched.numUpdatedRows > 0n || (await this.#isThere(db, handle));
  }

  /** Stores a value under a handle that is free. */
  async take(
    db: SessionDatabase,
    handle: string,
    value: StoredValue,
    ttl: number,
  ): Promise<Taking> {
    if (await this.#insert(db, handle, value, ttl)) return 'stored';
    if (await this.#dropEnded(db, handle)) {
      if (await this.#insert(db, handle, value, ttl)) return 'stored';
    }
    const other = await db
      .selectFrom('sessions')
      .select('version')
      .where('handle', '=', handle)
      .executeTakeFirst();
    return other?.version === versionOf(value) ? 'there already' : 'taken';
  }

  /** Replaces a value whose version is expected. */
  async swap(
    db: SessionDatabase,
    handle: string,
    value: StoredValue,
    { expected, ttl }: { readonly expected: string; readonly ttl?: number | undefined },
  ): Promise<Swap> {
    const swapped = await db
      .updateTable('sessions')
      .set({ ...rowOf(value), ...(ttl !== undefined && { expires: this.#end(ttl) }) })
      .where('handle', '=', handle)
      .where('version', '=', expected)
      .where(this.#lives())
      .executeTakeFirst();
    if (swapped.numUpdatedRows > 0n) return 'now';
    const found = await this.#find(db, handle);
    if (!found) return { status: 'gone' };
    const current = valueOf(found);
    const isOurs = versionOf(current) === versionOf(value);
    return isOurs ? 'before' : { status: 'conflict', current };
  }

  /** Replaces a value whose counter is lower. */
  async pass(
    db: SessionDatabase,
    handle: string,
    value: StoredValue,
    ttl: number,
  ): Promise<boolean> {
    const passed = await db
      .updateTable('sessions')
      .set({ ...rowOf(value), expires: this.#end(ttl) })
      .where('handle', '=', handle)
      .where(counterOf(), '<', value.slice(0, COUNTER))
      .where(this.#lives())
      .executeTakeFirst();
    return passed.numUpdatedRows > 0n;
  }

  /** The same, whether its window is over or not; of the same value only the window is moved, never to an earlier end. */
  async passLapsed(
    db: SessionDatabase,
    handle: string,
    value: StoredValue,
    ttl: number,
  ): Promise<boolean> {
    const version = versionOf(value);
    const end = this.#end(ttl);
    // First of all: MySQL goes from left to right, and compares with what it has just set.
    const expires = sql<number>`case when version = ${version} and expires > ${end} then expires else ${end} end`;
    const passed = await db
      .updateTable('sessions')
      .set({ expires, ...rowOf(value) })
      .where('handle', '=', handle)
      .where((of) =>
        of.or([of(counterOf(), '<', value.slice(0, COUNTER)), of('version', '=', version)]),
      )
      .executeTakeFirst();
    return passed.numUpdatedRows > 0n;
  }

  /** Ends sessions, with all their places, and tells what they were. Those whose time was over are ended as well. */
  async end(db: SessionDatabase, handles: readonly string[]): Promise<Ended[]> {
    if (handles.length === 0) return [];
    const columns = [
      'handle',
      'live',
      'head',
      // The data of a session is of no use to whoever ends many.
      sql<SqlBytes | null>`case when live = 1 then null else body end`.as('body'),
      this.#remaining().as('remaining'),
    ] as const;
    const ending = db.deleteFrom('sessions').where('handle', 'in', handles);
    if (this.#returns) return endedOf(await ending.returning(columns).execute());
    const asked = db.selectFrom('sessions').select(columns).where('handle', 'in', handles);
    const found = await asked.forUpdate().execute();
    await ending.execute();
    return endedOf(found);
  }

  /** Ends one session, and returns what it was; over MySQL within a transaction. */
  async endOne(db: SessionDatabase, handle: string): Promise<StoredValue | undefined> {
    const ending = db.deleteFrom('sessions').where('handle', '=', handle);
    const columns = ['head', 'body', this.#remaining().as('remaining')] as const;
    if (this.#returns) return aliveOf(await ending.returning(columns).executeTakeFirst());
    const asked = db.selectFrom('sessions').select(columns).where('handle', '=', handle);
    const found = await asked.forUpdate().executeTakeFirst();
    if (found) await ending.execute();
    return aliveOf(found);
  }

  async count(db: SessionDatabase): Promise<number> {
    const { count } = await db
      .selectFrom('sessions')
      .select((of) => of.fn.countAll().as('count'))
      .where('live', '=', 1)
      .where(this.#lives())
      .executeTakeFirstOrThrow();
    return Number(count);
  }

  async #touched(db: SessionDatabase, handle: string, ttl: number): Promise<Found | undefined> {
    const columns = ['head', 'body', this.#remaining().as('remaining')] as const;
    const touch = this.#touch(db, handle, ttl);
    if (this.#returns) return touch.returning(columns).executeTakeFirst();
    await touch.execute();
    return this.#find(db, handle);
  }

  #touch(db: SessionDatabase, handle: string, ttl: number) {
    const touch = db.updateTable('sessions').set({ expires: this.#end(ttl) });
    return touch.where('handle', '=', handle).where(this.#lives());
  }

  #find(db: SessionDatabase, handle: string): Promise<Found | undefined> {
    return db
      .selectFrom('sessions')
      .select(['head', 'body', this.#remaining().as('remaining')])
      .where('handle', '=', handle)
      .where(this.#lives())
      .executeTakeFirst();
  }

  async #isThere(db: SessionDatabase, handle: string): Promise<boolean> {
    const asked = db.selectFrom('sessions').select('live').where('handle', '=', handle);
    return (await asked.where(this.#lives()).executeTakeFirst()) !== undefined;
  }

  async #insert(db: SessionDatabase, handle: string, value: StoredValue, ttl: number) {
    const row = { handle, ...rowOf(value), expires: this.#end(ttl) };
    const insert = db.insertInto('sessions').values(row);
    const careful =
      this.dialect === 'mysql' ? insert.ignore() : insert.onConflict((it) => it.doNothing());
    return Number((await careful.executeTakeFirst()).numInsertedOrUpdatedRows) > 0;
  }

  async #dropEnded(db: SessionDatabase, handle: string): Promise<boolean> {
    const drop = db.deleteFrom('sessions').where('handle', '=', handle);
    const dropped = await drop.where('expires', '<=', this.now()).executeTakeFirst();
    return dropped.numDeletedRows > 0n;
  }

  #end(ttl: number) {
    return sql<number>`${this.now()} + ${sql.lit(Math.round(ttl))}`;
  }

  #remaining() {
    return sql<Milliseconds>`expires - ${this.now()}`;
  }

  #lives() {
    return sql<SqlBool>`expires > ${this.now()}`;
  }
}

const counterOf = () => sql<string>`substr(version, 1, ${sql.lit(COUNTER)})`;

/** A session, or what a renewed id left, that was ended. */
export interface Ended {
  readonly handle: string;
  readonly isLive: boolean;
  readonly value: StoredValue;
}

interface EndedRow extends Found {
  readonly handle: string;
  readonly live: number;
}

/** What was still there when it was ended. */
function endedOf(rows: readonly EndedRow[]): Ended[] {
  const alive = rows.filter(({ remaining }) => Number(remaining) > 0);
  return alive.map((row) => ({
    handle: row.handle,
    isLive: Number(row.live) === 1,
    value: valueOf(row),
  }));
}

const aliveOf = (found: Found | undefined): StoredValue | undefined =>
  found && Number(found.remaining) > 0 ? valueOf(found) : undefined;
