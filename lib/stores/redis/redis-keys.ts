import { bucketOfHandle } from '../../core/session-id.js';

/**
 * Names of keys. The bucket stands in a hash tag, so that all keys of a bucket, and with them all
 * sessions of a principal, live in one Cluster slot.
 */
export class RedisKeys {
  constructor(private readonly prefix: string) {}

  record(handle: string): string {
    return `{${this.prefix}:${bucketOfHandle(handle)}}:s:${handle}`;
  }

  /** Glob of all records; whatever the prefix has in it stands for itself. */
  get recordPattern(): string {
    return `{${this.prefix.replace(/[\\*?[\]^-]/g, '\\$&')}:??}:s:*`;
  }
}
