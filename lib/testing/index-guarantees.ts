import assert from 'node:assert/strict';
import { bucketOfHandle, handleOf, newSessionId } from '../core/session-id.js';
import { versionOf } from '../core/session-record.js';
import type {
  EndedInPlace,
  IndexedSessionStore,
  OnLimit,
  SessionStore,
  Standing,
  StoredValue,
} from '../core/session-store.interface.js';
import {
  assertConflict,
  HOUR,
  newValue,
  PARALLEL,
  PAUSE,
  SHORT,
  times,
  valueIn,
  type Guarantee,
} from './store-proof.js';

const BUCKET = 0xa7;
const NAME = 'a7';
const PLACE = 'p:someone';
const OTHER = 'i.tenant:somewhere';
const LIMIT = 3;

const newHandle = (lasting = false): string => handleOf(newSessionId(BUCKET, lasting));
const at = (since: number, ...places: string[]): Standing => ({
  places: places.length > 0 ? places : [PLACE],
  since,
  life: 2 * HOUR,
});

/** Suites in JavaScript, or stores without these verbs and a forgotten toggle: it is said, not guessed. */
function indexed(store: SessionStore): IndexedSessionStore {
  const asked = store as IndexedSessionStore;
  for (const verb of ['admit', 'replace', 'list', 'countIn', 'endIn', 'placesOf'] as const) {
    assert.equal(typeof asked[verb], 'function', `${verb} is missing: see the toggle \`indexes\``);
  }
  return asked;
}

const guarantee = (
  title: string,
  proof: (store: IndexedSessionStore, time: Parameters<Guarantee['proof']>[1]) => Promise<void>,
): Guarantee => ({
  title,
  needs: 'indexes',
  proof: (store, time) => proof(indexed(store), time),
});

async function standing(store: IndexedSessionStore, where: Standing, ttl = HOUR) {
  const handle = newHandle();
  const value = newValue('{"head":true}\n\nbody');
  assert.equal(await store.create(handle, value, { ttl, standing: where }), true);
  return { handle, value, expected: versionOf(value) };
}

async function handlesIn(store: IndexedSessionStore, place = PLACE): Promise<string[]> {
  return (await store.list(NAME, place, { limit: 1_000 })).map(({ handle }) => handle);
}

async function assertStanding(
  store: IndexedSessionStore,
  handles: readonly string[],
  place = PLACE,
): Promise<void> {
  assert.deepEqual((await handlesIn(store, place)).sort(), [...handles].sort());
  assert.equal(await store.countIn(NAME, place), handles.length);
}

const admit = (store: IndexedSessionStore, onLimit: OnLimit, since = 1, handle = newHandle()) =>
  store.admit(handle, newValue(), {
    ttl: HOUR,
    standing: at(since),
    limit: { place: PLACE, max: LIMIT, onLimit, idleTimeout: HOUR, lastingIdleTimeout: 2 * HOUR },
  });

