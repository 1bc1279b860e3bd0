import { describe, expect, it } from '@jest/globals';
import {
  MemorySessionStore,
  SessionStoreUnavailableError,
  VERSION_LENGTH,
  type CreateOptions,
  type LoadOptions,
  type PlaceLimit,
  type PlaceRange,
  type ReplaceOptions,
  type SaveOptions,
  type SaveOutcome,
  type SessionStore,
} from 'nestjs-distributed-session';
import {
  describeSessionStore,
  FakeClock,
  type SessionStoreSuiteOptions,
} from 'nestjs-distributed-session/testing';

/** Runs the suite over a store and tells what it objects to. */
async function objectionsTo(
  open: (clock: FakeClock) => SessionStore,
  more: Partial<SessionStoreSuiteOptions> = {},
): Promise<string[]> {
  const clock = new FakeClock();
  const tests: [title: string, body: () => Promise<void>][] = [];
  describeSessionStore('a store', {
    runner: {
      describe: (_, body) => body(),
      it: (title, body) => tests.push([title, body]),
    },
    create: () => open(clock),
    advance: (milliseconds) => clock.advance(milliseconds),
    ...more,
  });
  const objections: string[] = [];
  for (const [title, body] of tests) {
    await body().catch(() => objections.push(title));
  }
  return objections;
}

const HOUR = 3_600_000;
const WINDOW = { ttl: HOUR };

/** Yields, as a store does that asks before it writes. */
const later = () => new Promise((resolve) => setImmediate(resolve));

/** Hundreds of stores are made here: none needs room for many sessions. */
const SMALL = { maxSessions: 2_000 };
const sound = (clock: FakeClock) => new MemorySessionStore(clock, SMALL);

type AdmitOptions = CreateOptions & { readonly limit: PlaceLimit };

