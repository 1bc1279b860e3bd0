import { LRUCache } from 'lru-cache';
import type { Clock } from '../../core/clock.js';
import type {
  PlaceInBucket,
  RevocationAnswer,
  RevocationList,
} from '../../core/revocation-list.interface.js';

interface Noted {
  readonly text: string;
  readonly until: number;
}

/** What was ended, in this process, for tests and development: other nodes do not know it, and a restart forgets it. */
export class MemoryRevocations implements RevocationList {
  readonly #noted: LRUCache<string, Noted>;

  constructor(
    private readonly clock: Clock,
    mostEntries = 100_000,
  ) {
    this.#noted = new LRUCache({ max: mostEntries });
  }

  async ask(handle: string, places: readonly PlaceInBucket[]): Promise<RevocationAnswer> {
    return { entry: this.#textOf(handle), epochs: places.map((at) => this.#textOf(keyOf(at))) };
  }

  async note(handle: string, entry: string, ttl: number): Promise<string | undefined> {
    const before = this.#textOf(handle);
    this.#noted.set(handle, { text: entry, until: this.clock.now() + ttl });
    return before;
  }

  async begin(at: PlaceInBucket, epoch: string, ttl: number): Promise<void> {
    this.#noted.set(keyOf(at), { text: epoch, until: this.clock.now() + ttl });
  }

  async ping(): Promise<void> {}

  #textOf(key: string): string | undefined {
    const noted = this.#noted.get(key);
    return noted && noted.until > this.clock.now() ? noted.text : undefined;
  }
}

const keyOf = ({ bucket, place }: PlaceInBucket): string => `${bucket} ${place}`;
