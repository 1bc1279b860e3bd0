import { bucketOfHandle } from '../../core/session-id.js';
import type { Place } from '../../core/session-places.js';
import type { Standing } from '../../core/session-store.interface.js';

/** Which handles stand in which places of which buckets. */
export class MemoryPlaces {
  readonly #places = new Map<string, Map<string, number>>();

  enter(handle: string, { places, since }: Standing): void {
    for (const place of places) {
      const key = keyOf(bucketOfHandle(handle), place);
      let standing = this.#places.get(key);
      if (!standing) this.#places.set(key, (standing = new Map()));
      standing.set(handle, since);
    }
  }

  leave(handle: string, places: readonly Place[]): void {
    for (const place of places) {
      const key = keyOf(bucketOfHandle(handle), place);
      const standing = this.#places.get(key);
      standing?.delete(handle);
      if (standing?.size === 0) this.#places.delete(key);
    }
  }

  /** Handles of a place with what they are sorted by, oldest first. */
  in(bucket: string, place: Place): { handle: string; since: number }[] {
    const standing = this.#places.get(keyOf(bucket, place)) ?? new Map<string, number>();
    return Array.from(standing, ([handle, since]) => ({ handle, since })).sort(
      (a, b) => a.since - b.since || (a.handle < b.handle ? -1 : 1),
    );
  }

  of(index: string): { bucket: string; place: Place }[] {
    const places = Array.from(this.#places.keys(), (key) => ({
      bucket: key.slice(0, 2),
      place: key.slice(3),
    }));
    return places.filter(({ place }) => place.startsWith(`${index}:`));
  }
}

const keyOf = (bucket: string, place: Place): string => `${bucket}:${place}`;
