import { describe, expect, it } from '@jest/globals';
import { MemorySessionStore } from 'nestjs-distributed-session';
import { describeSessionStore, FakeClock } from 'nestjs-distributed-session/testing';
import type { StoredValue } from '../../lib/core/session-store.interface.js';

/** Runs the guarantees of a fence over a store, and tells which it objects to. */
async function objectionsTo(Store: typeof MemorySessionStore, fence?: boolean): Promise<string[]> {
  const clock = new FakeClock();
  const tests: [title: string, body: () => Promise<void>][] = [];
  let topic = '';
  describeSessionStore('a store', {
    runner: {
      describe: (title, body) => {
        topic = title;
        body();
      },
      it: (title, body) => topic.startsWith('a fence') && tests.push([title, body]),
    },
    create: () => new Store(clock, { maxSessions: 100 }),
    advance: (milliseconds) => clock.advance(milliseconds),
    toggles: { fence },
  });
  const objections: string[] = [];
  for (const [title, body] of tests) await body().catch(() => objections.push(title));
  return objections;
}

/** One broken promise each. */
const defects: Record<string, [store: typeof MemorySessionStore, objection: RegExp]> = {
  'revives by what is brought': [
    class extends MemorySessionStore {
      override async bring(handle: string, value: StoredValue, ttl: number) {
        if (await this.load(handle)) return super.bring(handle, value, ttl);
        return this.create(handle, value, { ttl });
      }
    },
    /never creates/,
  ],
  'takes whatever is brought': [
    class extends MemorySessionStore {
      override async bring(handle: string, value: StoredValue, ttl: number) {
        const before = await this.delete(handle);
        return before !== undefined && this.create(handle, value, { ttl });
      }
    },
    /older or as new/,
  ],
  'takes only what follows at once': [
    class extends MemorySessionStore {
      override async bring(handle: string, value: StoredValue, ttl: number) {
        const expected = (await this.load(handle))?.value ?? '';
        if (parseInt(value, 16) !== parseInt(expected.slice(0, 8), 16) + 1) return false;
        return super.bring(handle, value, ttl);
      }
    },
    /whatever came in between/,
  ],
  'leaves the window as it was': [
    class extends MemorySessionStore {
      override async bring(handle: string, value: StoredValue) {
        const remaining = (await this.load(handle, { remaining: true }))?.remaining;
        return super.bring(handle, value, remaining ?? 0);
      }
    },
    /starts the window anew/,
  ],
  'does not tell whom it ended': [
    class extends MemorySessionStore {
      override async endIn(...args: Parameters<MemorySessionStore['endIn']>) {
        const { ended, pointers } = await super.endIn(...args);
        return { ended, pointers };
      }
    },
    /endIn tells the handles/,
  ],
  'tells only sessions that it ended': [
    class extends MemorySessionStore {
      override async endIn(...args: Parameters<MemorySessionStore['endIn']>) {
        const told = await super.endIn(...args);
        return { ...told, handles: told.handles?.slice(0, told.ended) };
      }
    },
    /endIn tells the handles/,
  ],
};

/** Has no fence, as most stores. */
class Unfenced extends MemorySessionStore {
  constructor(...args: ConstructorParameters<typeof MemorySessionStore>) {
    super(...args);
    Object.assign(this, { bring: undefined });
  }
}

describe('what the compliance suite says of a fence', () => {
  it('is nothing where it is sound', async () => {
    expect(await objectionsTo(MemorySessionStore, true)).toEqual([]);
  });

  it.each(Object.entries(defects))(
    'is right about a store that %s',
    async (_, [store, objection]) => {
      const objections = await objectionsTo(store);
      expect(objections.join('\n')).toMatch(objection);
    },
  );

  it('is nothing where there is none, unless there has to be', async () => {
    expect(await objectionsTo(Unfenced)).toEqual([]);
    expect((await objectionsTo(Unfenced, true)).length).toBeGreaterThan(4);
  });
});