/** One broken promise each. */
const defects: Record<string, [store: (clock: FakeClock) => SessionStore, objection: RegExp]> = {
  'counts, and then admits': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async admit(handle: string, value: string, options: AdmitOptions) {
          const { limit } = options;
          const full = (await this.countIn(handle.slice(0, 2), limit.place)) >= limit.max;
          await later();
          return super.admit(handle, value, {
            ...options,
            limit: { ...limit, max: full ? 3 : 99 },
          });
        }
      })(clock, SMALL),
    /parallel admissions/,
  ],
  'retires whom it likes': [
    (clock) =>
      new (class extends MemorySessionStore {
        override admit(handle: string, value: string, options: AdmitOptions) {
          const onLimit = options.limit.onLimit === 'reject' ? 'reject' : 'retire-oldest';
          return super.admit(handle, value, { ...options, limit: { ...options.limit, onLimit } });
        }
      })(clock, SMALL),
    /idle window/,
  ],
  'tells of saves that were not made': [
    (clock) =>
      new (class extends MemorySessionStore {
        override save(handle: string, value: string, { news, ...options }: SaveOptions) {
          this.news.changed(handle, news);
          return super.save(handle, value, options);
        }
      })(clock, SMALL),
    /tells of a save, once/,
  ],
  'forgets whom its news are about': [
    (clock) =>
      new (class extends MemorySessionStore {
        override create(handle: string, value: string, options: CreateOptions) {
          const news = options.news && { ...options.news, notice: undefined };
          return super.create(handle, value, { ...options, news });
        }
      })(clock, SMALL),
    /tells of an end/,
  ],
  'tells what is not complete': [
    (clock) =>
      new (class extends MemorySessionStore {
        override create(handle: string, value: string, options: CreateOptions) {
          const news = options.news && { ...options.news, kind: undefined };
          return super.create(handle, value, { ...options, news });
        }
      })(clock, SMALL),
    /the step that completes it/,
  ],
  'says nothing of who gives way': [
    (clock) =>
      new (class extends MemorySessionStore {
        override admit(handle: string, value: string, options: AdmitOptions) {
          const news = options.news && { ...options.news, gaveWay: undefined };
          return super.admit(handle, value, { ...options, news });
        }
      })(clock, SMALL),
    /give way/,
  ],
  'forgets sessions that nobody asks for any more': [
    (clock) => {
      const store = new MemorySessionStore(clock, SMALL);
      store.news.sweep = async () => ({ ended: 0, more: false });
      return store;
    },
    /over by time/,
  ],
  'remembers nothing of what it told': [
    (clock) => {
      const store = new MemorySessionStore(clock, SMALL);
      store.news.recall = async () => [];
      return store;
    },
    /remembers what was told/,
  ],
  'does not keep texts from one another': [
    (clock) => {
      const store = new MemorySessionStore(clock, SMALL);
      const call = store.news.call.bind(store.news);
      store.news.call = (bucket, text) => call(bucket, text.split('\n')[0] ?? '');
      return store;
    },
    /sends texts/,
  ],
  'goes back': [
    (clock) => {
      const store = new MemorySessionStore(clock, SMALL);
      const progress = new Map<string, string>();
      store.news.advance = async (bucket, group, at) => void progress.set(bucket + group, at);
      store.news.progress = async (bucket, group) => progress.get(bucket + group);
      return store;
    },
    /never goes back/,
  ],
  'forgets to leave places': [
    (clock) =>
      new (class extends MemorySessionStore {
        override save(handle: string, value: string, options: SaveOptions) {
          return super.save(handle, value, { ...options, leaves: undefined });
        }
      })(clock, SMALL),
    /moves between places/,
  ],
  'lists the oldest first': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async list(bucket: string, place: string, range: PlaceRange) {
          return (await super.list(bucket, place, range)).reverse();
        }
      })(clock, SMALL),
    /newest first/,
  ],
  'keeps the old session when it goes on under another handle': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async replace(handle: string, value: string, options: ReplaceOptions) {
          const before = (await this.load(handle))?.value ?? '';
          const outcome = await super.replace(handle, value, options);
          const expected = value.slice(0, VERSION_LENGTH);
          if (outcome.status === 'saved') await super.save(handle, before, { expected, ttl: HOUR });
          return outcome;
        }
      })(clock, SMALL),
    /goes on under another handle/,
  ],
  'ends a place one by one': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async endIn(bucket: string, place: string, except?: string) {
          const all = await this.list(bucket, place, { limit: 5_000 });
          const ended = all.filter(({ handle }) => handle !== except);
          for (const { handle } of ended) {
            await later();
            await this.delete(handle);
          }
          return { ended: ended.length, pointers: [] };
        }
      })(clock, SMALL),
    /escapes endIn/,
  ],
  'creates over what is there': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async create(handle: string, value: string, options: { ttl: number }) {
          await this.delete(handle);
          return super.create(handle, value, options);
        }
      })(clock, SMALL),
    /never overwrites/,
  ],
  'refuses a create that is sent again': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async create(handle: string, value: string, options: { ttl: number }) {
          return !(await this.load(handle)) && super.create(handle, value, options);
        }
      })(clock, SMALL),
    /create that is sent again/,
  ],
  'looks before it creates': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async create(handle: string, value: string, options: { ttl: number }) {
          const taken = await this.load(handle);
          await later();
          if (taken) return taken.value === value;
          await this.delete(handle);
          return super.create(handle, value, options);
        }
      })(clock, SMALL),
    /parallel creates/,
  ],
  'saves what is gone': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async save(handle: string, value: string, options: SaveOptions) {
          const outcome = await super.save(handle, value, options);
          if (outcome.status === 'gone') await super.create(handle, value, WINDOW);
          return outcome;
        }
      })(clock, SMALL),
    /revives nothing/,
  ],
  'saves on any version': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async save(handle: string, value: string, options: SaveOptions) {
          const expected = (await this.load(handle))?.value.slice(0, VERSION_LENGTH) ?? '';
          return super.save(handle, value, { ...options, expected });
        }
      })(clock, SMALL),
    /save on another version/,
  ],
  'compares, and then saves': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async save(handle: string, value: string, options: SaveOptions) {
          const current = (await this.load(handle))?.value;
          await later();
          if (!current?.startsWith(options.expected)) return super.save(handle, value, options);
          const expected = (await this.load(handle))?.value.slice(0, VERSION_LENGTH) ?? '';
          return super.save(handle, value, { ...options, expected });
        }
      })(clock, SMALL),
    /parallel saves/,
  ],
  'starts the window anew with every save': [
    (clock) =>
      new (class extends MemorySessionStore {
        override save(handle: string, value: string, options: SaveOptions) {
          return super.save(handle, value, { ttl: HOUR, ...options });
        }
      })(clock, SMALL),
    /keeps it without/,
  ],
  'takes its own save for a conflict when it is sent again': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async save(
          handle: string,
          value: string,
          options: SaveOptions,
        ): Promise<SaveOutcome> {
          const current = (await this.load(handle))?.value;
          if (current === value) return { status: 'conflict', current };
          return super.save(handle, value, options);
        }
      })(clock, SMALL),
    /save that is sent again/,
  ],
  'does not tell the current value': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async save(
          handle: string,
          value: string,
          options: SaveOptions,
        ): Promise<SaveOutcome> {
          const outcome = await super.save(handle, value, options);
          return outcome.status === 'conflict' ? { ...outcome, current: value } : outcome;
        }
      })(clock, SMALL),
    /save on another version/,
  ],
  'creates by touching': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async touch(handle: string, ttl: number) {
          return (await super.touch(handle, ttl)) || this.create(handle, 'x'.repeat(20), { ttl });
        }
      })(clock, SMALL),
    /absent to every verb/,
  ],
  'extends what is merely read': [
    (clock) =>
      new (class extends MemorySessionStore {
        override load(handle: string, options: LoadOptions = {}) {
          return super.load(handle, { touch: options.remaining ? undefined : HOUR, ...options });
        }
      })(clock, SMALL),
    /load leaves the idle window/,
  ],
  'does not extend when it is told to': [
    (clock) =>
      new (class extends MemorySessionStore {
        override load(handle: string, { remaining }: LoadOptions = {}) {
          return super.load(handle, { remaining });
        }
      })(clock, SMALL),
    /load with touch/,
  ],
  'keeps sessions for ever': [
    () => new MemorySessionStore({ now: () => 0 }, SMALL),
    /time is over/,
  ],
  'ends sessions early': [
    (clock) =>
      new (class extends MemorySessionStore {
        override create(handle: string, value: string, { ttl }: { ttl: number }) {
          return super.create(handle, value, { ttl: Math.min(ttl, 50) });
        }
      })(clock, SMALL),
    /time is over/,
  ],
  'mixes up handles': [
    (clock) =>
      new (class extends MemorySessionStore {
        override load(handle: string, options?: LoadOptions) {
          return super.load(handle.toLowerCase(), options);
        }
        override create(handle: string, value: string, options: { ttl: number }) {
          return super.create(handle.toLowerCase(), value, options);
        }
      })(clock, SMALL),
    /handles do not meet/,
  ],
  'returns nothing from delete': [
    (clock) =>
      new (class extends MemorySessionStore {
        override async delete(handle: string) {
          await super.delete(handle);
          return undefined;
        }
      })(clock, SMALL),
    /delete returns/,
  ],
  'ends text at a NUL': [
    (clock) =>
      new (class extends MemorySessionStore {
        override create(handle: string, value: string, options: { ttl: number }) {
          return super.create(handle, value.split('\0')[0] as string, options);
        }
      })(clock, SMALL),
    /NUL/,
  ],
  'trims text': [
    (clock) =>
      new (class extends MemorySessionStore {
        override create(handle: string, value: string, options: { ttl: number }) {
          return super.create(handle, value.trimEnd(), options);
        }
      })(clock, SMALL),
    /line ends/,
  ],
  'cuts long text': [
    (clock) =>
      new (class extends MemorySessionStore {
        override create(handle: string, value: string, options: { ttl: number }) {
          return super.create(handle, value.slice(0, 65_535), options);
        }
      })(clock, SMALL),
    /64 KiB/,
  ],
  'counts what renewed ids left': [
    (clock) =>
      new (class extends MemorySessionStore {
        override create(handle: string, value: string, options: { ttl: number }) {
          return super.create(handle, value.replace('>', '1'), options);
        }
      })(clock, SMALL),
    /count/,
  ],
  'counts what is over': [
    (clock) =>
      new (class extends MemorySessionStore {
        #created = 0;
        override create(handle: string, value: string, options: { ttl: number }) {
          this.#created++;
          return super.create(handle, value, options);
        }
        override async count() {
          return this.#created;
        }
      })(clock, SMALL),
    /count/,
  ],
};

