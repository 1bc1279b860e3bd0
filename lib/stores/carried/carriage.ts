import type { CarriedContext, SessionCarriage } from '../../core/carried-store.interface.js';
import type { RejectionListener, RejectionReason } from '../../core/rejection.js';
import type { PlaceInBucket, RevocationList } from '../../core/revocation-list.interface.js';
import { handleOf, isLasting } from '../../core/session-id.js';
import { decodeRecord, kindOf, LIVE, versionOf } from '../../core/session-record.js';
import type {
  CreateOptions,
  LoadedValue,
  LoadOptions,
  SaveOptions,
  SaveOutcome,
  StoredValue,
} from '../../core/session-store.interface.js';
import type { StoreAbilities } from '../../core/store-abilities.js';
import { SessionStoreCannotError, SessionTooLargeError } from '../../core/session.errors.js';
import {
  isBeginning,
  latestEndOf,
  lifeOfNote,
  placesAround,
  toldEndOf,
  type BroughtToken,
  type CarriedForm,
  type KnownEpochs,
} from './carried-content.js';
import { mustTake, notMoved, takesAny, type Recipient } from './handing-out.js';
import { largestParts } from './largest-parts.js';

/** What is noted of a handle whose session was ended. Of a renewed one it is the pointer to where it went. */
export const ENDED = 'x';

/** What a carriage works with. */
export interface CarriageParts {
  readonly form: CarriedForm;
  readonly context: CarriedContext;
  /** `undefined`: nothing can be revoked. */
  readonly list: RevocationList | undefined;
  readonly abilities: Partial<StoreAbilities>;
}

/** What came with a request, and what may be done with it. */
export interface Brought extends Recipient {
  readonly token: BroughtToken | undefined;
  readonly refused: RejectionReason | undefined;
}

interface Entry {
  value: StoredValue;
  until: number;
  epochs: KnownEpochs;
  /** It came with the request: it may have been revoked since it was handed out. */
  asks: boolean;
}

/**
 * The store of one request: what its client has brought, and is to take away. A session lives here as in any
 * store, under its handle; each write makes the token that goes back with the answer.
 */
export class Carriage implements SessionCarriage {
  readonly abilities: Partial<StoreAbilities>;
  readonly id: string | undefined;
  #idInForce: () => string | undefined = () => this.id;
  #onRejected: RejectionListener | undefined;
  readonly #entries = new Map<string, Entry>();
  readonly #tokens = new Map<string, string>();
  #token: BroughtToken | undefined;
  /** What is known of the places where the session stood before it was written: also that no epoch began. */
  #known: ReadonlyMap<string, string | undefined> = new Map();

  constructor(
    private readonly parts: CarriageParts,
    private readonly brought: Brought,
  ) {
    this.abilities = parts.abilities;
    this.#token = brought.token;
    this.id = brought.token?.id;
  }

  serve(idInForce: () => string | undefined, onRejected?: RejectionListener): void {
    this.#idInForce = idInForce;
    this.#onRejected = onRejected;
    if (this.brought.refused) onRejected?.(this.brought.refused);
  }

  tokenOf(handle: string): string | undefined {
    return this.#tokens.get(handle);
  }

