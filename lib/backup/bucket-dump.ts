import { placesOf, sinceOf } from '../core/session-draft.js';
import { BUCKETS, bucketOfHandle } from '../core/session-id.js';
import {
  decodeHead,
  decodeRecord,
  kindOf,
  LIVE,
  type RetiredRecord,
} from '../core/session-record.js';
import { VERSION_LENGTH } from '../core/session-store.interface.js';
import { isWhole, type BackupEntry } from './backup-format.js';
import { HandleFilter } from './handle-filter.js';
import type { BucketGlob, NamedPlace, ReadRecord, RedisRoom } from './redis-room.js';
import { onceSettled, settledWalks, type IsBucket } from './settled-walk.js';
import type { SlotMap } from './slot-map.js';

/** Records, or places, that are asked for at once: what Redis does for others in between is not delayed by more. */
const AT_ONCE = 100;
/** Renewals of one session that are followed. */
const MOST_HOPS = 1_000;

/** Where a handle stands, as its places say. */
interface Standing {
  readonly places: Set<string>;
  since: number;
  placesEnd: number;
}

const EVERY: BucketGlob = '??';

/** What a dump does with what it finds. */
export interface DumpOptions {
  /** How many there are going to be, once that is known. */
  readonly onFound?: ((count: number) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Some of the buckets, session by session, each as it is at one moment and with where it stands. Traffic goes
 * on: what begins meanwhile may be missing, what ends may be there.
 *
 * Places are looked up by name only after all handles are known, and read before the records. So a session
 * that is found alive has stood in its places all the while, and no key is needed to know in which: the
 * records may be encrypted. Handles and places of a bucket count only if its slot stayed where it was meanwhile.
 */
export class BucketDump {
  /** What was handed on. */
  readonly #known = new HandleFilter();
  #successors = new Set<string>();
  #leftOut = 0;

  /** @param since renewals from then on may have taken a session past this dump, by the clock of Redis */
  constructor(
    private readonly room: RedisRoom,
    private readonly since: number,
  ) {}

  /** Records that are damaged, or none: they count as absent, and would make the backup one that is. */
  get leftOut(): number {
    return this.#leftOut;
  }

  /** Sessions that somebody has begun by logging in just now, as far as they were not handed on. */
  takeSuccessors(): ReadonlySet<string> {
    const taken = new Set([...this.#successors].filter((handle) => !this.#known.has(handle)));
    this.#successors = new Set();
    return taken;
  }

  async *all(buckets: BucketGlob, options: DumpOptions = {}): AsyncGenerator<BackupEntry> {
    const { room } = this;
    const find: Find = async (isWanted, masters) => {
      const handles = new Set<string>();
      for await (const handle of room.handles(buckets, masters)) {
        if (isWanted(bucketOfHandle(handle))) handles.add(handle);
      }
      return handles;
    };
    yield* this.#dump({ buckets, among: new Set(BUCKETS.filter(isIn(buckets))), find }, options);
  }

  /** These, in whatever buckets they and their places are. */
  async *some(
    handles: ReadonlySet<string>,
    options: DumpOptions = {},
  ): AsyncGenerator<BackupEntry> {
    const all = new Set(handles);
    for (const handle of handles) for (const one of await this.#renewalsOf(handle)) all.add(one);
    const find: Find = async (isWanted) =>
      new Set([...all].filter((handle) => isWanted(bucketOfHandle(handle))));
    const among = new Set([...all].map(bucketOfHandle));
    yield* this.#dump({ buckets: EVERY, among, find, onlyThese: true }, options);
  }

  /** What is on its way from one master to another is taken when it has arrived. */
  async *#dump(task: Task, options: DumpOptions): AsyncGenerator<BackupEntry> {
    const { onFound, signal } = options;
    const walks = settledWalks(this.room, task.among, async (isWanted, masters, isFirst) => {
      const handles = await task.find(isWanted, masters);
      if (isFirst) onFound?.(handles.size);
      signal?.throwIfAborted();
      const part = { ...task, handles, isWanted, masters };
      const { standings, ending } =
        handles.size > 0 ? await this.#standings(part, signal) : NOTHING_STANDS;
      return { handles, standings, ending };
    });
    for await (const { found, isSettled } of walks) {
      const { handles, standings, ending } = found;
      const settled = new Set([...handles].filter((one) => isSettled(bucketOfHandle(one))));
      yield* this.#of({ handles: settled, isSettled, standings, ending }, options);
    }
  }

  async *#of(part: Part, { signal }: DumpOptions): AsyncGenerator<BackupEntry> {
    const { handles, standings, ending } = part;
    // Bucket by bucket: so they are restored.
    const all = [...handles].sort();
    for (let at = 0; at < all.length; at += AT_ONCE) {
      signal?.throwIfAborted();
      const page = all.slice(at, at + AT_ONCE).filter((handle) => !ending.has(handle));
      const records = await Promise.all(page.map((handle) => this.#read(handle)));
      for (const [i, record] of records.entries()) {
        if (!record) continue;
        const handle = page[i] as string;
        yield* this.#entryOf(handle, record, standings.get(handle));
        yield* this.#goneOn(handle, record, part);
      }
    }
  }

  #read(handle: string): Promise<ReadRecord | undefined> {
    const bucket = bucketOfHandle(handle);
    return onceSettled(this.room, bucket, () => this.room.read(handle, bucket));
  }

  /**
   * What came of a session whose id was renewed after the handles were looked up. At once: it may be renewed
   * again and again. It stands where it stood, unless it says itself where, or somebody has just logged in.
   */
  async *#goneOn(
    handle: string,
    from: ReadRecord,
    { handles, isSettled, standings }: Part,
  ): AsyncGenerator<BackupEntry> {
    let record = from;
    let standing = standings.get(handle);
    for (let hops = 0; hops < MOST_HOPS; hops++) {
      const pointer = this.#recentPointer(record);
      if (!pointer) return;
      const { successor } = pointer;
      if (handles.has(successor) || this.#known.has(successor)) return;
      const isOurs = isSettled(bucketOfHandle(successor));
      const next = isOurs ? await this.#read(successor) : undefined;
      if (isOurs && !next) return;
      if (!next || (isLogin(pointer) && !headerOf(next))) {
        this.#successors.add(successor);
        return;
      }
      record = next;
      // Its places were read one after the other, and it was renewed in between.
      standing = both(standing, standings.get(successor));
      yield* this.#entryOf(successor, record, standing);
    }
  }

  /** Under which handles a session of the same user went on. */
  async #renewalsOf(handle: string): Promise<string[]> {
    const found: string[] = [];
    for (let at = handle; found.length < MOST_HOPS;) {
      const record = await this.#read(at);
      const pointer = record && this.#recentPointer(record);
      if (!pointer || isLogin(pointer)) break;
      at = pointer.successor;
      found.push(at);
    }
    return found;
  }

  *#entryOf(handle: string, record: ReadRecord, standing?: Standing): Generator<BackupEntry> {
    this.#known.add(handle);
    const entry = wholeEntryOf(handle, record, standing);
    if (entry) yield entry;
    else this.#leftOut++;
  }

  #recentPointer({ value }: ReadRecord): RetiredRecord | undefined {
    const record = kindOf(value) === LIVE ? undefined : readable(value);
    return record?.kind === 'retired' && record.until >= this.since ? record : undefined;
  }

  async #standings(
    { handles, buckets, isWanted, masters, onlyThese = false }: Looking,
    signal?: AbortSignal,
  ): Promise<Stood> {
    const standings = new Map<string, Standing>();
    const ending = new Set<string>();
    const look = async (named: NamedPlace) => {
      const { entries, end } = await this.room.standing(named);
      for (const [handle, since] of entries) {
        if (onlyThese && !handles.has(handle)) continue;
        if (named.isEnding) ending.add(handle);
        else standAlso(standings, handle, { place: named.place, since, end });
      }
    };
    // SCAN may tell a place twice, and to look twice does no harm.
    for await (const page of pagesOf(this.room.places(buckets, masters))) {
      signal?.throwIfAborted();
      await Promise.all(page.filter(({ bucket }) => isWanted(bucket)).map(look));
    }
    return { standings, ending };
  }
}

