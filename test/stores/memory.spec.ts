import { describe, expect, it } from '@jest/globals';
import { MemorySessionStore } from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { nextVersion, versionOf } from '../../lib/core/session-record.js';

const HOUR = 3_600_000;
const PLACE = 'p:someone';
const BUCKET = 'a7';

const clock = new FakeClock();
const open = (maxSessions: number) => new MemorySessionStore(clock, { maxSessions });
const newValue = () => `${nextVersion()}1body`;

async function begin(store: MemorySessionStore, ttl = HOUR) {
  const [handle, value] = [handleOf(newSessionId(0xa7)), newValue()];
  const standing = { places: [PLACE], since: clock.now(), life: 24 * HOUR };
  expect(await store.create(handle, value, { ttl, standing })).toBe(true);
  return { handle, value };
}

describe('the memory of sessions', () => {
  it('keeps as many as it may, and drops who was used least recently', async () => {
    const store = open(3);
    const [first, second, third] = [await begin(store), await begin(store), await begin(store)];
    await store.load(first.handle);
    const fourth = await begin(store);
    expect(await store.count()).toBe(3);
    expect(await store.load(second.handle)).toBeUndefined();
    for (const { handle, value } of [first, third, fourth]) {
      expect(await store.load(handle)).toEqual({ value });
    }
  });

  it('drops one that stands in a place from there as well', async () => {
    const store = open(10);
    for (let i = 0; i < 1_000; i++) await begin(store);
    expect(await store.countIn(BUCKET, PLACE)).toBe(10);
    expect(await store.list(BUCKET, PLACE, { limit: 100 })).toHaveLength(10);
  });

  it('never revives what it dropped', async () => {
    const store = open(1);
    const { handle, value } = await begin(store);
    await begin(store);
    const next = `${nextVersion(versionOf(value))}1next`;
    const expected = versionOf(value);
    expect(await store.save(handle, next, { expected, ttl: HOUR })).toEqual({ status: 'gone' });
    expect(await store.touch(handle, HOUR)).toBe(false);
    expect(await store.bring(handle, next, HOUR)).toBe(false);
    expect(await store.load(handle)).toBeUndefined();
  });

  it('gives back what has ended by time as others begin, with nobody asking for it', async () => {
    const store = open(100);
    for (let i = 0; i < 50; i++) await begin(store, HOUR / 2);
    clock.advance(HOUR / 2);
    const kept = [];
    for (let i = 0; i < 100; i++) kept.push(await begin(store));
    expect(await store.count()).toBe(100);
    for (const { handle, value } of kept) expect(await store.load(handle)).toEqual({ value });
  });

  it('holds a hundred thousand where nobody says how many', async () => {
    const store = new MemorySessionStore(clock);
    for (let i = 0; i < 100_010; i++) await store.create(`h${i}`, newValue(), { ttl: HOUR });
    expect(await store.count()).toBe(100_000);
    expect(await store.load('h9')).toBeUndefined();
    expect(await store.load('h10')).toBeDefined();
  });
});