  async load(handle: string, options: LoadOptions = {}): Promise<LoadedValue | undefined> {
    const stale = await this.#unpack();
    const entry = this.#live(handle);
    if (!entry) return undefined;
    const pointer = entry.asks && (await this.#revoked(handle, entry));
    if (pointer === true) return undefined;
    if (pointer) return { value: pointer };
    const { touch } = options;
    if (touch !== undefined && !takesAny(this.brought))
      return { ...this.#told(entry, options), moving: notMoved() };
    if (touch !== undefined) entry.until = this.#untilOf(handle, entry.value, touch);
    if (touch !== undefined || stale) await this.#handOutAgain(handle, entry);
    return this.#told(entry, options);
  }

  async create(handle: string, value: StoredValue, { ttl }: CreateOptions): Promise<boolean> {
    mustTake(this.brought);
    const before = this.#live(handle);
    if (before) return before.value === value;
    const epochs = await this.#epochsFor(handle, value);
    const entry = { value, until: this.#untilOf(handle, value, ttl), epochs, asks: false };
    const token = await this.#tokenFor(handle, entry);
    mustTake(this.brought);
    const meanwhile = this.#live(handle);
    if (meanwhile) return meanwhile.value === value;
    this.#put(handle, entry, token);
    return true;
  }

  async save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome> {
    const { expected, ttl } = options;
    await this.#unpack();
    mustTake(this.brought);
    if (kindOf(value) !== LIVE) return this.#leave(handle, value, options);
    const before = this.#judge(handle, value, expected);
    if ('status' in before) return before;
    const until = ttl === undefined ? before.until : this.#untilOf(handle, value, ttl);
    const entry = { ...before, value, until };
    const token = await this.#tokenFor(handle, entry);
    mustTake(this.brought);
    const meanwhile = this.#judge(handle, value, expected);
    if ('status' in meanwhile) return meanwhile;
    this.#put(handle, entry, token);
    return { status: 'saved' };
  }

  async touch(handle: string, ttl: number): Promise<boolean> {
    await this.#unpack();
    const entry = this.#live(handle);
    if (!entry || !takesAny(this.brought)) return false;
    entry.until = this.#untilOf(handle, entry.value, ttl);
    await this.#handOutAgain(handle, entry);
    return true;
  }

  /** @throws SessionStoreCannotError if the client cannot be told any more, and there is no list to tell */
  async delete(handle: string): Promise<StoredValue | undefined> {
    await this.#unpack();
    const entry = this.#live(handle);
    if (entry && !this.parts.list) mustTake(this.brought);
    this.#drop(handle);
    const noted = await this.#note(handle, ENDED, entry?.value);
    // It goes on under another id: that one is to end.
    return noted === undefined || noted === ENDED ? entry?.value : noted;
  }

  count(): Promise<number> {
    return Promise.reject(new SessionStoreCannotError(NOT_COUNTED));
  }

  async ping(): Promise<void> {
    await this.parts.list?.ping();
  }

  /** What came is read when it is first asked for; `true` if it was made with a key on its way out. */
  async #unpack(): Promise<boolean> {
    const token = this.#token;
    if (!token) return false;
    const opened = await token.open(this.#now);
    if (this.#token !== token) return false;
    this.#token = undefined;
    if (!opened) this.#onRejected?.('malformed');
    if (!opened || opened === 'expired') return false;
    const { id, value, epochs, stale } = opened;
    const handle = handleOf(id);
    const until = Math.min(opened.until, this.#endOf(handle, value));
    this.#entries.set(handle, { value, until, epochs, asks: true });
    return stale;
  }

  /** `true`: it was ended. A value: where its id leads. `false`: it lives. */
  async #revoked(handle: string, entry: Entry): Promise<StoredValue | boolean> {
    const { list } = this.parts;
    if (!list) return false;
    const places = placesAround(handle, entry.value);
    const { entry: noted, epochs } = await list.ask(handle, places);
    if (noted !== undefined) return this.#ledOn(handle, entry, noted);
    const known = new Map<string, string | undefined>();
    for (const [i, at] of places.entries()) {
      const [epoch, except] = epochs[i]?.split(' ') ?? [];
      const before = entry.epochs[keyOf(at)];
      if (epoch !== undefined && before !== epoch && except !== handle) {
        this.#drop(handle);
        return true;
      }
      // Under another id it is nobody's exception any more.
      known.set(keyOf(at), epoch ?? before);
    }
    this.#known = known;
    entry.epochs = epochsOf(known);
    return false;
  }

  /** Requests in flight go on under the id that others of the client have got, with what they have brought. */
  #ledOn(handle: string, entry: Entry, noted: string): StoredValue | true {
    this.#drop(handle);
    const record = noted === ENDED ? undefined : decodeRecord(noted);
    if (record?.kind !== 'retired') return true;
    if (!record.privileged) this.#entries.set(record.successor, entry);
    return noted;
  }

  /** What is left at an id that was renewed: who still has it is told by the list. */
  async #leave(
    handle: string,
    pointer: StoredValue,
    { expected }: SaveOptions,
  ): Promise<SaveOutcome> {
    const before = this.#judge(handle, pointer, expected);
    if ('status' in before) return before;
    const noted = await this.#note(handle, pointer, before.value);
    this.#drop(handle);
    if (noted === undefined || noted === pointer) return { status: 'saved' };
    // Another request was first: what that has noted stays.
    await this.#note(handle, noted, before.value);
    const ledOn = this.#ledOn(handle, before, noted);
    return ledOn === true ? { status: 'gone' } : { status: 'conflict', current: ledOn };
  }

  /** What a write finds, or what becomes of it. */
  #judge(handle: string, value: StoredValue, expected: string): Entry | SaveOutcome {
    const entry = this.#live(handle);
    if (!entry) return { status: 'gone' };
    const current = versionOf(entry.value);
    if (current === versionOf(value)) return { status: 'saved' };
    return current === expected ? entry : { status: 'conflict', current: entry.value };
  }

  /**
   * That others were ended before a login does not end what it begins. What goes on knows what it knew: were it
   * asked anew, it would outlive what ends it just now.
   */
  async #epochsFor(handle: string, value: StoredValue): Promise<KnownEpochs> {
    const { list } = this.parts;
    if (!list) return {};
    const before = isBeginning(value) ? NOTHING : this.#known;
    const places = placesAround(handle, value);
    const unknown = places.filter((at) => !before.has(keyOf(at)));
    const { epochs } = unknown.length > 0 ? await list.ask(handle, unknown) : { epochs: [] };
    const known = new Map(places.map((at) => [keyOf(at), before.get(keyOf(at))]));
    for (const [i, at] of unknown.entries()) known.set(keyOf(at), epochs[i]?.split(' ', 1)[0]);
    this.#known = known;
    return epochsOf(known);
  }

