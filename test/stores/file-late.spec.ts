import { afterEach, describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import type { FileSessionStore } from 'nestjs-distributed-session/file';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { nextVersion, versionOf } from '../../lib/core/session-record.js';
import { filesIn, sessionFilesIn, TestDirectories } from '../support/file-directory.js';
import { HungFileSystem } from '../support/hung-file-system.js';

const ttl = 3_600_000;
const newValue = () => `${nextVersion()}1body`;
const directories = new TestDirectories();
afterEach(() => directories.remove());

/** A store whose file system stops answering when it is told to, or when the store asks for the time. */
async function opened() {
  const directory = await directories.make();
  const system = new HungFileSystem();
  let asksToGo = Infinity;
  const store = directories.open({
    directory,
    timeout: 150,
    now: () => {
      if (--asksToGo === 0) system.hang();
      return Date.now();
    },
  });
  await store.ping();
  const [handle, value] = [handleOf(newSessionId()), newValue()];
  return { directory, system, store, handle, value, hangAt: (ask: number) => (asksToGo = ask) };
}

type Change = (store: FileSessionStore, handle: string, value: string) => Promise<unknown>;

const CHANGES: Record<string, Change> = {
  save: (store, handle, value) => {
    const next = `${nextVersion(versionOf(value))}1next`;
    return store.save(handle, next, { expected: versionOf(value), ttl });
  },
  touch: (store, handle) => store.touch(handle, 2 * ttl),
  'load that touches': (store, handle) => store.load(handle, { touch: 2 * ttl }),
  delete: (store, handle) => store.delete(handle),
};

const noAnswer = expect.objectContaining({
  code: 'SESSION_STORE_UNAVAILABLE',
  message: expect.stringMatching(/no answer/),
});

/** The file system answers again, and all that was on its way has come to an end. */
async function goneOn(system: HungFileSystem): Promise<void> {
  await system.answer();
  await delay(100);
}

describe('a change that was answered "not available", the file system being too slow', () => {
  it.each(Object.keys(CHANGES))('does not begin later: %s', async (name) => {
    const { directory, system, store, handle, value } = await opened();
    await store.create(handle, value, { ttl });
    const files = filesIn(directory);
    system.hang();
    await expect(CHANGES[name]!(store, handle, value)).rejects.toEqual(noAnswer);
    await goneOn(system);
    expect(filesIn(directory)).toEqual(files);
    expect((await store.load(handle))?.value).toBe(value);
  });

  it('does not begin later: create', async () => {
    const { directory, system, store, handle, value } = await opened();
    const files = filesIn(directory);
    system.hang();
    await expect(store.create(handle, value, { ttl })).rejects.toEqual(noAnswer);
    await goneOn(system);
    expect(filesIn(directory)).toEqual(files);
    expect(await store.load(handle)).toBeUndefined();
  });

  it('is given up in the middle, and leaves nothing: save', async () => {
    const { directory, system, store, handle, value, hangAt } = await opened();
    await store.create(handle, value, { ttl });
    const files = filesIn(directory);
    // Once to see whether it lives, once for the new end: its value is about to be written.
    hangAt(2);
    await expect(CHANGES.save!(store, handle, value)).rejects.toEqual(noAnswer);
    await goneOn(system);
    expect(filesIn(directory)).toEqual(files);
    expect((await store.load(handle))?.value).toBe(value);
  });

  it('is given up in the middle, and leaves nothing: create', async () => {
    const { directory, system, store, handle, value, hangAt } = await opened();
    hangAt(1);
    await expect(store.create(handle, value, { ttl })).rejects.toEqual(noAnswer);
    await goneOn(system);
    expect(sessionFilesIn(directory)).toEqual([]);
    expect(await store.load(handle)).toBeUndefined();
    expect(await store.create(handle, value, { ttl })).toBe(true);
  });

  it('is given up in the middle: delete', async () => {
    const { system, store, handle, value, hangAt } = await opened();
    await store.create(handle, value, { ttl });
    // It has seen that the session lives, and is about to read it.
    hangAt(1);
    await expect(store.delete(handle)).rejects.toEqual(noAnswer);
    await goneOn(system);
    expect((await store.load(handle))?.value).toBe(value);
  });
});
