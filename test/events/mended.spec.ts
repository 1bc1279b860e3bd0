import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { Inject, Injectable, Scope } from '@nestjs/common';
import { setTimeout as delay } from 'node:timers/promises';
import {
  OnSessionEvent,
  SessionOptionsError,
  SessionService,
  SessionStoreUnavailableError,
  type SessionEvent,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { bucketName, bucketOf, BUCKETS } from '../../lib/core/session-id.js';
import { SessionNews } from '../../lib/core/session-news.js';
import { SessionRecords } from '../../lib/core/session-records.js';
import { ClusterDelivery } from '../../lib/events/cluster-delivery.js';
import type { EventHandler } from '../../lib/events/event-handlers.js';
import { ExpirySweeper } from '../../lib/events/expiry-sweeper.js';
import { HeldLease } from '../../lib/events/held-lease.js';
import { SessionEvents } from '../../lib/events/session-events.js';
import { MemoryNews } from '../../lib/stores/memory/memory-news.js';
import { Latch, until } from '../support/app.js';
import { Opened } from '../support/opened.js';

const RETENTION = 10_000;

/** A store of several masters, some of which may not answer for as long as they have. */
class Masters extends MemoryNews {
  readonly silent = new Set<string>();
  /** How often one was waited for in vain. */
  vain = 0;
  patience = 0;

  override sweep = async (...args: Parameters<MemoryNews['sweep']>) => {
    await this.#answer(args[0]);
    return super.sweep(...args);
  };

  override progress = async (...args: Parameters<MemoryNews['progress']>) => {
    await this.#answer(args[0]);
    return super.progress(...args);
  };

  async #answer(bucket: string): Promise<void> {
    if (!this.silent.has(bucket)) return;
    this.vain++;
    if (this.patience > 0) await delay(this.patience);
    throw new SessionStoreUnavailableError('test');
  }
}

const handleIn = (bucket: string) => bucket.padEnd(45, 'x');

/** A node, without the application around it. */
class Node {
  readonly clock = new FakeClock();
  readonly over = new Set<string>();
  readonly store = new Masters(this.clock, RETENTION, (handle) =>
    this.over.has(handle) ? this.clock.now() : undefined,
  );
  readonly news = new SessionNews({
    clock: this.clock,
    records: new SessionRecords(),
    modified: false,
  });
  readonly source = {
    store: this.store,
    news: this.news,
    retention: RETENTION,
    whereIs: async () => undefined,
  };
  readonly events = new SessionEvents();
  readonly trouble: unknown[] = [];
  readonly heard: SessionEvent[] = [];
  readonly onTrouble = (error: unknown) => void this.trouble.push(error);

  async start(): Promise<this> {
    await this.events.listenTo(this.source);
    this.events.events$.subscribe((event) => this.heard.push(event));
    return this;
  }

  begin(handle: string): void {
    this.store.changed(handle, { message: this.news.message(['created']), notice: '{}' });
  }

  deliver(call: EventHandler['call'], callLimit?: number): ClusterDelivery {
    const handler: EventHandler = { name: 'Test.call', types: ['created'], once: 'cluster', call };
    const options = { group: 'test', onTrouble: this.onTrouble, ...(callLimit && { callLimit }) };
    const delivery = new ClusterDelivery(this.source, [handler], options);
    delivery.start(this.events);
    return delivery;
  }
}

const opened = new Opened();
afterEach(opened.close, 60_000);

const closing = <T extends { stop(): Promise<void> }>(one: T): T => {
  opened.add({ close: () => one.stop() });
  return one;
};