  #live(handle: string): Entry | undefined {
    const entry = this.#entries.get(handle);
    if (entry && entry.until <= this.#now) this.#drop(handle);
    return this.#entries.get(handle);
  }

  #put(handle: string, entry: Entry, token: string | undefined): void {
    this.#entries.set(handle, entry);
    if (token !== undefined) this.#tokens.set(handle, token);
  }

  #drop(handle: string): void {
    this.#entries.delete(handle);
    this.#tokens.delete(handle);
  }

  /** @param value what may be in the hands of others: it may live longer than sessions of this node */
  async #note(handle: string, entry: string, value = ''): Promise<string | undefined> {
    const longest = Math.max(this.#longestLifeOf(handle), toldEndOf(value) - this.#now);
    return this.parts.list?.note(handle, entry, lifeOfNote(longest));
  }

  #longestLifeOf(handle: string): number {
    return this.parts.context.longestLife(isLasting(handle));
  }

  #endOf(handle: string, value: StoredValue): number {
    return latestEndOf(value, this.#longestLifeOf(handle));
  }

  #untilOf(handle: string, value: StoredValue, ttl: number): number {
    return Math.min(this.#now + ttl, this.#endOf(handle, value));
  }

  #told({ value, until }: Entry, { remaining }: LoadOptions): LoadedValue {
    return remaining ? { value, remaining: until - this.#now } : { value };
  }

  /** Nobody has changed it: if the limit was lowered since, what the client has will do. */
  async #handOutAgain(handle: string, entry: Entry): Promise<void> {
    if (!takesAny(this.brought)) return;
    try {
      const token = await this.#tokenFor(handle, entry);
      if (token !== undefined) this.#tokens.set(handle, token);
    } catch (error) {
      if (!(error instanceof SessionTooLargeError)) throw error;
    }
  }

  /** @throws SessionTooLargeError (`SESSION_TOO_LARGE`) with what takes the most room */
  async #tokenFor(handle: string, { value, until, epochs }: Entry): Promise<string | undefined> {
    const id = this.#idInForce();
    // A trace of somebody who acts as another: nobody carries it.
    if (kindOf(value) !== LIVE || id === undefined || handleOf(id) !== handle) return undefined;
    const { form, context } = this.parts;
    const token = await form.write({ id, value, until, epochs }, this.#now);
    if (token.length <= context.capacity) return token;
    const largest = largestParts(value, context.codec);
    throw new SessionTooLargeError(token.length, context.capacity, largest, REMEDY);
  }

  get #now(): number {
    return this.parts.context.clock.now();
  }
}

const NOTHING: ReadonlyMap<string, string | undefined> = new Map();

const keyOf = ({ bucket, place }: PlaceInBucket): string => bucket + place;

/** Those that there are: of most places none ever began. */
const epochsOf = (known: ReadonlyMap<string, string | undefined>): KnownEpochs =>
  Object.fromEntries([...known].filter((one): one is [string, string] => one[1] !== undefined));

const REMEDY = 'raise "maxChunks", or keep sessions in a store on the server';

/** Why there is no number, and what to do instead. */
export const NOT_COUNTED =
  'clients carry their sessions, and nobody knows how many there are; use a store on the server, or count logins';
