import { setImmediate } from 'node:timers/promises';
import type { Clock } from '../../core/clock.js';
import type { News, NewsKind } from '../../core/news.interface.js';
import { bucketOfHandle } from '../../core/session-id.js';
import { lineOf } from '../../core/session-news.js';
import {
  isBehind,
  type AwaitedSample,
  type Hearing,
  type StoreNews,
  type Sweep,
  type Told,
} from '../../core/store-news.interface.js';

/** What is told of a session; when it ended, if that is known already. */
interface Known {
  notice: string;
  endedAt?: number;
}

interface Kept extends Told {
  readonly at: number;
}

/** Sessions that one sweep looks at. */
const SWEEP = 1_000;

/** What a process tells itself of its sessions. */
export class MemoryNews implements StoreNews {
  readonly #known = new Map<string, Map<string, Known>>();
  readonly #told = new Map<string, Kept[]>();
  readonly #progress = new Map<string, string>();
  readonly #hearings = new Set<Hearing>();
  #count = 0;

  constructor(
    private readonly clock: Clock,
    /** For how long it is remembered what was told, in milliseconds. */
    private readonly retention: number,
    /** When a session ended; `undefined` while it lives. */
    private readonly endOf: (handle: string) => number | undefined,
  ) {}

  async listen(hearing: Hearing): Promise<void> {
    this.#hearings.add(hearing);
  }

  async call(_bucket: string, text: string): Promise<void> {
    for (const hearing of this.#hearings) hearing.called(text);
  }

  /** A session was stored, or changed. */
  changed(handle: string, news: News | undefined): void {
    if (news?.notice !== undefined) this.#of(handle).set(handle, { notice: news.notice });
    this.#tell(news, [handle]);
  }

  /** A session goes on under another handle. */
  moved(handle: string, { goesOnAs = handle, ...news }: News): void {
    const { notice = '' } = news;
    if (goesOnAs !== handle) this.#of(handle).delete(handle);
    this.#say(news.message, news.kind, bucketOfHandle(handle), [
      lineOf(goesOnAs, undefined, notice),
    ]);
  }

  /** Sessions of one bucket have ended. */
  ended(handles: readonly string[], news: News | undefined): void {
    this.#tell(news, handles);
    for (const handle of handles) this.#of(handle).delete(handle);
  }

  /** The time of a session is over; that is told later. */
  expired(handle: string, endedAt: number): void {
    const known = this.#known.get(bucketOfHandle(handle))?.get(handle);
    if (known) known.endedAt = endedAt;
  }

  /** Tells of sessions that live no more. */
  async sweep(bucket: string, message: string): Promise<Sweep> {
    const over: string[] = [];
    const now = this.clock.now();
    let [looked, lag] = [0, 0];
    for (const [handle, { notice, endedAt }] of this.#known.get(bucket) ?? []) {
      const end = endedAt ?? this.endOf(handle);
      if (end === undefined) continue;
      over.push(lineOf(handle, end, notice));
      lag = Math.max(lag, now - end);
      this.#of(handle).delete(handle);
      if (++looked === SWEEP) break;
    }
    if (over.length > 0) this.#say(message, undefined, bucket, over);
    const waiting = this.#known.get(bucket)?.size ?? 0;
    return { ended: over.length, more: looked === SWEEP, waiting, lag };
  }

  /** All that are awaited: that is no more work than a sweep. Others have their turn before each bucket. */
  async sample(bucket: string): Promise<AwaitedSample> {
    await setImmediate();
    const known = Array.from(this.#known.get(bucket) ?? [], ([handle, { notice }]) => ({
      handle,
      notice,
    }));
    return { waiting: known.length, sessions: known };
  }

  async recall(bucket: string, after: string | undefined, limit: number): Promise<Told[]> {
    const told = this.#told.get(bucket) ?? [];
    const isLater = ({ position }: Told) => after === undefined || isBehind(after, position);
    return told.filter(isLater).slice(0, limit);
  }

  /** Nobody else could have it. */
  async lease(): Promise<boolean> {
    return true;
  }

  async release(): Promise<void> {}

  async progress(bucket: string, group: string): Promise<string | undefined> {
    return this.#progress.get(`${bucket} ${group}`);
  }

  async advance(bucket: string, group: string, position: string): Promise<void> {
    const key = `${bucket} ${group}`;
    const at = this.#progress.get(key);
    if (at === undefined || isBehind(at, position)) this.#progress.set(key, position);
  }

  #tell(news: News | undefined, handles: readonly string[]): void {
    const [first] = handles;
    if (first === undefined || !news) return;
    const lines = handles.map((handle) =>
      lineOf(handle, undefined, this.#of(handle).get(handle)?.notice),
    );
    this.#say(news.message, news.kind, bucketOfHandle(first), lines);
  }

  #say(
    message: string | undefined,
    kind: NewsKind = 'told',
    bucket: string,
    lines: string[],
  ): void {
    if (message === undefined) return;
    const text = [message, ...lines].join('\n');
    const at = this.clock.now();
    const kept = (this.#told.get(bucket) ?? []).filter((one) => at - one.at < this.retention);
    const position = `${at}-${++this.#count}`;
    this.#told.set(bucket, [...kept, { position, kind, text, at }]);
    if (kind !== 'told') return;
    for (const hearing of this.#hearings) hearing.told(text, bucket);
  }

  #of(handle: string): Map<string, Known> {
    const bucket = bucketOfHandle(handle);
    let known = this.#known.get(bucket);
    if (!known) this.#known.set(bucket, (known = new Map()));
    return known;
  }
}
