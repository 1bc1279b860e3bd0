import { bucketOfHandle } from '../../core/session-id.js';
import type { Place } from '../../core/session-places.js';

/**
 * Names of keys. The bucket stands in a hash tag, so that all keys of a bucket, and with them all
 * sessions of a principal, live in one Cluster slot.
 */
export class RedisKeys {
  constructor(private readonly prefix: string) {}

  record(handle: string): string {
    return `{${this.prefix}:${bucketOfHandle(handle)}}:s:${handle}`;
  }

  /**
   * The handle of a record's key as the server names it; `undefined` if it is none of these.
   *
   * @param before what the client puts in front of every key
   */
  handleOf(key: string, before: string): string | undefined {
    const at = key.lastIndexOf(':') + 1;
    const handle = key.slice(at);
    const isRecord = at > 0 && key === before + this.record(handle);
    return isRecord ? handle : undefined;
  }

  /** A sorted set of handles. */
  place(bucket: string, place: Place): string {
    return `{${this.prefix}:${bucket}}:${place}`;
  }

  /** What stood in a place when somebody began to end it all. */
  ending(bucket: string, place: Place): string {
    return `${this.place(bucket, place)}:ending`;
  }

  /** A sorted set of handles by when their sessions are due to end. */
  due(bucket: string): string {
    return `{${this.prefix}:${bucket}}:x`;
  }

  /** A hash: what is told of each session that is awaited. */
  notices(bucket: string): string {
    return `{${this.prefix}:${bucket}}:n`;
  }

  /** A stream of what was told lately; also the name of the channel, where each bucket has its own. */
  told(bucket: string): string {
    return `{${this.prefix}:${bucket}}:e`;
  }

  /** Up to where a group has dealt with that. */
  progress(bucket: string, group: string): string {
    return `{${this.prefix}:${bucket}}:h:${group}`;
  }

  /** Who does something that one node does at a time. */
  lease(name: string): string {
    return `{${this.prefix}:lease}:${name}`;
  }

  /** Where all of it is published, if not in a channel for each bucket. */
  get channel(): string {
    return `${this.prefix}:events`;
  }

  /** Glob of all records; whatever the prefix has in it stands for itself. */
  get recordPattern(): string {
    return this.#pattern('s:*');
  }

  /** Glob of all places of an index. */
  indexPattern(index: string): string {
    return this.#pattern(`${index}:*`);
  }

  /** Bucket and place of a key. */
  placeOf(key: string): { bucket: string; place: Place } {
    const start = this.prefix.length + 2;
    const place = key.slice(start + 4).replace(/:ending$/, '');
    return { bucket: key.slice(start, start + 2), place };
  }

  #pattern(rest: string): string {
    return `{${this.prefix.replace(/[\\*?[\]^-]/g, '\\$&')}:??}:${rest}`;
  }
}
