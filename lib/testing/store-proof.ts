import assert from 'node:assert/strict';
import { handleOf, newSessionId } from '../core/session-id.js';
import { LIVE, nextVersion, versionOf } from '../core/session-record.js';
import type { SaveOutcome, SessionStore, StoredValue } from '../core/session-store.interface.js';

/** What a store may lack and still be one. */
export interface StoreToggles {
  /** `count()` tells the number of sessions. @default true */
  count?: boolean;
  /** It has the verbs of `IndexedSessionStore`. @default true */
  indexes?: boolean;
  /** It tells what happens: it has `news`, and the verbs of `IndexedSessionStore`. @default true */
  news?: boolean;
  /** It has a fence: `bring`, and an `endIn` that tells handles. @default tested if it has `bring` */
  fence?: boolean;
  /** Values of 64 KiB fit. @default true */
  largeValues?: boolean;
}

/** How time passes for the store under test. */
export interface StoreTime {
  pass(milliseconds: number): Promise<void>;
  /** Resolves when the window is over; fails if the session ends earlier or stays longer. */
  untilEnded(store: SessionStore, handle: string, window: number, startedAt: number): Promise<void>;
}

/** One sentence of the contract and its proof, on an empty store. */
export interface Guarantee {
  readonly title: string;
  /** What the store must have for it. */
  readonly needs?: keyof StoreToggles;
  readonly proof: (store: SessionStore, time: StoreTime) => Promise<void>;
}

/** A window that no test outlives. */
export const HOUR = 3_600_000;
/** A window that is waited for. */
export const SHORT = 80;
/** Lets a window that is not started anew become visibly shorter. */
export const PAUSE = 40;
export const SHORTER = HOUR - PAUSE / 2;
export const PARALLEL = 50;

export const newHandle = (): string => handleOf(newSessionId());
export const newValue = (body = 'body', previous?: StoredValue, kind = LIVE): StoredValue =>
  nextVersion(previous && versionOf(previous)) + kind + body;
export const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

export async function valueIn(
  store: SessionStore,
  handle: string,
): Promise<StoredValue | undefined> {
  return (await store.load(handle))?.value;
}

export async function remainingIn(store: SessionStore, handle: string): Promise<number> {
  const remaining = (await store.load(handle, { remaining: true }))?.remaining;
  assert.equal(typeof remaining, 'number', 'load did not tell `remaining`');
  return remaining as number;
}

export async function stored(store: SessionStore, body = 'body', ttl = HOUR) {
  const handle = newHandle();
  const value = newValue(body);
  assert.equal(await store.create(handle, value, { ttl }), true);
  return { handle, value, expected: versionOf(value) };
}

/** Nothing tells a handle that has ended from one that never was. */
export async function assertAbsent(store: SessionStore, handle: string): Promise<void> {
  const expected = versionOf(newValue());
  assert.equal(await store.load(handle), undefined);
  assert.equal(await store.load(handle, { touch: HOUR }), undefined);
  assert.equal(await store.load(handle, { remaining: true }), undefined);
  assert.equal(await store.touch(handle, HOUR), false);
  assert.equal((await store.save(handle, newValue(), { expected, ttl: HOUR })).status, 'gone');
  assert.equal((await store.save(handle, newValue(), { expected })).status, 'gone');
  assert.equal(await store.delete(handle), undefined);
  assert.equal(await store.load(handle), undefined, 'asking for it made it exist');
}

export function assertConflict(outcome: SaveOutcome, current: StoredValue): void {
  assert.equal(outcome.status, 'conflict');
  assert.ok(outcome.status === 'conflict' && outcome.current === current, 'not the current value');
}
