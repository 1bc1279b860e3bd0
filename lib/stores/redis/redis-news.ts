import type { News, NewsKind } from '../../core/news.interface.js';
import type { Place } from '../../core/session-places.js';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import type {
  AwaitedSample,
  Hearing,
  StoreNews,
  Sweep,
  Told,
} from '../../core/store-news.interface.js';
import type { RedisCalls } from './redis-calls.js';
import type { RedisKeys } from './redis-keys.js';
import { RedisListener } from './redis-listener.js';
import * as sources from './redis-news-scripts.js';
import { script, type RedisScript } from './redis-script.js';

const SWEEP = script(sources.SWEEP_SOURCE);
const CALL = script(sources.CALL_SOURCE);
const LEASE = script(sources.LEASE_SOURCE);
const RELEASE = script(sources.RELEASE_SOURCE);
const ADVANCE = script(sources.ADVANCE_SOURCE);
const REHEARSE = script(sources.REHEARSE_SOURCE);
const RECALL = script(sources.RECALL_SOURCE);
const SAMPLE = script(sources.SAMPLE_SOURCE);
const AWAITED_IN = script(sources.AWAITED_IN_SOURCE);

const NEEDS_RIGHTS =
  'events need further rights for the user of Redis, see docs/stores.md; or leave the option `events` out';

/** Sessions that one sweep looks at: Redis answers others in between. */
const SWEPT_AT_ONCE = 200;
/** Sessions of a place at which it is looked whether they are awaited; of more it is estimated, in at most some ms. */
const LOOKED_AT = 20;
/** Milliseconds that booting waits until what is told is heard. */
const LISTEN_PATIENCE = 1_000;
/** Milliseconds for which the progress of a group is kept, at least. */
const PROGRESS_KEPT = 7 * 86_400_000;

/** What a change means for who is told of, and awaited. */
export interface Telling {
  readonly news: News;
  readonly bucket: string;
  /** Whom the message is about. */
  readonly subject?: string;
  /** Whose end is awaited from now on, and when that is; without a time: as before. */
  readonly awaited?: string | undefined;
  readonly ttl?: number | undefined;
  /** Whose end is awaited no more. */
  readonly dropped?: string | undefined;
}

type Argument = string | number;
type Four = [number, number, number, number];
const KINDS: readonly string[] = ['told', 'provisional', 'withdrawn'] satisfies NewsKind[];

/** What Redis is told, and tells: in scripts, streams and sorted sets beside the sessions. */
export class RedisNews implements StoreNews {
  readonly #listeners: RedisListener[] = [];

  constructor(
    private readonly calls: RedisCalls,
    private readonly keys: RedisKeys,
    /** For how long it is remembered what was told, in milliseconds. */
    readonly retention: number,
  ) {}