const placesAndLists: Guarantee[] = [
  guarantee('what is created with places stands in all of them, and in no other', async (store) => {
    const { handle } = await standing(store, at(1, PLACE, OTHER));
    await assertStanding(store, [handle]);
    await assertStanding(store, [handle], OTHER);
    await assertStanding(store, [], 'p:somebody-else');
    assert.deepEqual(await store.list('a8', PLACE, { limit: 10 }), []);
  }),
  guarantee(
    'a list tells head, since and what remains, newest first, part by part',
    async (store) => {
      const sessions = [];
      for (const since of [3, 1, 2, 2]) sessions.push(await standing(store, at(since)));
      const all = await store.list(NAME, PLACE, { limit: 10 });
      assert.deepEqual(
        all.map(({ since }) => since),
        [3, 2, 2, 1],
      );
      const [first] = all;
      assert.equal(first?.head, sessions[0]?.value.split('\n')[0]);
      assert.ok(first && first.remaining > HOUR - 60_000 && first.remaining <= HOUR);
      const parts = await store.list(NAME, PLACE, { limit: 2 });
      parts.push(...(await store.list(NAME, PLACE, { limit: 9, after: parts.at(-1) })));
      assert.deepEqual(
        parts.map(({ handle }) => handle),
        all.map(({ handle }) => handle),
      );
      await store.delete(sessions[0]!.handle, [PLACE]);
      const after = { handle: sessions[0]!.handle, since: 3 };
      assert.equal((await store.list(NAME, PLACE, { limit: 10, after })).length, 3);
    },
  ),
  guarantee('what is deleted from its places stands there no more', async (store) => {
    const [one, other] = [
      await standing(store, at(1, PLACE, OTHER)),
      await standing(store, at(2, PLACE, OTHER)),
    ];
    assert.equal(await store.delete(one.handle, [PLACE, OTHER]), one.value);
    assert.equal(await store.delete(one.handle, [PLACE, OTHER]), undefined);
    await assertStanding(store, [other.handle]);
    await assertStanding(store, [other.handle], OTHER);
  }),
  guarantee(
    'what ended by time or elsewhere drops out of lists and counts',
    async (store, time) => {
      const startedAt = performance.now();
      const short = await standing(store, at(1), SHORT);
      const [removed, kept] = [await standing(store, at(2)), await standing(store, at(3))];
      await store.delete(removed.handle);
      await time.untilEnded(store, short.handle, SHORT, startedAt);
      await assertStanding(store, [kept.handle]);
    },
  ),
  guarantee('save moves between places in its step, and only if it saves', async (store) => {
    const { handle, value, expected } = await standing(store, at(1));
    const next = newValue('next', value);
    const moved = { standing: at(1, OTHER), leaves: [PLACE] };
    const stale = { expected: versionOf(newValue()), ttl: HOUR, ...moved };
    assertConflict(await store.save(handle, next, stale), value);
    await assertStanding(store, [handle]);
    assert.equal(
      (await store.save(handle, next, { expected, ttl: HOUR, ...moved })).status,
      'saved',
    );
    await assertStanding(store, []);
    await assertStanding(store, [handle], OTHER);
    const gone = await store.save(newHandle(), next, { expected, ttl: HOUR, ...moved });
    assert.equal(gone.status, 'gone');
    await assertStanding(store, [handle], OTHER);
  }),
  guarantee('the places of an index are told, whatever their value', async (store) => {
    await standing(store, at(1, PLACE, OTHER));
    await standing(store, at(1, 'p:another'));
    const found = new Set<string>();
    for await (const { bucket, place } of store.placesOf('p')) found.add(`${bucket} ${place}`);
    assert.deepEqual([...found].sort(), [`${NAME} ${PLACE}`, `${NAME} p:another`].sort());
  }),
];

