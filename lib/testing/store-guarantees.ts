import assert from 'node:assert/strict';
import { versionOf } from '../core/session-record.js';
import type { SessionStore, StoredValue } from '../core/session-store.interface.js';
import {
  assertAbsent,
  assertConflict,
  HOUR,
  newHandle,
  newValue,
  PARALLEL,
  PAUSE,
  remainingIn,
  SHORT,
  SHORTER,
  stored,
  times,
  valueIn,
  type Guarantee,
} from './store-proof.js';

const absence: Guarantee[] = [
  {
    title: 'a handle without a session is absent to every verb, and none of them makes it exist',
    proof: async (store) => assertAbsent(store, newHandle()),
  },
  {
    title: 'a session whose time is over is absent to every verb, and its handle is free again',
    proof: async (store, time) => {
      const startedAt = performance.now();
      const { handle } = await stored(store, 'body', SHORT);
      await time.untilEnded(store, handle, SHORT, startedAt);
      await assertAbsent(store, handle);
      assert.equal(await store.create(handle, newValue(), { ttl: HOUR }), true);
    },
  },
  {
    title: 'a late save of a session that was ended revives nothing',
    proof: async (store) => {
      const { handle, value, expected } = await stored(store);
      await store.delete(handle);
      const late = await store.save(handle, newValue('late', value), { expected, ttl: HOUR });
      assert.equal(late.status, 'gone');
      await assertAbsent(store, handle);
    },
  },
  {
    title: `${PARALLEL} saves and touches that race with a delete revive nothing`,
    proof: async (store) => {
      await Promise.all(
        times(PARALLEL, async (i) => {
          const { handle, value, expected } = await stored(store);
          const end = () => store.delete(handle);
          const use = () => [
            store.save(handle, newValue('late', value), { expected, ttl: HOUR }),
            store.touch(handle, HOUR),
            store.load(handle, { touch: HOUR }),
          ];
          await Promise.all(i % 2 ? [end(), ...use()] : [...use(), end()]);
          assert.equal(await store.load(handle), undefined);
        }),
      );
    },
  },
];

const create: Guarantee[] = [
  {
    title: 'create stores the value for its window',
    proof: async (store) => {
      const { handle, value } = await stored(store);
      assert.equal(await valueIn(store, handle), value);
      const remaining = await remainingIn(store, handle);
      assert.ok(remaining > HOUR - 60_000 && remaining <= HOUR, `${remaining} ms are left`);
    },
  },
  {
    title: 'create never overwrites: another value on a taken handle is refused and nothing done',
    proof: async (store, time) => {
      const { handle, value } = await stored(store);
      await time.pass(PAUSE);
      assert.equal(await store.create(handle, newValue('other'), { ttl: 2 * HOUR }), false);
      assert.equal(await valueIn(store, handle), value);
      assert.ok((await remainingIn(store, handle)) < SHORTER, 'the window was started anew');
    },
  },
  {
    title: 'a create that is sent again, its reply being lost, is true and does nothing more',
    proof: async (store) => {
      const { handle, value } = await stored(store);
      assert.equal(await store.create(handle, value, { ttl: HOUR }), true);
      assert.equal(await valueIn(store, handle), value);
    },
  },
  {
    title: `of ${PARALLEL} parallel creates of one handle exactly one wins`,
    proof: async (store) => {
      const handle = newHandle();
      const values = times(PARALLEL, (i) => newValue(`${i}`));
      const won = await Promise.all(values.map((v) => store.create(handle, v, { ttl: HOUR })));
      assert.equal(won.filter(Boolean).length, 1);
      assert.equal(await valueIn(store, handle), values[won.indexOf(true)]);
    },
  },
  {
    title: 'handles do not meet, not even those that differ in case only',
    proof: async (store) => {
      const digest = `${'a'.repeat(42)}`;
      const handles = [`00${digest}a`, `00${digest}A`, `01${digest}a`, `00${digest}_`];
      const values = handles.map((handle) => newValue(handle));
      for (const [i, handle] of handles.entries()) {
        assert.equal(await store.create(handle, values[i] as string, { ttl: HOUR }), true);
      }
      for (const [i, handle] of handles.entries()) {
        assert.equal(await valueIn(store, handle), values[i]);
      }
      assert.equal(await store.delete(handles[0] as string), values[0]);
      assert.equal(await valueIn(store, handles[1] as string), values[1]);
    },
  },
];

