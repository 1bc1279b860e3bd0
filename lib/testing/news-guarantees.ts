import assert from 'node:assert/strict';
import { setTimeout as wait } from 'node:timers/promises';
import { handleOf, newSessionId } from '../core/session-id.js';
import { versionOf } from '../core/session-record.js';
import type {
  IndexedSessionStore,
  SessionStore,
  Standing,
} from '../core/session-store.interface.js';
import { isTelling, type TellingSessionStore } from '../core/store-news.interface.js';
import { HOUR, newValue, SHORT, type Guarantee, type StoreTime } from './store-proof.js';

const BUCKET = 0xb3;
const NAME = 'b3';
const PLACE = 'p:someone';
/** Nothing that is told takes longer; and nothing more comes after it. */
const PATIENCE = 2_000;
const SETTLED = 30;

type Telling = TellingSessionStore & IndexedSessionStore;

const newHandle = (): string => handleOf(newSessionId(BUCKET));
const standing: Standing = { places: [PLACE], since: 1, life: HOUR };

function telling(store: SessionStore): Telling {
  assert.ok(isTelling(store), '`news` is missing: see the toggle `news`');
  return store as unknown as Telling;
}

/** Hears what a store tells, and compares it. */
class Ears {
  readonly told: string[] = [];
  readonly called: string[] = [];

  static async of(store: Telling): Promise<Ears> {
    const ears = new Ears();
    await store.news.listen({
      told: (text, bucket) => {
        assert.equal(bucket, NAME);
        ears.told.push(text);
      },
      called: (text) => ears.called.push(text),
      missed: () => undefined,
    });
    return ears;
  }

  /** Exactly this was told since it was last asked. */
  async heard(...expected: string[]): Promise<void> {
    await untilAs(() => this.told.length >= expected.length);
    await wait(SETTLED);
    assert.deepEqual(this.told.splice(0), expected);
  }
}

async function untilAs(holds: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE;
  while (!holds() && performance.now() < deadline) await wait(2);
}

const line = (handle: string, notice: string, at: string | number = '-'): string =>
  `${handle} ${at} ${notice}`;

const guarantee = (
  title: string,
  proof: (store: Telling, ears: Ears, time: StoreTime) => Promise<void>,
): Guarantee => ({
  title,
  needs: 'news',
  proof: async (given, time) => {
    const store = telling(given);
    await proof(store, await Ears.of(store), time);
  },
});

async function begun(store: Telling, notice = 'notice', ttl = HOUR) {
  const handle = newHandle();
  const value = newValue();
  await store.create(handle, value, { ttl, standing, news: { notice } });
  return { handle, value, expected: versionOf(value) };
}

