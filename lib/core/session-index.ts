import type { News } from './news.interface.js';
import type { SessionCodec } from './session-codec.interface.js';
import {
  moveBetween,
  mustFit,
  placesOf,
  SessionDrafter,
  standingOf,
  type SessionDrafterParts,
} from './session-draft.js';
import { BUCKETS } from './session-id.js';
import { declaredPlace, idpSessionPlace, PRINCIPAL, type Place } from './session-places.js';
import type { SessionNews } from './session-news.js';
import { nextVersion, type LiveRecord, type RecordHeader } from './session-record.js';
import type { SessionReader } from './session-reader.js';
import {
  isIndexed,
  type EndedInPlace,
  type IndexedSessionStore,
  type PlacedValue,
  type PlaceRange,
  type SessionStore,
} from './session-store.interface.js';
import {
  SessionConflictError,
  SessionStoreCannotError,
  SessionUnavailableError,
} from './session.errors.js';
import { FAMILY_HOPS, type SessionEnding } from './session-ending.js';

/** By what sessions can be looked for: indexes that the application declared, and `idpSession`. */
export type SessionQuery = Readonly<Record<string, string>>;

/** How sessions come to stand in declared indexes. */
export interface SessionIndexParts extends SessionDrafterParts {
  readonly codec: SessionCodec;
  /** Says what is told; `undefined`: nothing is. */
  readonly news?: SessionNews | undefined;
}

/** A header as it is to be; `undefined` if the session is none to be changed. */
type Amendment = (header: RecordHeader) => RecordHeader | undefined;

/** Rounds of an amendment before it gives up; each lost round means that a request wrote first. */
const ROUNDS = 50;
/** Sessions that are asked about at the same time. */
const WIDTH = 64;

/** What is done with sessions by where they stand. Places of any value exist in every bucket. */
export class SessionIndex {
  readonly #drafter: SessionDrafter;

  constructor(
    private readonly store: SessionStore,
    private readonly reader: SessionReader,
    private readonly ending: SessionEnding,
    private readonly parts: SessionIndexParts,
  ) {
    this.#drafter = new SessionDrafter(parts);
  }

  async list(bucket: string, place: Place, range: PlaceRange): Promise<PlacedValue[]> {
    return this.#store.list(bucket, place, range);
  }

  async countIn(bucket: string, place: Place): Promise<number> {
    return this.#store.countIn(bucket, place);
  }

  async endIn(bucket: string, place: Place, except?: string): Promise<EndedInPlace> {
    const { lifetime, clock, news } = this.parts;
    try {
      return await this.#store.endIn(bucket, place, except, news?.end('revoked', 'all'));
    } finally {
      // Only now: what was read until then may be of one that ended.
      lifetime.recent?.clear(clock.now());
    }
  }

  /** Ends the session of a handle, if it is this principal's; also one that got a new id since. */
  async endOne(handle: string, principal: string): Promise<boolean> {
    for (let hop = 0; hop < FAMILY_HOPS; hop++) {
      const value = (await this.store.load(handle))?.value;
      const record = value === undefined ? undefined : this.reader.decode(value, handle);
      if (record?.kind === 'live') {
        const isTheirs = record.header.identity?.principal === principal;
        return isTheirs && this.ending.end(handle, { known: record, revoked: 'named' });
      }
      if (!record) return false;
      handle = record.successor;
    }
    return false;
  }

  /** Sessions in all buckets, at most so many. */
  async find(query: SessionQuery, limit: number): Promise<PlacedValue[]> {
    const place = this.#placeOf(query);
    const found: PlacedValue[] = [];
    for (let i = 0; i < BUCKETS.length && found.length < limit; i += WIDTH) {
      const rest = limit - found.length;
      const some = BUCKETS.slice(i, i + WIDTH).map((bucket) => this.all(bucket, place, rest));
      found.push(...(await Promise.all(some)).flat());
    }
    return found.slice(0, limit);
  }

  /** Ends sessions in all buckets, and tells how many there were. */
  async endWhere(query: SessionQuery): Promise<number> {
    const place = this.#placeOf(query);
    return untilNothing(async () => {
      let ended = 0;
      for (let i = 0; i < BUCKETS.length; i += WIDTH) {
        const some = BUCKETS.slice(i, i + WIDTH).map((bucket) => this.endIn(bucket, place));
        for (const one of await Promise.all(some)) ended += one.ended;
      }
      return ended;
    });
  }

  /** Ends the sessions of all principals, and tells how many there were. */
  async endAllPrincipals(): Promise<number> {
    const store = this.#store;
    return untilNothing(async () => {
      let ended = 0;
      for await (const { bucket, place } of store.placesOf(PRINCIPAL)) {
        ended += (await this.endIn(bucket, place)).ended;
      }
      return ended;
    });
  }

  /** What a pointer of a handle tells is of no use any more. */
  async forget(handle: string, place: Place): Promise<void> {
    await this.store.delete(handle, [place]);
  }