describe('the store compliance suite', () => {
  it('has nothing to object to in a store that keeps the contract', async () => {
    expect(await objectionsTo(sound)).toEqual([]);
  });

  it.each(Object.entries(defects))('finds out a store that %s', async (_, [open, objection]) => {
    expect(await objectionsTo(open)).toContainEqual(expect.stringMatching(objection));
  });

  it('takes absence during an outage, and an error that tells the handle, for what they are', async () => {
    const alive = { unreachable: () => sound(new FakeClock()) };
    const silent = await objectionsTo(sound, alive);
    expect(silent).toHaveLength(9);

    const talkative = (handle: unknown): never => {
      throw Object.assign(new SessionStoreUnavailableError('down'), {
        command: { args: [handle] },
      });
    };
    const unreachable = () =>
      new Proxy({} as SessionStore, {
        get: (_, verb) =>
          verb === 'then' || verb === 'close' ? undefined : async (h: unknown) => talkative(h),
      });
    const found = await objectionsTo(sound, { unreachable });
    expect(found.map((title) => title.split(' fails')[0])).toEqual([
      'load',
      'load with touch',
      'load with remaining',
      'create',
      'save',
      'touch',
      'delete',
    ]);
  });

  it('leaves out what a store says it lacks, and closes every store it opened', async () => {
    let open = 0;
    class Small extends MemorySessionStore {
      override async count(): Promise<number> {
        throw new Error('cannot count');
      }
      override create(handle: string, value: string, options: { ttl: number }) {
        if (value.length > 4_096) throw new Error('too large');
        return super.create(handle, value, options);
      }
      async close(): Promise<void> {
        open--;
      }
    }
    const create = (clock: FakeClock) => {
      open++;
      return new Small(clock, SMALL);
    };
    expect(await objectionsTo(create)).toHaveLength(2);
    expect(await objectionsTo(create, { toggles: { count: false, largeValues: false } })).toEqual(
      [],
    );
    expect(open).toBe(0);
  });
});
