import { sql, type Expression, type SqlBool } from 'kysely';
import { bucketOfHandle } from '../../core/session-id.js';
import type { Place } from '../../core/session-places.js';
import type { PlacedValue, PlaceRange } from '../../core/session-store.interface.js';
import type { Instant } from './sql-dialect.js';
import type { Milliseconds, SessionDatabase, SqlDialect } from './sql-tables.js';
import { textOf } from './sql-values.js';

/** A session in a place with a limit. */
export interface Occupant {
  readonly handle: string;
  readonly since: number;
  /** When its idle window ends. */
  readonly expires: number;
  readonly version: string;
}

/** A place of a bucket. */
export interface PlaceOfBucket {
  readonly bucket: string;
  readonly place: Place;
}

/**
 * Which handles stand in which places. Entries are written in the transaction of their session, and go with its row:
 * by a foreign key or, in SQLite, by a trigger.
 */
export class SqlPlaces {
  constructor(
    private readonly dialect: SqlDialect,
    private readonly now: () => Instant,
  ) {}

  async enter(
    db: SessionDatabase,
    handle: string,
    places: readonly Place[],
    since: number,
  ): Promise<void> {
    if (places.length === 0) return;
    const bucket = bucketOfHandle(handle);
    const rows = [...new Set(places)].map((place) => ({ bucket, place, handle, since }));
    const insert = db.insertInto('session_places').values(rows);
    const again =
      this.dialect === 'mysql'
        ? insert.onDuplicateKeyUpdate({ since })
        : insert.onConflict((it) => it.columns(['handle', 'place']).doUpdateSet({ since }));
    await again.execute();
  }

  async leave(db: SessionDatabase, handle: string, places: readonly Place[]): Promise<void> {
    if (places.length === 0) return;
    const entries = db.deleteFrom('session_places').where('handle', '=', handle);
    await entries.where('place', 'in', places).execute();
  }

  /** All that stands in a place, whether it lives or not. */
  async handlesIn(
    db: SessionDatabase,
    { bucket, place }: PlaceOfBucket,
    except?: string,
  ): Promise<string[]> {
    let asked = db.selectFrom('session_places').select('handle').where('bucket', '=', bucket);
    asked = asked.where('place', '=', place).orderBy('handle');
    if (except !== undefined) asked = asked.where('handle', '<>', except);
    return (await asked.execute()).map(({ handle }) => handle);
  }

  /** Those that a limit counts, oldest first, and the one of a handle in any case. */
  async occupants(
    db: SessionDatabase,
    { bucket, place }: PlaceOfBucket,
    handle: string,
  ): Promise<Occupant[]> {
    const rows = await this.#living(db, bucket, place)
      .select(['p.handle', 'p.since', 's.expires', 's.version'])
      .where((of) => of.or([of('p.since', '>=', 0), of('p.handle', '=', handle)]))
      .orderBy('p.since')
      .orderBy('p.handle')
      .execute();
    return rows.map((row) => ({
      ...row,
      since: Number(row.since),
      expires: Number(row.expires),
    }));
  }

  async list(
    db: SessionDatabase,
    { bucket, place }: PlaceOfBucket,
    { limit, after }: PlaceRange,
  ): Promise<PlacedValue[]> {
    let asked = this.#living(db, bucket, place)
      .select(['p.handle', 'p.since', 's.head', this.#remaining().as('remaining')])
      .orderBy('p.since', 'desc')
      .orderBy('p.handle', 'desc')
      .limit(limit);
    if (after) asked = asked.where(isBehind(after.since, after.handle));
    return (await asked.execute()).map(({ handle, since, head, remaining }) => ({
      handle,
      since: Number(since),
      head: textOf(head),
      remaining: Number(remaining),
    }));
  }

  async countIn(db: SessionDatabase, { bucket, place }: PlaceOfBucket): Promise<number> {
    const { count } = await this.#living(db, bucket, place)
      .select((of) => of.fn.countAll().as('count'))
      .where('s.live', '=', 1)
      .executeTakeFirstOrThrow();
    return Number(count);
  }

  /** Places of an index behind one, in the order of their names. */
  async some(
    db: SessionDatabase,
    index: string,
    limit: number,
    after?: PlaceOfBucket,
  ): Promise<PlaceOfBucket[]> {
    let asked = db
      .selectFrom('session_places')
      .select(['bucket', 'place'])
      .distinct()
      // What begins with `index:` comes before `index;`, and no name needs escaping as in LIKE.
      .where('place', '>=', `${index}:`)
      .where('place', '<', `${index};`)
      .orderBy('bucket')
      .orderBy('place')
      .limit(limit);
    if (after) {
      asked = asked.where((of) =>
        of.or([
          of('bucket', '>', after.bucket),
          of.and([of('bucket', '=', after.bucket), of('place', '>', after.place)]),
        ]),
      );
    }
    return asked.execute();
  }

  #living(db: SessionDatabase, bucket: string, place: Place) {
    return db
      .selectFrom('session_places as p')
      .innerJoin('sessions as s', 's.handle', 'p.handle')
      .where('p.bucket', '=', bucket)
      .where('p.place', '=', place)
      .where('s.expires', '>', this.now());
  }

  #remaining() {
    return sql<Milliseconds>`s.expires - ${this.now()}`;
  }
}

/** Further down in a list, newest first, than a session that may stand there no more. */
const isBehind = (since: number, handle: string): Expression<SqlBool> =>
  sql`(p.since < ${since} or (p.since = ${since} and p.handle < ${handle}))`;
