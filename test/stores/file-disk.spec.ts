import { afterEach, describe, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { nextVersion, versionOf } from '../../lib/core/session-record.js';
import { filesIn, TestDirectories } from '../support/file-directory.js';
import { SmallDisk } from '../support/small-disk.js';

const HOUR = 3_600_000;
const ttl = HOUR;
const unavailable = (message: RegExp) =>
  expect.objectContaining({
    code: 'SESSION_STORE_UNAVAILABLE',
    message: expect.stringMatching(message),
  });

const newHandle = () => handleOf(newSessionId());
const newValue = () => `${nextVersion()}1body`;
const after = (value: string, body: string) => `${nextVersion(versionOf(value))}1${body}`;

const directories = new TestDirectories();

const canMount = SmallDisk.isPermitted();
if (!canMount) {
  const skipped =
    'mounting a tmpfs takes root, and is refused here: SKIPPED disks that are full or read-only';
  if (process.env.CI) throw new Error(skipped);
  console.warn(skipped);
}

(canMount ? describe : describe.skip)('a disk', () => {
  let disk: SmallDisk | undefined;
  afterEach(async () => {
    await directories.remove();
    disk?.remove();
    disk = undefined;
  });

  async function onDisk() {
    disk = SmallDisk.mount('2m');
    const directory = join(disk.path, 'sessions');
    const store = directories.open({ directory });
    const [handle, value] = [newHandle(), newValue()];
    await store.create(handle, value, { ttl });
    const large = after(value, 'large'.repeat(20_000));
    const save = () => store.save(handle, large, { expected: versionOf(value) });
    return { disk, directory, store, handle, value, large, save };
  }

  it('that is full refuses what is new, loses nothing, and lets sessions end', async () => {
    const { disk, directory, store, handle, value, large, save } = await onDisk();
    const other = newHandle();
    await store.create(other, newValue(), { ttl });
    const files = filesIn(directory);
    disk.fill();
    const full = unavailable(/disk is full.*make room/);
    await expect(save()).rejects.toEqual(full);
    await expect(store.create(newHandle(), newValue(), { ttl })).rejects.toEqual(full);
    await store.ping();
    const begunAnew = directories.open({ directory });
    expect((await begunAnew.load(handle))?.value).toBe(value);
    expect((await store.load(handle))?.value).toBe(value);
    expect(filesIn(directory)).toEqual(files);
    expect(await store.delete(other)).toBeDefined();
    expect(await store.load(other)).toBeUndefined();
    disk.free();
    expect(await save()).toEqual({ status: 'saved' });
    expect((await store.load(handle))?.value).toBe(large);
    await store.ping();
  });

  it('that is read-only refuses all changes, and can be read', async () => {
    const { disk, directory, store, handle, value, save } = await onDisk();
    const remount = (how: string) => execFileSync('mount', ['-o', `remount,${how}`, disk.path]);
    remount('ro');
    const readOnly = unavailable(/read-only.*mount it writable/);
    await expect(save()).rejects.toEqual(readOnly);
    await expect(store.touch(handle, ttl)).rejects.toEqual(readOnly);
    await expect(store.load(handle, { touch: ttl })).rejects.toEqual(readOnly);
    await expect(store.delete(handle)).rejects.toEqual(readOnly);
    await expect(store.create(newHandle(), newValue(), { ttl })).rejects.toEqual(readOnly);
    await expect(store.ping()).rejects.toEqual(readOnly);
    for (const one of [store, directories.open({ directory })]) {
      expect((await one.load(handle))?.value).toBe(value);
    }
    remount('rw');
    expect(await save()).toEqual({ status: 'saved' });
  });

  it('that is full gets room by what has ended', async () => {
    disk = SmallDisk.mount('2m');
    const directory = join(disk.path, 'sessions');
    const troubles: string[] = [];
    const onTrouble = (message: string) => void troubles.push(message);
    const old = directories.open({ directory, now: () => Date.now() - 2 * HOUR });
    for (let i = 0; i < 20; i++) await old.create(newHandle(), newValue(), { ttl });
    disk.fill();
    const store = directories.open({ directory, onTrouble });
    const create = () => store.create(newHandle(), newValue(), { ttl });
    await expect(create()).rejects.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    expect(await store.deleteExpired()).toEqual({ deleted: 20, more: false });
    expect(await create()).toBe(true);
    disk.fill();
    // Nothing ends, so there is no room for more, and the round succeeds all the same.
    expect(await store.deleteExpired()).toEqual({ deleted: 0, more: false });
    expect(troubles).toEqual([]);
  });
});
