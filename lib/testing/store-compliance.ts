import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import type { SessionStore } from '../core/session-store.interface.js';
import { fenceGuarantees } from './fence-guarantees.js';
import { indexGuarantees } from './index-guarantees.js';
import { newsGuarantees } from './news-guarantees.js';
import { storeGuarantees } from './store-guarantees.js';
import { outageGuarantees } from './store-outage.js';
import type { Guarantee, StoreTime, StoreToggles } from './store-proof.js';

/** The two functions of a test runner that the suite needs: those of jest, vitest, mocha and node:test fit. */
export interface StoreTestRunner {
  describe(title: string, body: () => void): unknown;
  it(title: string, body: () => Promise<void>): unknown;
}

/** What {@link describeSessionStore} works with. */
export interface SessionStoreSuiteOptions {
  runner: StoreTestRunner;
  /** A store without any session; asked for once for each test. */
  create: () => SessionStore | Promise<SessionStore>;
  /** Gives a store back after its test. @default its own `close()` */
  close?: (store: SessionStore) => void | Promise<void>;
  /**
   * Moves the clock that the store reads, in milliseconds.
   *
   * @default none: the suite lets real time pass, well under a second
   */
  advance?: (milliseconds: number) => void | Promise<void>;
  /** A store whose backend cannot be reached. @default none: outages are not tested */
  unreachable?: () => SessionStore | Promise<SessionStore>;
  toggles?: StoreToggles;
}

/**
 * The compliance suite of the {@link SessionStore} contract: every sentence of it, as tests of the
 * given runner. A store that passes can stand behind the module.
 *
 * @example
 * import { describe, it } from 'node:test';
 * describeSessionStore('PostgresSessionStore', {
 *   runner: { describe, it },
 *   create: () => new PostgresSessionStore({ table: `sessions_${randomUUID()}` }),
 * });
 */
export function describeSessionStore(name: string, options: SessionStoreSuiteOptions): void {
  const { runner, create, unreachable, toggles = {} } = options;
  const time = options.advance ? movedBy(options.advance) : realTime;
  const prove = (open: typeof create, guarantees: readonly Guarantee[]) => {
    for (const { title, proof } of guarantees) {
      runner.it(title, () => withStore(open, options.close, (store) => proof(store, time)));
    }
  };
  runner.describe(`${name} as a SessionStore`, () => {
    const fenced = fenceGuarantees(toggles.fence);
    const all = { ...storeGuarantees, ...indexGuarantees, ...newsGuarantees, ...fenced };
    for (const [topic, guarantees] of Object.entries(all)) {
      const lacked = (needs: keyof StoreToggles | undefined) => needs && toggles[needs] === false;
      const wanted = guarantees.filter(({ needs }) => !lacked(needs));
      if (wanted.length > 0) runner.describe(topic, () => prove(create, wanted));
    }
    if (unreachable) runner.describe('an outage', () => prove(unreachable, outageGuarantees));
  });
}

async function withStore(
  open: SessionStoreSuiteOptions['create'],
  close: SessionStoreSuiteOptions['close'],
  proof: (store: SessionStore) => Promise<void>,
): Promise<void> {
  const store = await open();
  try {
    await proof(store);
  } finally {
    await (close ? close(store) : store.close?.());
  }
}

function movedBy(advance: NonNullable<SessionStoreSuiteOptions['advance']>): StoreTime {
  return {
    pass: async (milliseconds) => advance(milliseconds),
    untilEnded: async (store, handle, window) => {
      await advance(window - 1);
      assert.ok(await store.load(handle), 'it ended before its window did');
      await advance(1);
    },
  };
}

/** Longest wait for a window to end, beyond the window itself. */
const PATIENCE = 5_000;
/** A backend may read its clock in whole milliseconds, and a moment before it acts. */
const COARSE = 5;

const realTime: StoreTime = {
  pass: (milliseconds) => wait(milliseconds),
  untilEnded: async (store, handle, window, startedAt) => {
    while (await store.load(handle)) {
      const waited = performance.now() - startedAt;
      assert.ok(waited < window + PATIENCE, 'it did not end when its window did');
      await wait(COARSE);
    }
    const lived = performance.now() - startedAt;
    assert.ok(lived > window - COARSE, 'it ended before its window did');
  },
};
