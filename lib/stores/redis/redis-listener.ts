import { setTimeout as delay } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { BUCKETS } from '../../core/session-id.js';
import type { Hearing, Told } from '../../core/store-news.interface.js';
import type { RedisCalls } from './redis-calls.js';
import { RedisLine } from './redis-line.js';
import type { RedisKeys } from './redis-keys.js';

/** What listening needs. */
export interface RedisListenerParts {
  readonly calls: RedisCalls;
  readonly keys: RedisKeys;
  readonly retention: number;
  readonly recall: (bucket: string, after: string, limit: number) => Promise<Told[]>;
}

/** A channel, and the buckets that are told of in it. */
interface Topic {
  readonly channel: string;
  readonly buckets: readonly string[];
  /** Where it is heard. */
  line?: RedisLine | undefined;
  /** While it is caught up what was missed, what is heard waits. */
  waiting: string[] | undefined;
}

/** Milliseconds until it is tried again to hear a channel, or to catch up; and where the server has refused. */
const AGAIN = 100;
const AGAIN_REFUSED = 5_000;
/** What a server says that does not let this user hear, or nobody. */
const REFUSES = /^NOPERM|unknown command/i;
/** What was told shortly before a silence is read once more: clocks of servers differ. */
const OVERLAP = 5_000;
const RECALLED_AT_ONCE = 1_000;
/** Texts that are known when they come a second time. */
const RECENT = 20_000;

/**
 * Hears what Redis tells, over connections of its own; in a Cluster whose servers can, each bucket in a
 * channel of its own where it is (sharded), so that no node passes on what others have told. After a silence
 * it catches up from what is written down.
 */
export class RedisListener {
  readonly #topics: readonly Topic[];
  readonly #lines = new Map<string, RedisLine>();
  readonly #recent = new LRUCache<string, true>({ max: RECENT });
  readonly #positions = new Map<string, { readonly position: string; readonly at: number }>();
  #since = '0-0';
  #isClosed = false;
  /** Since then a refusal ends nothing: the right may be given back. */
  #isStarted = false;
  /** The server lets this user hear nothing. */
  #refusal: Error | undefined;
  /** All channels are heard, and nothing that was told waits. */
  #hearsAll = true;

  constructor(
    private readonly parts: RedisListenerParts,
    private readonly hearing: Hearing,
  ) {
    const { calls, keys } = parts;
    this.#topics = calls.isSharded
      ? BUCKETS.map((one) => topic(calls.prefix + keys.told(one), [one]))
      : [topic(calls.prefix + keys.channel, BUCKETS)];
  }

