import { LRUCache } from 'lru-cache';
import type { Clock } from '../../core/clock.js';
import { bucketOfHandle } from '../../core/session-id.js';
import { countOf } from '../../core/session-record.js';
import type { NearRead, SessionCopy, StoredValue } from '../../core/session-store.interface.js';

/** How much is kept, and for how long. */
export interface NearCopiesOptions {
  readonly maxEntries: number;
  /** As estimated: see {@link bytesOf}. */
  readonly maxBytes: number;
  /** Milliseconds after which a copy counts no more, whatever is heard of it. */
  readonly maxAge: number;
  readonly clock: Clock;
}

/** What is kept of a session. */
export interface NearCopy extends SessionCopy {
  readonly value: StoredValue;
  /** When it was asked for, by the clock of the process. */
  readonly at: number;
  /** When its idle window ends, in milliseconds since the epoch; `undefined`: it was not told. */
  until: number | undefined;
  /** The count that whoever asked the store for it had seen. */
  readonly floor: number;
  readonly generation: number;
}

/** What a copy is made of. */
export type CopyParts = Pick<NearCopy, 'value' | 'at' | 'until' | 'floor'>;

/** Copies of sessions on this node, bounded by number, bytes and age. */
export class NearCopies {
  readonly #copies: LRUCache<string, NearCopy>;
  /** Of each bucket: copies from before sessions of it were ended, nobody knows which, are none. */
  readonly #generations = new Map<string, number>();

  constructor(private readonly options: NearCopiesOptions) {
    this.#copies = new LRUCache({
      max: options.maxEntries,
      maxSize: options.maxBytes,
      sizeCalculation: ({ value }) => bytesOf(value),
    });
  }

  get size(): number {
    return this.#copies.size;
  }

  get bytes(): number {
    return this.#copies.calculatedSize;
  }

  /** A copy that will do for a read; `'behind'`: its client has seen a newer one. */
  find(handle: string, { atLeast = 0, until = 0 }: NearRead): NearCopy | 'behind' | undefined {
    const copy = this.#copies.get(handle);
    if (!copy) return undefined;
    const isCurrent = copy.generation === this.#generationOf(handle);
    const isYoung = performance.now() - copy.at <= this.options.maxAge;
    const lives = Math.max(until, copy.until ?? 0) > this.options.clock.now();
    if (!isCurrent || !isYoung || !lives) {
      this.#copies.delete(handle);
      return undefined;
    }
    return isBehind(copy, atLeast) ? 'behind' : copy;
  }

  /** When the idle window of a session ends, as far as a copy tells. */
  untilOf(handle: string): number | undefined {
    return this.#copies.peek(handle)?.until;
  }

  /** Keeps a copy; not in the place of a newer one. */
  keep(handle: string, { value, at, until, floor }: CopyParts): NearCopy {
    const known = this.#copies.peek(handle);
    const generation = this.#generationOf(handle);
    const isSame = known?.value === value;
    const copy: NearCopy = {
      value,
      at,
      until,
      floor: floor || (isSame ? known.floor : 0),
      record: undefined,
      generation,
    };
    if (known && countOf(known.value) > countOf(value)) return copy;
    this.#copies.set(handle, copy);
    return copy;
  }

  /** The idle window of a session was started anew. */
  extend(handle: string, until: number): void {
    const copy = this.#copies.peek(handle);
    if (copy) copy.until = until;
  }

  /** `true` if there was one. */
  drop(handle: string): boolean {
    return this.#copies.delete(handle);
  }

  /** Sessions of a bucket were ended. */
  dropBucket(bucket: string): void {
    this.#generations.set(bucket, (this.#generations.get(bucket) ?? 0) + 1);
  }

  clear(): void {
    this.#copies.clear();
  }

  #generationOf(handle: string): number {
    return this.#generations.get(bucketOfHandle(handle)) ?? 0;
  }
}

/**
 * Whether there is more than this, as far as a client tells that has seen so much. Not if the store was asked for just that:
 * a failover or a restored backup has lost it then. More than that is not concluded: the next write may count less again.
 */
export const isBehind = (
  { value, floor }: Pick<NearCopy, 'value' | 'floor'>,
  atLeast: number,
): boolean => countOf(value) < atLeast && atLeast !== floor;

/** Of a copy with what it was decoded to: measured as 1.3 times the text as it is, 1.8 decoded, and a fixed part. */
const bytesOf = (value: StoredValue): number => 2 * value.length + 600;
