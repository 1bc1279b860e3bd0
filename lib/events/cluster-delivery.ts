import { setTimeout as delay } from 'node:timers/promises';
import { filter, type Subscription } from 'rxjs';
import { BUCKETS } from '../core/session-id.js';
import type { SessionEvent } from '../core/session.events.js';
import { isBehind, type Told } from '../core/store-news.interface.js';
import { callHandler, type EventHandler } from './event-handlers.js';
import { quiet } from './expiry-sweeper.js';
import { FailedBuckets } from './failed-buckets.js';
import { HeldLease } from './held-lease.js';
import { Rounds } from './rounds.js';
import type { EventSource } from './event-source.js';
import type { SessionEvents } from './session-events.js';

/** Milliseconds after which all buckets are looked at anew, whatever was heard. */
const LOOK_AGAIN = 10_000;
/** Milliseconds between two looks at the lease, and at buckets that could not be read. */
const EVERY = 1_000;
/** Buckets whose events are handled at the same time; those of one come one after the other. */
const WIDTH = 16;
/** Milliseconds after which a bucket that does not get on makes room for another. */
const SLOW = 1_000;
/** Entries of a bucket that are read at once, and events of an entry that are handled at once. */
const PAGE = 50;
/** Calls of a handler that fails, and milliseconds until the second; each further one waits twice as long. */
const CALLS = 5;
const PAUSE = 50;
/** Milliseconds that a call of a handler may take. */
const CALL_LIMIT = 60_000;
/** Milliseconds that handlers have for being done when this node goes down, and the lease for being given back. */
const PATIENCE = 4_500;
const FAREWELL = 500;

/** Who is told of trouble, and what may take how long. */
export interface ClusterDeliveryOptions {
  /** Applications with different handlers have different groups. */
  readonly group: string;
  readonly onTrouble: (error: unknown) => void;
  /** Milliseconds that a call of a handler may take. @default 60000 */
  readonly callLimit?: number;
}

/**
 * Calls handlers that are called once for all nodes: those of the node that has the lease. How far it has
 * come is written down after each step, so that another node goes on from there.
 */
export class ClusterDelivery {
  readonly #lease: HeldLease;
  readonly #rounds: Rounds;
  readonly #onFailure: (error: unknown) => void;
  /** Those in which there may be something to handle. */
  readonly #unread = new Set<string>();
  readonly #busy = new Map<string, Promise<void>>();
  readonly #failed = new FailedBuckets();
  /** Those of which it is not known whether this node has come too late for something. */
  readonly #unchecked = new Set<string>();
  readonly #warned = new Set<string>();
  #listening: Subscription | undefined;
  /** Ends with the lease. */
  #turn: AbortController | undefined;
  #taken = 0;
  #lookedAt = -Infinity;
  #triedAt = -Infinity;
  #isOver = false;

  constructor(
    private readonly source: EventSource,
    private readonly handlers: readonly EventHandler[],
    private readonly options: ClusterDeliveryOptions,
  ) {
    this.#lease = new HeldLease(source.store, `handlers:${options.group}`);
    this.#onFailure = quiet(options.onTrouble);
    this.#rounds = new Rounds(EVERY, (signal) => this.#round(signal), this.#onFailure);
  }

