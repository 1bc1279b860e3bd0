import type { Kysely } from 'kysely';
import type { FencedSessionStore } from '../../core/fenced-store.interface.js';
import { bucketOfHandle, isLasting } from '../../core/session-id.js';
import type { Place } from '../../core/session-places.js';
import { versionOf } from '../../core/session-record.js';
import type {
  Admission,
  CreateOptions,
  EndedInPlace,
  LoadedValue,
  LoadOptions,
  PlacedValue,
  PlaceLimit,
  PlaceRange,
  ReplaceOptions,
  SaveOptions,
  SaveOutcome,
  StoredValue,
} from '../../core/session-store.interface.js';
import { SqlCalls, Undone } from './sql-calls.js';
import { nowBy } from './sql-dialect.js';
import { incomplete } from './sql-failure.js';
import { SqlPlaces, type Occupant } from './sql-places.js';
import { SqlRecords, type Swap } from './sql-records.js';
import { resolveSqlOptions, type SqlSessionStoreOptions } from './sql-session.options.js';
import { SqlSweeper } from './sql-sweeper.js';
import { NamedTables, tableNames, type SessionDatabase } from './sql-tables.js';

/** Handles that one statement names. */
const SOME = 500;
/** Places that one statement tells. */
const PAGE = 1_000;

/**
 * Sessions in PostgreSQL, MySQL, MariaDB or SQLite, by Kysely. It has the verbs of {@link FencedSessionStore}, and tells no
 * events. Its tables are made by {@link sessionMigration} or {@link sqlMigration}.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for options that cannot be used
 * @example
 * const db = new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
 * SessionModule.forRoot({ store: new SqlSessionStore({ db }) });
 */
export class SqlSessionStore implements FencedSessionStore {
  readonly #calls: SqlCalls;
  readonly #records: SqlRecords;
  readonly #places: SqlPlaces;
  readonly #sweeper: SqlSweeper;

  constructor(options: SqlSessionStoreOptions) {
    const { db, dialect, table, schema, sweepEvery, timeout, clock } = resolveSqlOptions(options);
    // What an application does to its own statements and rows, such as renaming columns, is not for these.
    const plain = (db as unknown as Kysely<unknown>).withoutPlugins() as unknown as SessionDatabase;
    const named = plain.withPlugin(new NamedTables(tableNames(table, schema)));
    const now = nowBy(dialect, clock);
    this.#calls = new SqlCalls(named, dialect, timeout);
    this.#records = new SqlRecords(dialect, now);
    this.#places = new SqlPlaces(dialect, now);
    this.#sweeper = new SqlSweeper(this.#calls, now, sweepEvery);
  }

  load(handle: string, options: LoadOptions = {}): Promise<LoadedValue | undefined> {
    return this.#calls.run((db) => this.#records.load(db, handle, options));
  }

  async create(
    handle: string,
    value: StoredValue,
    { ttl, standing }: CreateOptions,
  ): Promise<boolean> {
    const { places = [], since = 0 } = standing ?? {};
    const take = async (db: SessionDatabase) => {
      const taking = await this.#records.take(db, handle, value, ttl);
      if (taking === 'stored') await this.#places.enter(db, handle, places, since);
      return taking !== 'taken';
    };
    return places.length === 0 ? this.#calls.run(take) : this.#calls.transaction(take);
  }