  /** Changes the headers of all sessions in a place, and tells how many were changed. */
  async amendAll(bucket: string, place: Place, amend: Amendment): Promise<number> {
    let changed = 0;
    const failures: PromiseRejectedResult[] = [];
    for (let after: PlacedValue | undefined; ;) {
      const some = await this.#store.list(bucket, place, { limit: WIDTH, after });
      const done = await Promise.allSettled(some.map(({ handle }) => this.amend(handle, amend)));
      changed += done.filter((one) => one.status === 'fulfilled' && one.value).length;
      failures.push(...done.filter((one) => one.status === 'rejected'));
      after = some.at(-1);
      if (some.length < WIDTH) break;
    }
    // All others are changed: whoever calls again begins with those that are left.
    if (failures[0]) throw failures[0].reason;
    return changed;
  }

  /**
   * Changes the header of a session by compare-and-set; `false` if there is none to be changed. One that
   * got a new id meanwhile is changed under that.
   */
  async amend(handle: string, amend: Amendment): Promise<boolean> {
    let value = (await this.store.load(handle))?.value;
    for (let round = 0; round < ROUNDS; round++) {
      const record = value === undefined ? undefined : this.reader.decode(value, handle);
      if (record?.kind === 'retired') {
        handle = record.successor;
        value = (await this.store.load(handle))?.value;
        continue;
      }
      const header = record && amend(record.header);
      if (!record || !header) return false;
      const { version: expected } = record;
      const data = this.parts.indexes && this.#dataOf(record);
      if (data) header.declared = this.#drafter.declared(header.identity, data);
      const { records } = this.parts;
      const amended = records.amend({ handle }, record, nextVersion(expected), header);
      // That it is larger by being sealed is no reason to keep rights that were taken away.
      const grows = !record.stale && amended.length > (value as string).length;
      if (grows) mustFit(amended, this.parts.maxBytes);
      const { lifetime, clock } = this.parts;
      const standing = standingOf(header, clock.now());
      const move = moveBetween(placesOf(record.header), standing);
      const told = this.#newsOf(handle, header, record, data);
      const options = { expected, ...move, confirm: true, news: told };
      const outcome = await this.store.save(handle, amended, options);
      if (outcome.status === 'saved') lifetime.recent?.seen(handle, amended, clock.now());
      if (outcome.status !== 'conflict') return outcome.status === 'saved';
      value = outcome.current;
    }
    throw new SessionConflictError();
  }

  #newsOf(
    handle: string,
    header: RecordHeader,
    record: LiveRecord,
    known: Record<string, unknown> | undefined,
  ): News | undefined {
    const { news } = this.parts;
    const data = news?.tellsData ? (known ?? this.#dataOf(record)) : {};
    // What is told of data that cannot be read stays as it is.
    return news?.saved('grants', data && news.notice(handle, header, () => data));
  }

  /** What stands in a place, part by part. */
  async all(bucket: string, place: Place, limit = Infinity): Promise<PlacedValue[]> {
    const all: PlacedValue[] = [];
    while (all.length < limit) {
      const size = Math.min(1_000, limit - all.length);
      const some = await this.#store.list(bucket, place, { limit: size, after: all.at(-1) });
      all.push(...some);
      if (some.length < size) break;
    }
    return all;
  }

  /** Data that cannot be read is no reason to keep rights that were taken away: its places stay. */
  #dataOf({ locked, dataText }: LiveRecord): Record<string, unknown> | undefined {
    try {
      return locked ? undefined : this.parts.codec.decode(dataText);
    } catch {
      return undefined;
    }
  }

  #placeOf(query: SessionQuery): Place {
    const [entry, another] = Object.entries(query);
    const [name, value] = entry ?? [];
    if (name === undefined || typeof value !== 'string' || another) {
      throw new TypeError('look for sessions by one value, such as { idpSession: "…" }');
    }
    if (name === 'idpSession') return idpSessionPlace(value);
    if (Object.hasOwn(this.parts.indexes ?? {}, name)) return declaredPlace(name, value);
    throw new SessionUnavailableError(
      `There is no index "${name}": declare it in the option "indexes" of SessionModule.`,
    );
  }

  get #store(): IndexedSessionStore {
    if (isIndexed(this.store)) return this.store;
    throw new SessionStoreCannotError(
      'it keeps no indexes, so sessions cannot be found by whose they are; give it the methods of IndexedSessionStore, or choose a store that has them',
    );
  }
}

/** Passes over all buckets that are made at most, to find sessions that moved between two of them. */
const PASSES = 5;

/**
 * A session that changes its principal moves to another bucket, perhaps to one that was looked at before:
 * so there are two passes, and more while something is found.
 */
async function untilNothing(pass: () => Promise<number>): Promise<number> {
  let all = await pass();
  for (let i = 1; i < PASSES; i++) {
    const ended = await pass();
    all += ended;
    if (ended === 0) break;
  }
  return all;
}