  start(events: SessionEvents): void {
    const ours = events.told$.pipe(filter(({ source }) => source === this.source));
    this.#listening = ours.subscribe(({ bucket }) => {
      this.#unread.add(bucket);
      if (this.#turn) this.#rounds.hurry();
    });
    this.#rounds.start();
  }

  /** What is under way is done, unless that takes too long: then another node does it again. */
  async stop(): Promise<void> {
    this.#listening?.unsubscribe();
    this.#endTurn();
    const finished = this.#rounds.stop().then(() => Promise.all(this.#busy.values()));
    await within(PATIENCE, finished);
    this.#isOver = true;
    await within(FAREWELL, this.#lease.giveBack());
  }

  async #round(signal: AbortSignal): Promise<void> {
    const isHeld = await this.#lease.isHeld().catch((error: unknown) => {
      this.#endTurn();
      throw error;
    });
    if (signal.aborted) return;
    if (!isHeld) return this.#endTurn();
    const now = performance.now();
    if (!this.#turn) this.#beginTurn();
    if (now - this.#lookedAt > LOOK_AGAIN) {
      this.#lookedAt = now;
      for (const bucket of BUCKETS) if (!this.#failed.has(bucket)) this.#unread.add(bucket);
    }
    if (now - this.#triedAt >= EVERY) {
      this.#triedAt = now;
      for (const bucket of this.#failed.few()) {
        if (!this.#busy.has(bucket)) this.#unread.add(bucket);
      }
    }
    this.#proceed();
  }

  #beginTurn(): void {
    this.#turn = new AbortController();
    this.#lookedAt = -Infinity;
    for (const bucket of BUCKETS) this.#unchecked.add(bucket);
  }

  #endTurn(): void {
    this.#turn?.abort();
    this.#turn = undefined;
    this.#unread.clear();
  }

  /** Begins with what is unread and not busy, as far as there is room. */
  #proceed(): void {
    for (const bucket of this.#unread) {
      if (!this.#turn || this.#taken >= WIDTH) return;
      if (this.#busy.has(bucket)) continue;
      this.#unread.delete(bucket);
      this.#busy.set(bucket, this.#work(bucket, this.#turn.signal));
    }
  }

  async #work(bucket: string, signal: AbortSignal): Promise<void> {
    const place = this.#takePlace();
    try {
      await this.#deliver(bucket, signal, () => place.keep());
      // Whatever was the matter with it, others may have had the same.
      if (this.#failed.delete(bucket)) this.#failed.all().forEach((one) => this.#unread.add(one));
    } catch (error) {
      this.#failed.add(bucket);
      this.#onFailure(error);
    }
    this.#busy.delete(bucket);
    place.leave();
    this.#proceed();
  }

  /** One of {@link WIDTH}, for as long as there is progress. */
  #takePlace(): { keep(): void; leave(): void } {
    let isTaken = true;
    this.#taken++;
    const leave = () => {
      if (!isTaken) return;
      isTaken = false;
      this.#taken--;
      clearTimeout(patience);
    };
    const patience = setTimeout(() => {
      leave();
      this.#proceed();
    }, SLOW).unref();
    return { keep: () => void (isTaken && patience.refresh()), leave };
  }

  async #deliver(bucket: string, signal: AbortSignal, onStep: () => void): Promise<void> {
    const { store } = this.source;
    const { group } = this.options;
    let after = await store.progress(bucket, group);
    await this.#check(bucket, after);
    for (let isMore = true; isMore;) {
      const told = await store.recall(bucket, after, PAGE);
      for (const one of told) {
        // Handlers may take their time: by now it may be the turn of another node.
        if (signal.aborted) return;
        await this.#handle(one);
        if (this.#isOver) return;
        after = one.position;
        await store.advance(bucket, group, after);
        onStep();
      }
      isMore = told.length === PAGE;
    }
  }

  /** What was forgotten before it was handled leaves no other trace. */
  async #check(bucket: string, progress: string | undefined): Promise<void> {
    if (!this.#unchecked.has(bucket)) return;
    if (progress !== undefined && !this.#warned.has(bucket)) {
      const [first] = await this.source.store.recall(bucket, undefined, 1);
      if (first && isBehind(progress, first.position)) {
        this.#warned.add(bucket);
        this.options.onTrouble(
          `events may have been missed: what bucket ${bucket} told behind ${progress} is remembered only from ${first.position} on, so handlers of once: 'cluster' may have come too late; raise events.retention`,
        );
      }
    }
    this.#unchecked.delete(bucket);
  }

  async #handle({ kind, text }: Told): Promise<void> {
    if (kind !== 'told') return;
    const events = this.source.news.read(text);
    for (let i = 0; i < events.length && !this.#isOver; i += PAGE) {
      await Promise.all(events.slice(i, i + PAGE).map((event) => this.#callAll(event)));
    }
  }

  async #callAll(event: SessionEvent): Promise<void> {
    const wanted = this.handlers.filter(({ types }) => types.includes(event.type));
    await Promise.all(wanted.map((handler) => this.#call(handler, event)));
  }

  async #call(handler: EventHandler, event: SessionEvent): Promise<void> {
    const { callLimit = CALL_LIMIT, onTrouble } = this.options;
    for (let call = 1; !(await callHandler(handler, event, callLimit)); call++) {
      if (call === CALLS) {
        onTrouble(
          `${handler.name} failed ${CALLS} times on ${event.type} (event ${event.id}), and is not called again for it`,
        );
        return;
      }
      await delay(PAUSE * 2 ** (call - 1));
      if (this.#isOver) return;
    }
  }
}

/** Waits for something, but no longer. */
async function within(patience: number, work: Promise<unknown>): Promise<void> {
  const done = new AbortController();
  const { signal } = done;
  const late = delay(patience, undefined, { signal }).catch(() => undefined);
  await Promise.race([work, late]).finally(() => done.abort());
}
