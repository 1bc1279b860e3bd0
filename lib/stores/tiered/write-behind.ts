import type { FencedSessionStore } from '../../core/fenced-store.interface.js';
import type { BehindEntry, BehindOutcome, HotCopies } from '../../core/hot-copies.interface.js';
import { bucketOfHandle, BUCKETS } from '../../core/session-id.js';
import { versionOf } from '../../core/session-record.js';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import { bringTo } from './idle-windows.js';
import type { Tier } from './tier.js';

/** Sessions taken at once, and of these brought at the same time. */
const BATCH = 100;
const AT_ONCE = 8;
/** Milliseconds until it is looked for the first time for what others have left behind. */
const FIRST_LOOK = 1_000;

/** What brings what, and how often. */
export interface WriteBehindParts {
  readonly hot: Tier<HotCopies>;
  readonly base: Tier<FencedSessionStore>;
  /** In milliseconds. */
  readonly flushEvery: number;
  /** In milliseconds: how often it is looked for what others have left behind. */
  readonly lookEvery: number;
  readonly onTrouble: (message: string) => void;
}

/** Brings to the base what was written to hot copies: by this node or, where one has ended, by another. */
export class WriteBehind {
  /** Of sessions that this node has written. */
  readonly #buckets = new Set<string>();
  readonly #timer: NodeJS.Timeout;
  #lookedAt: number;
  #flushing: Promise<void> | undefined;

  constructor(private readonly parts: WriteBehindParts) {
    this.#lookedAt = performance.now() - parts.lookEvery + FIRST_LOOK;
    this.#timer = setInterval(() => void this.#tick(), parts.flushEvery).unref();
  }

  /** The base is behind of this session. */
  wrote(handle: string): void {
    this.#buckets.add(bucketOfHandle(handle));
  }

  /** Brings what there is, whoever has written it. */
  async flush(): Promise<void> {
    await this.#flushing;
    this.#look();
    await this.#flushOnce();
  }

  /** What cannot be brought now is brought by another node, or by the next that starts. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#flushing;
    await this.#flushOnce();
  }

  #tick(): Promise<void> {
    if (performance.now() - this.#lookedAt > this.parts.lookEvery) this.#look();
    return this.#flushOnce();
  }

  #look(): void {
    this.#lookedAt = performance.now();
    for (const bucket of BUCKETS) this.#buckets.add(bucket);
  }

  #flushOnce(): Promise<void> {
    return (this.#flushing ??= this.#flush().finally(() => (this.#flushing = undefined)));
  }

  async #flush(): Promise<void> {
    const { hot, base } = this.parts;
    const due = [...this.#buckets];
    const work = async () => {
      for (let bucket = due.pop(); bucket !== undefined; bucket = due.pop()) {
        if (hot.isDown || base.isDown) return;
        this.#buckets.delete(bucket);
        const isDone = await this.drain(bucket).catch((error: unknown) => this.#failed(error));
        if (!isDone) this.#buckets.add(bucket);
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, work));
  }

  /** Brings what there is of one bucket; `false` if there is more to do than can be done now. */
  async drain(bucket: string): Promise<boolean> {
    const { hot } = this.parts;
    for (;;) {
      const entries = await hot.ask((copies) => copies.take(bucket, BATCH));
      const outcomes: BehindOutcome[] = [];
      for (const entry of entries) outcomes.push({ entry, became: await this.#bring(entry) });
      await hot.ask((copies) => copies.done(bucket, outcomes));
      if (outcomes.some(({ became }) => became === 'again')) return false;
      if (entries.length < BATCH) return true;
    }
  }

  async #bring({ handle, newest }: BehindEntry): Promise<BehindOutcome['became']> {
    if (!newest) return 'brought';
    try {
      if (await this.parts.base.ask((base) => bringTo(base, handle, newest))) return 'brought';
      const there = await this.parts.base.ask((base) => base.load(handle));
      if (there && versionOf(there.value) === versionOf(newest.value)) return 'brought';
      return 'superseded';
    } catch (error) {
      if (error instanceof SessionStoreUnavailableError) return 'again';
      throw error;
    }
  }

  #failed(error: unknown): false {
    // An outage has been told of already.
    if (!(error instanceof SessionStoreUnavailableError)) {
      this.parts.onTrouble(
        `What was written behind could not be brought to the database, and is tried again: ${(error as Error).name}.`,
      );
    }
    return false;
  }
}