describe('a handler of once: "cluster" that hangs', () => {
  const start = async () => {
    const latch = new Latch();
    const called: string[] = [];
    @Injectable()
    class Handlers {
      @OnSessionEvent('authenticated', { once: 'cluster' })
      async mail({ principal = '' }: SessionEvent) {
        called.push(principal);
        if (principal.startsWith('slow')) await latch.wait();
      }
    }
    const session = { store: 'memory', events: true } as const;
    const app = await opened.app({ adapter: 'express', session, providers: [Handlers] });
    const sessions = app.app.get(SessionService);
    return { app, sessions, called, latch };
  };

  it('delays only the events of its own bucket, however many there are', async () => {
    const { sessions, called, latch } = await start();
    const slow = Array.from({ length: 40 }, (_, i) => `slow-${i}`);
    const taken = new Set(slow.map(bucketOf));
    const quick = ['alice', 'bob', 'carol'].filter((name) => !taken.has(bucketOf(name)));
    expect(quick.length).toBeGreaterThan(0);
    for (const principal of slow) await sessions.create({ principal });
    await until('they hang', () => called.length === taken.size, { within: 10_000 });
    for (const principal of quick) await sessions.create({ principal });
    await until('the others are served', () => quick.every((name) => called.includes(name)));
    await sessions.create({ principal: 'slow-0' });
    await delay(300);
    expect(called.filter((name) => name === 'slow-0')).toHaveLength(1);
    latch.open();
    // What was told while its bucket was busy is taken up as soon as that is free.
    await until('the second', () => called.filter((name) => name === 'slow-0').length === 2);
  }, 30_000);

  it('keeps an application from closing for five seconds at most', async () => {
    const { app, sessions, called } = await start();
    await sessions.create({ principal: 'slow' });
    await until('it hangs', () => called.length === 1);
    const begun = performance.now();
    await app.close();
    opened.drop(app);
    expect(performance.now() - begun).toBeLessThan(6_000);
  }, 30_000);

  it('counts as failed after its time, and is called again', async () => {
    const node = await new Node().start();
    let calls = 0;
    const after: string[] = [];
    const handle = handleIn('00');
    const next = `${handle.slice(0, -1)}y`;
    closing(
      node.deliver((event) => {
        if (event.handle === next) return void after.push(next);
        calls++;
        return new Promise<void>(() => undefined);
      }, 20),
    );
    node.begin(handle);
    node.begin(next);
    await until('it is given up', () => after.length > 0);
    expect(calls).toBe(5);
    expect(node.trouble).toEqual([expect.stringMatching(/Test.call failed 5 times on created/)]);
  });

  it('writes nothing down any more when its node has gone', async () => {
    const node = await new Node().start();
    const latch = new Latch();
    const delivery = node.deliver(() => latch.wait());
    node.begin(handleIn('00'));
    await latch.reached;
    await delivery.stop();
    latch.open();
    await delay(50);
    expect(await node.store.progress('00', 'test')).toBeUndefined();
  }, 30_000);
});

describe('a master that does not answer', () => {
  it('does not keep the sessions of others from being told of when they end', async () => {
    const node = await new Node().start();
    node.store.patience = 20;
    for (const bucket of BUCKETS.slice(0, 85)) node.store.silent.add(bucket);
    for (const bucket of ['00', 'ff']) node.begin(handleIn(bucket));
    for (const bucket of ['00', 'ff', 'fe']) node.over.add(handleIn(bucket));
    closing(new ExpirySweeper(node.source, { every: 20, onTrouble: node.onTrouble })).start();
    const ends = () => node.heard.filter(({ type }) => type === 'expired');
    await until('the end that can be read', () => ends().length === 1);
    // Nor are they held up by it each time anew: it is asked for a few.
    const before = node.store.vain;
    node.begin(handleIn('fe'));
    await until('the next end', () => ends().length === 2);
    expect(node.store.vain - before).toBeLessThan(20);
    node.store.silent.clear();
    await until('the end that could not be read', () => ends().length === 3);
    expect(node.trouble).toEqual([]);
  });

  it('does not keep handlers from being called for others, and is asked again', async () => {
    const node = await new Node().start();
    for (const bucket of BUCKETS.slice(0, 85)) node.store.silent.add(bucket);
    const called: unknown[] = [];
    const ofBoth = [handleIn('00'), handleIn('ff')];
    ofBoth.forEach((handle) => node.begin(handle));
    closing(node.deliver(({ handle }) => called.push(handle)));
    await until('the one that can be read', () => called.length > 0, { within: 3_000 });
    expect(called).toEqual([handleIn('ff')]);
    node.store.silent.clear();
    await until('the other', () => called.length === 2, { within: 3_000 });
    expect(new Set(called)).toEqual(new Set(ofBoth));
    expect(node.trouble).toEqual([]);
  });

  it('has no lease held that was given back', async () => {
    jest.useFakeTimers();
    try {
      const answer = new Latch();
      let asked = 0;
      const lease = async () => {
        asked++;
        await answer.wait();
        return true;
      };
      const held = new HeldLease({ lease, release: async () => undefined }, 'test');
      const asking = held.isHeld();
      await held.giveBack();
      answer.open();
      expect(await asking).toBe(false);
      expect(await held.isHeld()).toBe(false);
      expect(asked).toBe(1);
      expect(jest.getTimerCount()).toBe(0);
    } finally {
      jest.useRealTimers();
    }
  });
});