/** The news of the contract, by topic. */
export const newsGuarantees: Readonly<Record<string, readonly Guarantee[]>> = {
  news: [
    guarantee(
      'tells of a session that begins, once, and not of one that does not',
      async (store, ears) => {
        const handle = newHandle();
        const value = newValue();
        const news = { message: 'begins', notice: 'of alice' };
        for (let i = 0; i < 2; i++) {
          assert.equal(await store.create(handle, value, { ttl: HOUR, news }), true);
        }
        assert.equal(await store.create(handle, newValue(), { ttl: HOUR, news }), false);
        await ears.heard(`begins\n${line(handle, 'of alice')}`);
      },
    ),
    guarantee(
      'tells of a save, once, with what is told of the session from then on',
      async (store, ears) => {
        const { handle, value, expected } = await begun(store, 'old');
        const next = newValue('next', value);
        const save = (message: string, notice?: string) =>
          store.save(handle, next, { expected, ttl: HOUR, news: { message, notice } });
        assert.equal((await save('saved', 'new')).status, 'saved');
        assert.equal((await save('again', 'new')).status, 'saved');
        const late = newValue('late', value);
        const news = { message: 'late' };
        assert.equal((await store.save(handle, late, { expected, news })).status, 'conflict');
        assert.equal((await store.save(newHandle(), late, { expected, news })).status, 'gone');
        await store.delete(handle, [PLACE], { news: { message: 'ends' } });
        await ears.heard(`saved\n${line(handle, 'new')}`, `ends\n${line(handle, 'new')}`);
      },
    ),
    guarantee('tells of an end, once, and not of what was no session', async (store, ears) => {
      const { handle } = await begun(store);
      const pointer = newHandle();
      await store.create(pointer, newValue('', undefined, '0'), { ttl: HOUR });
      const news = { message: 'ends' };
      for (const one of [handle, handle, pointer, newHandle()]) {
        await store.delete(one, [], { news });
      }
      await ears.heard(`ends\n${line(handle, 'notice')}`);
    }),
    guarantee('tells of a session under the handle that it goes on as', async (store, ears) => {
      const { handle, value, expected } = await begun(store);
      const next = { handle: newHandle(), value: newValue('', value), ttl: HOUR, standing };
      const pointer = newValue('', value, '0');
      const options = { expected, ttl: HOUR, leaves: [PLACE], next };
      const news = { message: 'moves', notice: 'of alice', goesOnAs: next.handle };
      assert.equal((await store.replace(handle, pointer, { ...options, news })).status, 'saved');
      assert.equal((await store.replace(handle, pointer, { ...options, news })).status, 'saved');
      await store.delete(handle, [], { news: { message: 'not this' } });
      await store.delete(next.handle, [PLACE], { news: { message: 'ends' } });
      await ears.heard(
        `moves\n${line(next.handle, 'of alice')}`,
        `ends\n${line(next.handle, 'of alice')}`,
      );
    }),
    guarantee(
      'tells of a session that goes on elsewhere with the step that completes it',
      async (store, ears, time) => {
        const { handle, value, expected } = await begun(store, 'old', SHORT);
        const elsewhere = newHandle();
        const news = { message: 'moves', notice: 'of alice' };
        const first = { ...news, kind: 'provisional' as const };
        await store.create(elsewhere, newValue(), { ttl: HOUR, standing, news: first });
        await ears.heard();
        const pointer = newValue('', value, '0');
        const last = { ...news, goesOnAs: elsewhere };
        await store.save(handle, pointer, { expected, ttl: SHORT, news: last });
        await ears.heard(`moves\n${line(elsewhere, 'of alice')}`);
        const gone = { ...news, kind: 'withdrawn' as const };
        await store.delete(elsewhere, [PLACE], { news: gone });
        await ears.heard();
        const kinds = (await store.news.recall(NAME, undefined, 10)).map(({ kind }) => kind);
        assert.deepEqual(kinds, ['provisional', 'told', 'withdrawn']);
        await time.pass(SHORT * 2);
        assert.equal((await store.news.sweep(NAME, 'expired')).ended, 0);
        await ears.heard();
      },
    ),
    guarantee(
      'tells of sessions that give way, and of all that end with a place',
      async (store, ears) => {
        const [one, two] = [await begun(store, 'one'), await begun(store, 'two')];
        const limit = {
          place: PLACE,
          max: 1,
          onLimit: 'retire-oldest',
          idleTimeout: HOUR,
          lastingIdleTimeout: HOUR,
        } as const;
        const three = newHandle();
        const news = { message: 'begins', notice: 'three', gaveWay: 'gives way' };
        await store.admit(three, newValue(), { ttl: HOUR, standing, news, limit });
        await untilAs(() => ears.told.length >= 2);
        const [away, begins] = ears.told.toSorted().toReversed();
        assert.equal(begins, `begins\n${line(three, 'three')}`);
        const lines = [line(one.handle, 'one'), line(two.handle, 'two')].toSorted();
        assert.deepEqual(away?.split('\n').slice(1).toSorted(), lines);
        ears.told.length = 0;
        const four = await begun(store, 'four');
        await store.endIn(NAME, PLACE, three, { message: 'all end' });
        await store.endIn(NAME, PLACE, three, { message: 'nobody ends' });
        await ears.heard(`all end\n${line(four.handle, 'four')}`);
      },
    ),
    guarantee(
      'tells of sessions that are over by time, each once, as they were in the end',
      async (store, ears, time) => {
        const over = await begun(store, 'over', SHORT);
        const used = await begun(store, 'used', SHORT);
        const ended = await begun(store, 'ended', SHORT);
        await begun(store, 'lives');
        await store.touch(used.handle, HOUR);
        await store.delete(ended.handle, [], { news: { message: 'ends' } });
        await ears.heard(`ends\n${line(ended.handle, 'ended')}`);
        await time.pass(SHORT * 2);
        await store.news.sweep(NAME, 'over');
        await store.news.sweep(NAME, 'over');
        await untilAs(() => ears.told.length > 0);
        await wait(SETTLED);
        const texts = ears.told.splice(0).map((text) => text.replace(/ \d+ /, ' <then> '));
        assert.deepEqual(texts, [`over\n${line(over.handle, 'over', '<then>')}`]);
      },
    ),
    guarantee(
      'remembers what was told, in its order, from behind a position',
      async (store, ears) => {
        const { handle } = await begun(store);
        const message = (i: number) => `message ${i}`;
        let { value } = (await store.load(handle))!;
        for (let i = 0; i < 5; i++) {
          const next = newValue(String(i), value);
          const news = { message: message(i) };
          await store.save(handle, next, { expected: versionOf(value), ttl: HOUR, news });
          value = next;
        }
        await untilAs(() => ears.told.length >= 5);
        const all = await store.news.recall(NAME, undefined, 10);
        assert.deepEqual(
          all.map(({ text }) => text),
          ears.told,
        );
        const some = await store.news.recall(NAME, all[1]?.position, 2);
        assert.deepEqual(some, all.slice(2, 4));
        assert.deepEqual(await store.news.recall('00', undefined, 10), []);
      },
    ),
    guarantee('sends texts to all who listen, and remembers none of them', async (store, ears) => {
      const other = await Ears.of(store);
      await store.news.call(NAME, 'a text\nof lines');
      await untilAs(() => ears.called.length > 0 && other.called.length > 0);
      assert.deepEqual([...ears.called, ...other.called], ['a text\nof lines', 'a text\nof lines']);
      assert.deepEqual(await store.news.recall(NAME, undefined, 10), []);
    }),
    guarantee('knows how far a group has come, which never goes back', async (store) => {
      for (let i = 0; i < 3; i++) await begunLoudly(store);
      const [first, second, third] = await store.news.recall(NAME, undefined, 10);
      assert.ok(first && second && third);
      assert.equal(await store.news.progress(NAME, 'group'), undefined);
      for (const { position } of [second, third]) {
        await store.news.advance(NAME, 'group', position);
      }
      assert.equal(await store.news.progress(NAME, 'group'), third.position);
      await store.news.advance(NAME, 'group', first.position);
      assert.equal(await store.news.progress(NAME, 'group'), third.position);
      assert.equal(await store.news.progress(NAME, 'another'), undefined);
      assert.equal(await store.news.progress('00', 'group'), undefined);
    }),
  ],
};

async function begunLoudly(store: Telling): Promise<void> {
  await store.create(newHandle(), newValue(), { ttl: HOUR, news: { message: 'begins' } });
}