const load: Guarantee[] = [
  {
    title: 'load leaves the idle window as it is',
    proof: async (store, time) => {
      const { handle } = await stored(store);
      await time.pass(PAUSE);
      await store.load(handle);
      assert.ok((await remainingIn(store, handle)) < SHORTER, 'the window was started anew');
    },
  },
  {
    title: 'load with touch starts the window anew, longer or shorter, and returns the value',
    proof: async (store) => {
      const { handle, value } = await stored(store);
      assert.equal((await store.load(handle, { touch: 2 * HOUR }))?.value, value);
      assert.ok((await remainingIn(store, handle)) > HOUR);
      assert.equal((await store.load(handle, { touch: HOUR / 2 }))?.value, value);
      assert.ok((await remainingIn(store, handle)) <= HOUR / 2);
    },
  },
  {
    title: 'load tells what remains of the window; after a touch, of the new one',
    proof: async (store) => {
      const { handle, value } = await stored(store);
      const remaining = await remainingIn(store, handle);
      assert.ok(remaining > 0 && remaining <= HOUR);
      const touched = await store.load(handle, { touch: 2 * HOUR, remaining: true });
      assert.equal(touched?.value, value);
      assert.ok((touched?.remaining ?? 0) > HOUR && (touched?.remaining ?? 0) <= 2 * HOUR);
    },
  },
];

const save: Guarantee[] = [
  {
    title: 'save replaces the value whose version is expected',
    proof: async (store) => {
      const { handle, value, expected } = await stored(store);
      const next = newValue('next', value);
      assert.equal((await store.save(handle, next, { expected, ttl: HOUR })).status, 'saved');
      assert.equal(await valueIn(store, handle), next);
    },
  },
  {
    title: 'save on another version does nothing and returns the value that is there',
    proof: async (store, time) => {
      const { handle, value } = await stored(store);
      await time.pass(PAUSE);
      const options = { expected: versionOf(newValue()), ttl: 2 * HOUR };
      assertConflict(await store.save(handle, newValue('next', value), options), value);
      assert.equal(await valueIn(store, handle), value);
      assert.ok((await remainingIn(store, handle)) < SHORTER, 'the window was started anew');
    },
  },
  {
    title: 'save starts the window anew with `ttl`, and keeps it without',
    proof: async (store, time) => {
      const { handle, value, expected } = await stored(store);
      await time.pass(PAUSE);
      const second = newValue('second', value);
      assert.equal((await store.save(handle, second, { expected })).status, 'saved');
      const kept = await remainingIn(store, handle);
      assert.ok(kept > 0 && kept < SHORTER, `kept: ${kept} ms are left`);
      const third = newValue('third', second);
      const options = { expected: versionOf(second), ttl: 2 * HOUR };
      assert.equal((await store.save(handle, third, options)).status, 'saved');
      assert.ok((await remainingIn(store, handle)) > HOUR);
    },
  },
  {
    title: 'a save that is sent again, its reply being lost, is saved, and undoes nothing newer',
    proof: async (store) => {
      const { handle, value, expected } = await stored(store);
      const second = newValue('second', value);
      const again = () => store.save(handle, second, { expected, ttl: HOUR });
      assert.equal((await again()).status, 'saved');
      assert.equal((await again()).status, 'saved');
      const third = newValue('third', second);
      const options = { expected: versionOf(second), ttl: HOUR };
      assert.equal((await store.save(handle, third, options)).status, 'saved');
      assertConflict(await again(), third);
      assert.equal(await valueIn(store, handle), third);
    },
  },
  {
    title: `of ${PARALLEL} parallel saves on one version exactly one wins, and the others learn of it`,
    proof: async (store) => {
      const { handle, value, expected } = await stored(store);
      const values = times(PARALLEL, (i) => newValue(`${i}`, value));
      const outcomes = await Promise.all(
        values.map((next) => store.save(handle, next, { expected, ttl: HOUR })),
      );
      const winners = values.filter((_, i) => outcomes[i]?.status === 'saved');
      assert.equal(winners.length, 1);
      const winner = winners[0] as StoredValue;
      assert.equal(await valueIn(store, handle), winner);
      for (const outcome of outcomes) {
        if (outcome.status !== 'saved') assertConflict(outcome, winner);
      }
    },
  },
];