describe('what was forgotten before it was handled', () => {
  const bucket = bucketName(7);
  const tellTwice = async (between: number) => {
    const node = await new Node().start();
    node.begin(handleIn(bucket));
    const [first] = await node.store.recall(bucket, undefined, 1);
    await node.store.advance(bucket, 'test', first!.position);
    node.begin(handleIn(bucket));
    node.clock.advance(between);
    node.begin(handleIn(bucket));
    return node;
  };

  it('is warned of, once for each bucket', async () => {
    const node = await tellTwice(RETENTION);
    const called: unknown[] = [];
    const delivery = closing(node.deliver((event) => called.push(event)));
    await until('what is left', () => called.length === 1);
    const warning = expect.stringMatching(/bucket 07 .*raise events\.retention/);
    expect(node.trouble).toEqual([warning]);
    node.clock.advance(RETENTION);
    node.begin(handleIn(bucket));
    await until('the next', () => called.length === 2);
    await delivery.stop();
    expect(node.trouble).toHaveLength(1);
  });

  it('is not warned of where all is remembered', async () => {
    const node = await tellTwice(RETENTION - 1);
    const called: unknown[] = [];
    closing(node.deliver((event) => called.push(event)));
    await until('all that was not handled', () => called.length === 2);
    expect(node.trouble).toEqual([]);
  });
});

describe('@OnSessionEvent', () => {
  const listening = (scope: Scope) => {
    @Injectable({ scope })
    class Listener {
      @OnSessionEvent('created')
      hear() {}
    }
    return Listener;
  };
  const ofRequest = listening(Scope.REQUEST);
  @Injectable()
  class Dependent {
    constructor(@Inject(ofRequest) readonly other: object) {}
    @OnSessionEvent('created')
    listen() {}
  }
  @Injectable({ scope: Scope.REQUEST })
  class Deaf {}
  @Injectable()
  class Indirect {
    constructor(@Inject(Deaf) readonly other: object) {}
    @OnSessionEvent('created')
    hear() {}
  }

  it.each([
    ['is made for each request', [ofRequest], ['Listener.hear']],
    ['is made for each injection', [listening(Scope.TRANSIENT)], ['Listener.hear']],
    ['depends on such a one', [Deaf, Indirect], ['Indirect.hear']],
    ['among others', [ofRequest, Dependent], ['Listener.hear', 'Dependent.listen']],
  ])('is refused at boot on what %s', async (_, providers, names) => {
    const session = { store: 'memory', events: true } as const;
    const booting = opened.app({ adapter: 'fastify', session, providers });
    const error = await booting.then(
      () => undefined,
      (reason: unknown) => reason as SessionOptionsError,
    );
    expect(error).toBeInstanceOf(SessionOptionsError);
    expect(error?.message).toMatch(/make the class.* a singleton/);
    for (const name of names) expect(error?.message).toContain(`${name} has @OnSessionEvent`);
  });
});