const limits: Guarantee[] = [
  ...(['reject', 'retire-oldest', 'retire-least-recently-used'] as const).map((onLimit) =>
    guarantee(
      `of ${PARALLEL} parallel admissions ${LIMIT} sessions stay: ${onLimit}`,
      async (store) => {
        const handles = times(PARALLEL, () => newHandle());
        await Promise.all(handles.map((handle, i) => admit(store, onLimit, i, handle)));
        assert.equal((await handlesIn(store)).length, LIMIT);
        const alive = await Promise.all(handles.map((handle) => valueIn(store, handle)));
        assert.equal(alive.filter(Boolean).length, LIMIT);
      },
    ),
  ),
  guarantee('reject does nothing to a session that is one too many', async (store) => {
    const handles = times(LIMIT, () => newHandle());
    for (const handle of handles) {
      assert.deepEqual(await admit(store, 'reject', 1, handle), { status: 'created', retired: [] });
    }
    const refused = newHandle();
    assert.equal((await admit(store, 'reject', 2, refused)).status, 'full');
    assert.equal(await store.load(refused), undefined);
    await assertStanding(store, handles);
  }),
  guarantee('retire-oldest ends those with the smallest since, and tells which', async (store) => {
    const handles = times(LIMIT, () => newHandle());
    for (const [i, handle] of handles.entries()) await admit(store, 'reject', 3 - i, handle);
    const admission = await admit(store, 'retire-oldest', 9);
    assert.deepEqual(admission, { status: 'created', retired: [handles[2]] });
    assert.equal(await store.load(handles[2] as string), undefined);
    assert.equal(await store.countIn(NAME, PLACE), LIMIT);
  }),
  guarantee(
    'retire-least-recently-used goes by what is missing of the idle window',
    async (store, time) => {
      const lasting = newHandle(true);
      const limit = { place: PLACE, max: LIMIT, idleTimeout: HOUR, lastingIdleTimeout: 2 * HOUR };
      const onLimit = 'retire-least-recently-used' as const;
      await store.create(lasting, newValue(), { ttl: 2 * HOUR, standing: at(1) });
      await time.pass(PAUSE);
      const [one, other] = [await standing(store, at(2)), await standing(store, at(3))];
      await time.pass(PAUSE);
      await store.touch(one.handle, HOUR);
      const options = { ttl: HOUR, standing: at(4), limit: { ...limit, onLimit } };
      const first = await store.admit(newHandle(), newValue(), options);
      assert.deepEqual(first, { status: 'created', retired: [lasting] });
      const second = await store.admit(newHandle(), newValue(), options);
      assert.deepEqual(second, { status: 'created', retired: [other.handle] });
    },
  ),
  guarantee('sessions that ended do not count', async (store, time) => {
    const startedAt = performance.now();
    const short = await standing(store, at(1), SHORT);
    for (const _ of times(LIMIT - 1, () => 0)) await standing(store, at(2));
    await time.untilEnded(store, short.handle, SHORT, startedAt);
    assert.deepEqual(await admit(store, 'reject'), { status: 'created', retired: [] });
  }),
  guarantee('an admission that is sent again is the same as once', async (store) => {
    const handle = newHandle();
    const value = newValue();
    const onLimit = 'retire-oldest' as const;
    const limit = { place: PLACE, max: 1, onLimit, idleTimeout: HOUR, lastingIdleTimeout: HOUR };
    const again = () => store.admit(handle, value, { ttl: HOUR, standing: at(1), limit });
    assert.deepEqual(await again(), { status: 'created', retired: [] });
    assert.deepEqual(await again(), { status: 'created', retired: [] });
    await assertStanding(store, [handle]);
    const other = await store.admit(handle, newValue(), { ttl: HOUR, standing: at(1), limit });
    assert.equal(other.status, 'taken');
    assert.equal(await valueIn(store, handle), value);
  }),
];

const replaceOptions = (expected: string, next = newHandle(), value = newValue('next')) => ({
  expected,
  ttl: HOUR / 2,
  leaves: [PLACE],
  next: { handle: next, value, ttl: HOUR, standing: at(5, PLACE, OTHER) },
});
const pointer = (previous?: StoredValue): StoredValue => newValue('pointer', previous, '>');