async function* pagesOf<T>(all: AsyncIterable<T>): AsyncGenerator<T[]> {
  let page: T[] = [];
  for await (const one of all) {
    if (page.push(one) < AT_ONCE) continue;
    yield page;
    page = [];
  }
  yield page;
}

/** Whether a bucket is one of these. */
const isIn = (buckets: BucketGlob): IsBucket => {
  const pattern = new RegExp(`^${buckets.replaceAll('?', '.')}$`);
  return (bucket) => pattern.test(bucket);
};

/** Handles in those of the buckets that are wanted. */
type Find = (isWanted: IsBucket, masters: SlotMap['masters']) => Promise<ReadonlySet<string>>;

/** What to dump. */
interface Task {
  /** Where handles and their places are looked for. */
  readonly buckets: BucketGlob;
  /** Those of them that matter. */
  readonly among: ReadonlySet<string>;
  readonly find: Find;
  /** Others that stand there are many, and do not matter. */
  readonly onlyThese?: boolean;
}

/** Handles of which it is looked up where they stand. */
interface Looking extends Task {
  readonly handles: ReadonlySet<string>;
  readonly isWanted: IsBucket;
  readonly masters: SlotMap['masters'];
}

/** Where handles stand, and which of them somebody is ending. */
interface Stood {
  readonly standings: ReadonlyMap<string, Standing>;
  readonly ending: ReadonlySet<string>;
}