  admit(
    handle: string,
    value: StoredValue,
    { limit, ttl, standing }: CreateOptions & { readonly limit: PlaceLimit },
  ): Promise<Admission> {
    const bucket = bucketOfHandle(handle);
    const { places = [], since = 0 } = standing ?? {};
    return this.#calls.locked(bucket, async (db): Promise<Admission> => {
      const found = await this.#places.occupants(db, { bucket, place: limit.place }, handle);
      const same = found.find((one) => one.handle === handle);
      if (same) return same.version === versionOf(value) ? CREATED : TAKEN;
      const excess = found.length - limit.max + 1;
      if (excess > 0 && limit.onLimit === 'reject') return { status: 'full' };
      const retired = inOrder(found, limit).slice(0, Math.max(0, excess));
      await this.#records.end(db, retired);
      const taking = await this.#records.take(db, handle, value, ttl);
      if (taking !== 'stored') throw new Undone(taking === 'taken' ? TAKEN : CREATED);
      await this.#places.enter(db, handle, places, since);
      return { status: 'created', retired };
    });
  }

  save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome> {
    const { standing, leaves = [] } = options;
    const swap = (db: SessionDatabase) => this.#records.swap(db, handle, value, options);
    if (!standing && leaves.length === 0) return this.#calls.run(swap).then(outcomeOf);
    return this.#calls.locked(bucketOfHandle(handle), async (db) => {
      const swapped = await swap(db);
      if (swapped !== 'now') return outcomeOf(swapped);
      await this.#places.leave(db, handle, leaves);
      if (standing) await this.#places.enter(db, handle, standing.places, standing.since);
      return SAVED;
    });
  }

  replace(
    handle: string,
    value: StoredValue,
    { expected, ttl, leaves, next }: ReplaceOptions,
  ): Promise<SaveOutcome | typeof TAKEN> {
    return this.#calls.locked(bucketOfHandle(handle), async (db) => {
      const swapped = await this.#records.swap(db, handle, value, { expected, ttl });
      // What was sent again says nothing about the next one, which may have been changed or ended since.
      if (swapped !== 'now') return outcomeOf(swapped);
      const taking = await this.#records.take(db, next.handle, next.value, next.ttl);
      if (taking !== 'stored') throw new Undone(TAKEN);
      await this.#places.leave(db, handle, leaves);
      const { places, since } = next.standing;
      await this.#places.enter(db, next.handle, places, since);
      return SAVED;
    });
  }

  bring(
    handle: string,
    value: StoredValue,
    ttl: number,
    { lapsed = false }: { readonly lapsed?: boolean } = {},
  ): Promise<boolean> {
    return this.#calls.run((db) =>
      lapsed
        ? this.#records.passLapsed(db, handle, value, ttl)
        : this.#records.pass(db, handle, value, ttl),
    );
  }

  /**
   * Removes sessions only so many milliseconds after their idle window was over. A tiered store asks for it; a job of your
   * own that calls {@link deleteExpired} on what is behind one has to ask as well.
   */
  keepLapsed(milliseconds: number): void {
    this.#sweeper.keepLapsed(milliseconds);
  }

  /** Milliseconds after which nothing more is sent, whatever the verb. */
  get slowestChange(): number {
    return this.#calls.slowest;
  }

  touch(handle: string, ttl: number): Promise<boolean> {
    return this.#calls.run((db) => this.#records.touch(db, handle, ttl));
  }

  /** Its places go with it, whichever they are. */
  delete(handle: string): Promise<StoredValue | undefined> {
    const end = (db: SessionDatabase) => this.#records.endOne(db, handle);
    return this.#calls.dialect === 'mysql' ? this.#calls.transaction(end) : this.#calls.run(end);
  }

  list(bucket: string, place: Place, range: PlaceRange): Promise<PlacedValue[]> {
    return this.#calls.run((db) => this.#places.list(db, { bucket, place }, range));
  }

  countIn(bucket: string, place: Place): Promise<number> {
    return this.#calls.run((db) => this.#places.countIn(db, { bucket, place }));
  }

  endIn(bucket: string, place: Place, except?: string): Promise<EndedInPlace> {
    const endAll = async (db: SessionDatabase): Promise<EndedInPlace> => {
      const handles = await this.#places.handlesIn(db, { bucket, place }, except);
      const pointers: StoredValue[] = [];
      let ended = 0;
      for (let i = 0; i < handles.length; i += SOME) {
        for (const one of await this.#records.end(db, handles.slice(i, i + SOME))) {
          if (one.isLive) ended++;
          else pointers.push(one.value);
        }
      }
      return { ended, pointers, handles };
    };
    return this.#calls.locked(bucket, endAll, true);
  }

  async *placesOf(index: string): AsyncGenerator<{ bucket: string; place: Place }> {
    for (let last: { bucket: string; place: Place } | undefined; ;) {
      const after = last;
      const some = await this.#calls.walk((db) => this.#places.some(db, index, PAGE, after));
      yield* some;
      last = some.at(-1);
      if (some.length < PAGE) return;
    }
  }

  /** Reads the whole table. */
  count(): Promise<number> {
    return this.#calls.walk((db) => this.#records.count(db));
  }

  /**
   * Resolves if the database answers now, and the store's tables are there.
   *
   * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`), whose message tells a missing table from a
   * refused login from a database that cannot be reached
   */
  ping(): Promise<void> {
    return this.#calls.run(async (db) => {
      const asked = db
        .selectFrom('session_buckets')
        .select((of) => [
          of.fn.countAll().as('buckets'),
          of
            .selectFrom('sessions')
            .select(['handle'])
            .where('expires', '<', 0)
            .limit(1)
            .as('session'),
          of
            .selectFrom('session_places')
            .select(['place'])
            .where('handle', '=', '')
            .limit(1)
            .as('entry'),
        ]);
      const { buckets } = await asked.executeTakeFirstOrThrow();
      if (Number(buckets) < 256) throw incomplete();
    });
  }

  /**
   * Removes sessions whose time is over, in batches of 1000, and tells how many. Any number of nodes may do it at once;
   * each leaves alone what another one is removing.
   *
   * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`); what was removed until then stays so
   */
  deleteExpired(): Promise<number> {
    return this.#sweeper.sweep();
  }

  /** Stops the sweeper. The pool stays open: it is the application's. */
  close(): Promise<void> {
    return this.#sweeper.stop();
  }
}

const CREATED: Admission = { status: 'created', retired: [] };
const TAKEN = { status: 'taken' } as const;
const SAVED: SaveOutcome = { status: 'saved' };

const outcomeOf = (swapped: Swap): SaveOutcome => (typeof swapped === 'string' ? SAVED : swapped);

/** Handles in the order in which they give way. */
function inOrder(oldestFirst: readonly Occupant[], limit: PlaceLimit): string[] {
  const { onLimit, idleTimeout, lastingIdleTimeout } = limit;
  const usedAt = ({ handle, expires }: Occupant) =>
    expires - (isLasting(handle) ? lastingIdleTimeout : idleTimeout);
  const isByUse = onLimit === 'retire-least-recently-used';
  const sorted = isByUse ? oldestFirst.toSorted((a, b) => usedAt(a) - usedAt(b)) : oldestFirst;
  return sorted.map(({ handle }) => handle);
}