  /**
   * Resolves when all is heard, or after some time: then it is tried on.
   *
   * @throws Error what the server said, if it has refused until then: nothing is tried any more
   */
  async start(patience: number): Promise<void> {
    const begun = performance.now();
    for (const one of this.#topics) one.waiting = [];
    this.#tellWhetherAllIsHeard();
    const hearing = this.#begin(begun, patience);
    await Promise.race([hearing, delay(patience, undefined, { ref: false })]);
    this.#isStarted = true;
    if (this.#refusal) throw this.#refusal;
  }

  /** Whoever begins late has missed what was told since, and says so. */
  async #begin(begun: number, patience: number): Promise<void> {
    const { calls } = this.parts;
    const asked = await calls.earliestTime();
    await this.#hear(this.#topics);
    if (this.#isClosed) return;
    // With a server that was not there nothing was missed.
    const since = asked ?? (await calls.earliestTime()) ?? 0;
    this.#since = `${since}-0`;
    const duration = Math.ceil(performance.now() - begun);
    if (duration >= patience) return this.#resume(this.#topics, duration);
    this.#topics.forEach((one) => this.#release(one));
    this.#tellWhetherAllIsHeard();
  }

  close(): void {
    this.#isClosed = true;
    for (const line of this.#lines.values()) line.close();
  }

  /** Goes on until the channels are heard. */
  async #hear(topics: readonly Topic[]): Promise<void> {
    await Promise.all(
      topics.map(async (one) => {
        while (!this.#isClosed) {
          const again = await this.#subscribe(one);
          if (again === 0) break;
          await delay(again * (0.5 + Math.random()), undefined, { ref: false });
        }
      }),
    );
  }

  /** @returns milliseconds after which to try again; 0: it is heard */
  async #subscribe(one: Topic): Promise<number> {
    try {
      const line = this.#line(await this.parts.calls.whereIs(one.channel));
      await line.subscribe(one.channel);
      one.line = line;
      return 0;
    } catch (error) {
      if (!REFUSES.test((error as Error).message)) return AGAIN;
      this.#refused(error as Error);
      return AGAIN_REFUSED;
    }
  }

  /** At the start it is the end; later it is told once, and tried on. */
  #refused(error: Error): void {
    const isKnown = this.#refusal !== undefined;
    this.#refusal = error;
    if (!this.#isStarted) this.close();
    else if (!isKnown && !this.#isClosed) this.hearing.refused?.();
  }

  #tellWhetherAllIsHeard(): void {
    const all = this.#topics.every((one) => one.line !== undefined && one.waiting === undefined);
    if (all) this.#refusal = undefined;
    if (all === this.#hearsAll) return;
    this.#hearsAll = all;
    this.hearing.hears?.(all);
  }

  #line(address: string): RedisLine {
    let line = this.#lines.get(address);
    if (!line) {
      line = new RedisLine(this.parts.calls.rawClient, address, this.parts.calls.isSharded, {
        heard: (channel, payload) => this.#heard(channel, payload),
        lost: (channels, silent) => void this.#lost(line!, channels, silent),
      });
      this.#lines.set(address, line);
    }
    return line;
  }

  /** A connection ended, or a channel moved: nothing was heard since, and perhaps for a while before. */
  async #lost(line: RedisLine, channels: readonly string[], silent: number): Promise<void> {
    const lost = this.#topics.filter((one) => one.line === line && channels.includes(one.channel));
    if (line.isClosed && this.#lines.get(line.address) === line) this.#lines.delete(line.address);
    if (lost.length === 0 || this.#isClosed) return;
    const begun = performance.now() - silent;
    for (const one of lost) {
      one.line = undefined;
      one.waiting ??= [];
    }
    this.#tellWhetherAllIsHeard();
    await this.#hear(lost);
    await this.#resume(lost, performance.now() - begun);
  }

  async #resume(lost: readonly Topic[], silent: number): Promise<void> {
    const from = performance.now() - silent;
    const found = await Promise.all(lost.map((one) => this.#catchUp(one)));
    if (this.#isClosed) return;
    const duration = Math.ceil(performance.now() - from);
    const complete = duration < this.parts.retention && found.every(Boolean);
    this.#tellWhetherAllIsHeard();
    this.hearing.missed({ duration, complete });
  }

  /** Reads what was told meanwhile, then what was heard while it did so. */
  async #catchUp(one: Topic): Promise<boolean> {
    let complete = true;
    while (!this.#isClosed) {
      try {
        const found = await Promise.all(one.buckets.map((bucket) => this.#recall(bucket)));
        complete = found.every(Boolean);
        break;
      } catch {
        await delay(AGAIN * 5, undefined, { ref: false });
      }
    }
    // It was lost again: whoever has noticed goes on from here, and tells of it.
    if (one.line) this.#release(one);
    return complete;
  }

  #release(one: Topic): void {
    const { waiting = [] } = one;
    one.waiting = undefined;
    for (const payload of waiting) this.#take(payload);
  }

  /** `false` if the server does not remember what it told last: then it has lost more. */
  async #recall(bucket: string): Promise<boolean> {
    const { position: last, at = 0 } = this.#positions.get(bucket) ?? {};
    // What was told long ago need not be remembered.
    const age = performance.now() - at;
    let isKnown = last === undefined || age > this.parts.retention - OVERLAP;
    let after = earlier(last ?? this.#since);
    for (;;) {
      const told = await this.parts.recall(bucket, after, RECALLED_AT_ONCE);
      for (const { position, kind, text } of told) {
        isKnown ||= position === last;
        if (kind === 'told') this.#deliver(bucket, position, text);
        after = position;
      }
      if (told.length < RECALLED_AT_ONCE) return isKnown;
    }
  }

  #heard(channel: string, payload: string): void {
    const one = this.#topics.length === 1 ? this.#topics[0] : this.#byChannel.get(channel);
    if (one?.waiting) one.waiting.push(payload);
    else this.#take(payload);
  }

  get #byChannel(): ReadonlyMap<string, Topic> {
    return (this.#channels ??= new Map(this.#topics.map((one) => [one.channel, one])));
  }
  #channels: ReadonlyMap<string, Topic> | undefined;

  #take(payload: string): void {
    if (payload[0] === '!') return this.hearing.called(payload.slice(1));
    const [head, bucket, position] = /^([0-9a-f]{2})(\d{1,15}-\d{1,20}) /.exec(payload) ?? [];
    if (head === undefined) return;
    this.#deliver(bucket as string, position as string, payload.slice(head.length));
  }

  #deliver(bucket: string, position: string, text: string): void {
    const key = bucket + position;
    if (position !== '0-0') {
      if (this.#recent.has(key)) return;
      this.#recent.set(key, true);
      this.#positions.set(bucket, { position, at: performance.now() });
    }
    this.hearing.told(text, bucket);
  }
}

const topic = (channel: string, buckets: readonly string[]): Topic => ({
  channel,
  buckets,
  waiting: undefined,
});

const earlier = (position: string): string =>
  `${Math.max(0, Number(position.split('-', 1)[0]) - OVERLAP)}-0`;