const replacing: Guarantee[] = [
  guarantee('replace goes on under another handle, in the places of that', async (store) => {
    const { handle, value, expected } = await standing(store, at(1));
    const options = replaceOptions(expected);
    const left = pointer(value);
    const again = () => store.replace(handle, left, options);
    assert.equal((await again()).status, 'saved');
    assert.equal(await valueIn(store, handle), left);
    assert.equal(await valueIn(store, options.next.handle), options.next.value);
    await assertStanding(store, [options.next.handle]);
    await assertStanding(store, [options.next.handle], OTHER);
    assert.equal((await again()).status, 'saved', 'sent again, its reply being lost');
    await assertStanding(store, [options.next.handle]);
  }),
  guarantee(
    'replace does nothing to what is gone, changed, or on a handle that is taken',
    async (store) => {
      const { handle, value, expected } = await standing(store, at(1));
      const taken = await standing(store, at(2));
      const other = replaceOptions(versionOf(newValue()));
      const outcome = await store.replace(handle, pointer(value), other);
      assert.ok(outcome.status === 'conflict' && outcome.current === value);
      const onTaken = replaceOptions(expected, taken.handle);
      assert.equal((await store.replace(handle, pointer(value), onTaken)).status, 'taken');
      const gone = await store.replace(newHandle(), pointer(), replaceOptions(expected));
      assert.equal(gone.status, 'gone');
      await assertStanding(store, [handle, taken.handle]);
      assert.equal(await valueIn(store, handle), value);
      assert.equal(await valueIn(store, taken.handle), taken.value);
    },
  ),
];

function assertEnded(told: EndedInPlace, ended: number, pointers: readonly string[] = []): void {
  assert.deepEqual({ ended: told.ended, pointers: told.pointers }, { ended, pointers });
}

const ending: Guarantee[] = [
  guarantee('endIn ends all that stand there, but for one, and nothing else', async (store) => {
    const sessions = [];
    for (const since of times(5, (i) => i)) sessions.push(await standing(store, at(since)));
    const elsewhere = await standing(store, at(1, OTHER));
    const [kept] = sessions;
    assertEnded(await store.endIn(NAME, PLACE, kept!.handle), 4);
    await assertStanding(store, [kept!.handle]);
    assert.equal(await store.countIn(NAME, OTHER), 1);
    assertEnded(await store.endIn(NAME, PLACE), 1);
    assertEnded(await store.endIn(NAME, PLACE), 0);
    assert.equal(await valueIn(store, elsewhere.handle), elsewhere.value);
    for (const { handle } of sessions) assert.equal(await store.load(handle), undefined);
  }),
  guarantee('endIn tells the pointers that it ended, and does not count them', async (store) => {
    const { handle, value, expected } = await standing(store, at(1));
    const left = pointer(value);
    await store.save(handle, left, { expected, ttl: HOUR });
    await standing(store, at(2));
    assertEnded(await store.endIn(NAME, PLACE), 1, [left]);
  }),
  guarantee('endIn ends thousands', async (store) => {
    // In parts: the deadline of a store counts from when it was asked, not from its turn among a thousand.
    for (let part = 0; part < 12; part++) {
      await Promise.all(times(100, (i) => standing(store, at(part * 100 + i))));
    }
    assert.equal((await store.endIn(NAME, PLACE)).ended, 1_200);
    await assertStanding(store, []);
  }),
  guarantee(
    'no session escapes endIn by going on under another handle meanwhile',
    async (store) => {
      const sessions = await Promise.all(times(PARALLEL, (i) => standing(store, at(i))));
      const replaced = sessions.map(({ handle, value, expected }) => {
        const options = replaceOptions(expected);
        const replace = () => store.replace(handle, pointer(value), options);
        return { handle, next: options.next.handle, replace };
      });
      const [early, late] = [replaced.slice(0, PARALLEL / 2), replaced.slice(PARALLEL / 2)];
      const running = early.map(({ replace }) => replace());
      const all = store.endIn(NAME, PLACE);
      await Promise.all([...running, all, ...late.map(({ replace }) => replace())]);
      const after = await Promise.all(replaced.map(({ next }) => valueIn(store, next)));
      assert.equal(after.filter(Boolean).length, 0);
      assert.equal(bucketOfHandle(replaced[0]!.next), NAME);
    },
  ),
];

/** The contract of stores that keep indexes, by topic. */
export const indexGuarantees: Readonly<Record<string, readonly Guarantee[]>> = {
  'places and lists': placesAndLists,
  limits,
  replacing,
  'ending a place': ending,
};