const touchAndDelete: Guarantee[] = [
  {
    title: 'touch starts the window anew and changes nothing else',
    proof: async (store) => {
      const { handle, value } = await stored(store);
      assert.equal(await store.touch(handle, 2 * HOUR), true);
      assert.ok((await remainingIn(store, handle)) > HOUR);
      assert.equal(await store.touch(handle, HOUR / 2), true);
      assert.ok((await remainingIn(store, handle)) <= HOUR / 2);
      assert.equal(await valueIn(store, handle), value);
    },
  },
  {
    title: 'delete returns what was stored, once, and leaves nothing',
    proof: async (store) => {
      const { handle, value } = await stored(store);
      assert.equal(await store.delete(handle), value);
      assert.equal(await store.delete(handle), undefined);
      await assertAbsent(store, handle);
    },
  },
  {
    title: `of ${PARALLEL} parallel deletes exactly one gets what was stored`,
    proof: async (store) => {
      const { handle, value } = await stored(store);
      const got = await Promise.all(times(PARALLEL, () => store.delete(handle)));
      assert.deepEqual(
        got.filter((one) => one !== undefined),
        [value],
      );
    },
  },
];

const BODIES = {
  'no body at all': '',
  unicode: 'Grüße, 日本語, 🦊, \u{10ffff}, \u2028, \ufeff',
  'NUL characters': '\0a\0\0b\0',
  'line ends': 'a\nb\r\nc\r\n',
  'a script': `'; redis.call("FLUSHALL") --`,
  'a statement': `'); DELETE FROM sessions; --`,
  'quotes, backslashes and placeholders': `"'\`\\ \\n %s $1 ? :a {0}`,
} as const;

const values: Guarantee[] = [
  ...Object.entries(BODIES).map(([what, body]) => ({
    title: `values come back byte for byte: ${what}`,
    proof: (store: SessionStore) => assertExact(store, body),
  })),
  {
    title: 'values come back byte for byte: 64 KiB',
    needs: 'largeValues',
    proof: (store) => assertExact(store, '0123456789abcdef'.repeat(4_096)),
  },
];

async function assertExact(store: SessionStore, body: string): Promise<void> {
  const witness = await stored(store);
  const { handle, value, expected } = await stored(store, body);
  const same = (found: StoredValue | undefined) => assert.ok(found === value, 'not the same value');
  same(await valueIn(store, handle));
  same((await store.load(handle, { touch: HOUR }))?.value);
  same((await store.load(handle, { remaining: true }))?.value);
  const other = versionOf(newValue());
  assertConflict(await store.save(handle, newValue(), { expected: other, ttl: HOUR }), value);
  const next = newValue(body, value);
  assert.equal((await store.save(handle, next, { expected, ttl: HOUR })).status, 'saved');
  assert.ok((await store.delete(handle)) === next, 'not the same value');
  assert.equal(await valueIn(store, witness.handle), witness.value, 'another session suffered');
}

const operators: Guarantee[] = [
  {
    title:
      'count tells how many sessions are stored: not those that ended, nor what renewed ids left',
    needs: 'count',
    proof: async (store, time) => {
      assert.equal(await store.count(), 0);
      const startedAt = performance.now();
      const short = await stored(store, 'body', SHORT);
      const [first] = await Promise.all(times(3, () => stored(store)));
      await store.delete(first!.handle);
      assert.equal(
        await store.create(newHandle(), newValue('left', undefined, '>'), { ttl: HOUR }),
        true,
      );
      await time.untilEnded(store, short.handle, SHORT, startedAt);
      assert.equal(await store.count(), 2);
    },
  },
  { title: 'ping resolves while the store answers', proof: (store) => store.ping() },
];

/** The whole contract, by topic. */
export const storeGuarantees: Readonly<Record<string, readonly Guarantee[]>> = {
  absence,
  create,
  load,
  save,
  'touch and delete': touchAndDelete,
  values,
  operators,
};