  /** A change that is told, as it is sent. */
  told(
    change: RedisScript,
    keys: readonly string[],
    args: readonly Argument[],
    { news, bucket, subject, awaited, ttl, dropped }: Telling,
  ): [script: RedisScript, keys: string[], args: Argument[]] {
    const { message = '', kind = 'told', notice = '', gaveWay = '' } = news;
    const what = [message, kind, subject ?? '', notice];
    const whom = [awaited ?? '', ttl ?? '', dropped ?? '', gaveWay];
    const all = [...args, ...this.#way(bucket), ...what, ...whom];
    return [change.telling ?? change, [...keys, ...this.#keysOf(bucket)], all];
  }

  async listen(hearing: Hearing): Promise<void> {
    await this.#rehearse();
    const { calls, keys, retention } = this;
    const recall: RedisNews['recall'] = (...args) => this.recall(...args);
    const listener = new RedisListener({ calls, keys, retention, recall }, hearing);
    this.#listeners.push(listener);
    await listener.start(LISTEN_PATIENCE).catch(() => {
      throw new SessionStoreUnavailableError('NOPERM', NEEDS_RIGHTS, true);
    });
  }

  close(): void {
    for (const one of this.#listeners) one.close();
  }

  async sweep(bucket: string, message: string): Promise<Sweep> {
    const args = [...this.#way(bucket), message, SWEPT_AT_ONCE, 'x'];
    const reply = await this.calls.run(SWEEP, this.#keysOf(bucket), ...args);
    const [ended, looked, waiting, lag] = (reply as number[]).map(Number) as Four;
    return { ended, more: looked === SWEPT_AT_ONCE, waiting, lag };
  }

  async sample(bucket: string, limit: number): Promise<AwaitedSample> {
    const keys = [this.keys.due(bucket), this.keys.notices(bucket)];
    const [waiting, ...parts] = (await this.calls.run(SAMPLE, keys, limit)) as unknown[];
    const sessions = Array.from({ length: parts.length / 2 }, (_, i) => {
      return { handle: String(parts[2 * i]), notice: String(parts[2 * i + 1]) };
    });
    return { waiting: Number(waiting), sessions };
  }

  async awaitedIn(bucket: string, places: readonly Place[]): Promise<number[]> {
    const keys = [this.keys.due(bucket), ...places.map((one) => this.keys.place(bucket, one))];
    return ((await this.calls.run(AWAITED_IN, keys, LOOKED_AT)) as unknown[]).map(Number);
  }

  async recall(bucket: string, after: string | undefined, limit: number): Promise<Told[]> {
    const reply = await this.calls.run(RECALL, [this.keys.told(bucket)], after ?? '', limit);
    const parts = (reply as unknown[]).map(String);
    return Array.from({ length: parts.length / 3 }, (_, i) => {
      const [position, kind, text] = parts.slice(3 * i, 3 * i + 3) as [string, string, string];
      return { position, kind: (KINDS.includes(kind) ? kind : 'withdrawn') as NewsKind, text };
    });
  }

  async call(bucket: string, text: string): Promise<void> {
    const [channel, how] = this.#way(bucket);
    await this.calls.run(CALL, [this.keys.told(bucket)], channel, how, text);
  }

  async lease(name: string, holder: string, ttl: number): Promise<boolean> {
    return Number(await this.calls.run(LEASE, [this.keys.lease(name)], holder, ttl)) === 1;
  }

  async release(name: string, holder: string): Promise<void> {
    await this.calls.run(RELEASE, [this.keys.lease(name)], holder);
  }

  async progress(bucket: string, group: string): Promise<string | undefined> {
    const key = this.keys.progress(bucket, group);
    return (await this.calls.bounded(this.calls.client.get(key))) ?? undefined;
  }

  async advance(bucket: string, group: string, position: string): Promise<void> {
    const kept = Math.max(PROGRESS_KEPT, 2 * this.retention);
    await this.calls.run(ADVANCE, [this.keys.progress(bucket, group)], position, kept);
  }

  /** @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) if the server refuses what telling needs */
  async #rehearse(): Promise<void> {
    try {
      // A bucket that there is not: nobody's stream is touched.
      const [channel, how] = this.#way('--');
      await this.calls.run(REHEARSE, this.#keysOf('--'), channel, how);
    } catch (error) {
      const { reason, answered } = error as SessionStoreUnavailableError;
      // Inside of a script a refusal is an error like any other.
      if (!answered || !['NOPERM', 'ERR'].includes(reason)) return;
      throw new SessionStoreUnavailableError(reason, NEEDS_RIGHTS, answered);
    }
  }

  /** Where it is published, and how; and for how long it is remembered. */
  #way(bucket: string): [channel: string, how: string, retention: number] {
    const { prefix, isSharded } = this.calls;
    return isSharded
      ? [prefix + this.keys.told(bucket), 'SPUBLISH', this.retention]
      : [prefix + this.keys.channel, 'PUBLISH', this.retention];
  }

  #keysOf(bucket: string): string[] {
    return [this.keys.due(bucket), this.keys.notices(bucket), this.keys.told(bucket)];
  }
}