const NOTHING_STANDS: Stood = { standings: new Map(), ending: new Set() };

/** Handles of which all is known but their records. */
interface Part extends Stood {
  readonly handles: ReadonlySet<string>;
  readonly isSettled: IsBucket;
}

function standAlso(
  standings: Map<string, Standing>,
  handle: string,
  { place, since, end }: { place: string; since: number; end: number },
): void {
  const known = standings.get(handle);
  if (!known) {
    standings.set(handle, { places: new Set([place]), since, placesEnd: end });
    return;
  }
  known.places.add(place);
  known.placesEnd = Math.max(known.placesEnd, end);
}

const both = (one?: Standing, other?: Standing): Standing | undefined =>
  one && other
    ? {
        places: new Set([...one.places, ...other.places]),
        since: other.since,
        placesEnd: Math.max(one.placesEnd, other.placesEnd),
      }
    : (other ?? one);

/** Nothing for what a restore would refuse. */
function wholeEntryOf(handle: string, record: ReadRecord, standing?: Standing) {
  if (!isReadable(record)) return undefined;
  try {
    const entry = entryOf(handle, record, standing);
    return isWhole(entry) ? entry : undefined;
  } catch {
    // Whoever has damaged its header has left something there that names no places.
    return undefined;
  }
}

/** What can be read says itself where it belongs, as of the same moment. */
function entryOf(handle: string, record: ReadRecord, standing?: Standing): BackupEntry {
  const { value, end, notice } = record;
  const header = headerOf(record);
  const standsIn = [...(standing?.places ?? [])];
  // A pointer may have been a session a moment ago, and stays only where pointers stand.
  const places = kindOf(value) === LIVE ? standsIn : standsIn.filter((one) => one.startsWith('o:'));
  return {
    handle,
    value,
    end,
    places: header ? placesOf(header) : places,
    since: header ? sinceOf(header) : (standing?.since ?? 0),
    placesEnd: Math.max(end, standing?.placesEnd ?? 0, header?.absoluteEnd ?? 0),
    notice,
  };
}

/** Nothing where it is encrypted. */
const headerOf = ({ value }: ReadRecord) => decodeHead(value.split('\n', 1)[0] as string);

/** Nobody was logged in under the id before. */
const isLogin = ({ privileged, ofPrincipal }: RetiredRecord): boolean => privileged && !ofPrincipal;

function readable(value: string) {
  try {
    return decodeRecord(value);
  } catch {
    // It was written by a newer version.
    return undefined;
  }
}

/** As nodes would read it. Of what is encrypted only the shape is seen. */
function isReadable({ value }: ReadRecord): boolean {
  const isSealed = kindOf(value) === LIVE && value[VERSION_LENGTH + 1] === '*';
  return isSealed ? value.includes('\n') : readable(value) !== undefined;
}
