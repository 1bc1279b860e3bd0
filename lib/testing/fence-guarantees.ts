import assert from 'node:assert/strict';
import { isFenced, type FencedSessionStore } from '../core/fenced-store.interface.js';
import { handleOf, newSessionId } from '../core/session-id.js';
import { countOf, nextVersion, versionOf } from '../core/session-record.js';
import type { Standing, StoredValue } from '../core/session-store.interface.js';
import {
  assertAbsent,
  HOUR,
  newHandle,
  newValue,
  PARALLEL,
  remainingIn,
  SHORT,
  stored,
  times,
  valueIn,
  type Guarantee,
  type StoreTime,
} from './store-proof.js';

const BUCKET = 0xa7;
const NAME = 'a7';
const PLACE = 'p:someone';

/** A value whose counter is higher by some, as if others had been written in between. */
function ahead(value: StoredValue, by: number, body = `ahead by ${by}`): StoredValue {
  let version = versionOf(value);
  for (let i = 0; i < by; i++) version = nextVersion(version);
  return newValue(body).replace(/^.{14}/, version);
}

async function standing(store: FencedSessionStore, since: number) {
  const handle = handleOf(newSessionId(BUCKET));
  const value = newValue();
  const where: Standing = { places: [PLACE], since, life: 2 * HOUR };
  assert.equal(await store.create(handle, value, { ttl: HOUR, standing: where }), true);
  return { handle, value };
}

type FenceProof = (store: FencedSessionStore, time: StoreTime) => Promise<void>;

const proofs: Readonly<Record<string, FenceProof>> = {
  'bring never creates: not what never was, was deleted, or has ended': async (store, time) => {
    const never = newHandle();
    assert.equal(await store.bring(never, newValue(), HOUR), false);
    await assertAbsent(store, never);
    const deleted = await stored(store);
    await store.delete(deleted.handle);
    assert.equal(await store.bring(deleted.handle, ahead(deleted.value, 5), HOUR), false);
    await assertAbsent(store, deleted.handle);
    const startedAt = performance.now();
    const short = await stored(store, 'body', SHORT);
    await time.untilEnded(store, short.handle, SHORT, startedAt);
    assert.equal(await store.bring(short.handle, ahead(short.value, 5), HOUR), false);
    await assertAbsent(store, short.handle);
  },
  'bring of what is older or as new does nothing': async (store) => {
    const { handle, value, expected } = await stored(store);
    const third = ahead(value, 2);
    assert.equal((await store.save(handle, third, { expected })).status, 'saved');
    const asNew = ahead(value, 2, 'another of the same counter');
    assert.equal(countOf(asNew), countOf(third));
    for (const late of [value, ahead(value, 1), asNew, third]) {
      assert.equal(await store.bring(handle, late, 2 * HOUR), false);
      assert.equal(await valueIn(store, handle), third);
    }
    assert.ok((await remainingIn(store, handle)) <= HOUR, 'the window was started anew');
  },
  'bring of what is newer wins, whatever came in between, and starts the window anew': async (
    store,
  ) => {
    const { handle, value } = await stored(store);
    const ninth = ahead(value, 8);
    assert.equal(await store.bring(handle, ninth, 2 * HOUR), true);
    assert.equal(await valueIn(store, handle), ninth);
    assert.ok((await remainingIn(store, handle)) > HOUR);
    const tenth = ahead(ninth, 1);
    const outcome = await store.save(handle, tenth, { expected: versionOf(ninth) });
    assert.equal(outcome.status, 'saved');
    assert.equal(await valueIn(store, handle), tenth);
  },
  [`of ${PARALLEL} values that are brought at once the newest stays`]: async (store) => {
    const { handle, value } = await stored(store);
    const brought = times(PARALLEL, (i) => ahead(value, ((i * 7) % PARALLEL) + 1));
    await Promise.all(brought.map((one) => store.bring(handle, one, HOUR)));
    const found = await valueIn(store, handle);
    assert.equal(countOf(found as string), countOf(value) + PARALLEL);
  },
  'a value that is brought stays in the places where it stands': async (store) => {
    const { handle, value } = await standing(store, 1);
    assert.equal(await store.bring(handle, ahead(value, 3), HOUR), true);
    const listed = await store.list(NAME, PLACE, { limit: 9 });
    assert.deepEqual(
      listed.map((one) => one.handle),
      [handle],
    );
  },
  'endIn tells the handles of all that it ended': async (store) => {
    const [kept, one, other] = [
      await standing(store, 1),
      await standing(store, 2),
      await standing(store, 3),
    ];
    const pointer = newValue('pointer', other.value, '>');
    await store.save(other.handle, pointer, { expected: versionOf(other.value), ttl: HOUR });
    const told = await store.endIn(NAME, PLACE, kept.handle);
    assert.deepEqual([...(told.handles ?? [])].sort(), [one.handle, other.handle].sort());
    assert.deepEqual((await store.endIn(NAME, PLACE)).handles, [kept.handle]);
    assert.deepEqual((await store.endIn(NAME, PLACE)).handles, []);
  },
};

/**
 * The contract of stores with a fence, by topic.
 *
 * @param needed `undefined`: only of a store that has `bring`
 */
export function fenceGuarantees(needed?: boolean): Readonly<Record<string, readonly Guarantee[]>> {
  const fence = Object.entries(proofs).map(([title, proof]): Guarantee => ({
    title,
    needs: 'fence',
    proof: async (store, time) => {
      if (isFenced(store)) return proof(store, time);
      assert.notEqual(needed, true, 'bring is missing: see the toggle `fence`');
    },
  }));
  return { 'a fence, if it has one': fence };
}
