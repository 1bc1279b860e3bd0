import type { LoadedValue, LoadOptions } from '../../core/session-store.interface.js';
import type { SessionStoreUnavailableError } from '../../core/session.errors.js';
import type { RedisCalls } from './redis-calls.js';
import * as scripts from './redis-scripts.js';

/** Why a master refuses writes. A replica does so as well (READONLY), but it must not be read. */
const REFUSES_WRITES = new Set(['MISCONF', 'NOREPLICAS', 'OOM']);

/** Reads records, and moves their idle windows: what most requests ask for. */
export class RedisReads {
  constructor(private readonly calls: RedisCalls) {}

  async load(key: string, options: LoadOptions = {}): Promise<LoadedValue | undefined> {
    const { touch } = options;
    if (touch !== undefined) {
      const value = await this.#touched(key, touch);
      return value === null ? undefined : { value, remaining: touch };
    }
    if (options.remaining) {
      const [value, remaining] = (await this.calls.run(scripts.LOAD_REMAINING, [key])) as [
        string?,
        number?,
      ];
      return value === undefined ? undefined : { value, remaining: Number(remaining) };
    }
    const value = await this.calls.bounded(this.calls.client.get(key));
    return value === null ? undefined : { value };
  }

  async touch(key: string, ttl: number): Promise<boolean> {
    // A copy that is kept stays right: it is followed on.
    if (this.calls.isTracked) {
      return Number(await this.calls.runFollowed(scripts.TOUCH, [key], ttl)) === 1;
    }
    return Number(await this.calls.bounded(this.calls.client.pexpire(key, ttl))) === 1;
  }

  /** A server that takes no writes serves reads: then the idle window ends as it would have. */
  async #touched(key: string, touch: number): Promise<string | null> {
    try {
      if (this.calls.isTracked)
        return (await this.calls.run(scripts.LOAD_AND_TOUCH, [key], touch)) as string;
      return await this.calls.bounded(this.calls.client.getex(key, 'PX', touch));
    } catch (error) {
      if (!REFUSES_WRITES.has((error as SessionStoreUnavailableError).reason)) throw error;
      return this.calls.bounded(this.calls.client.get(key));
    }
  }
}
