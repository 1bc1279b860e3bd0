import { afterEach, describe, expect, it } from '@jest/globals';
import { mkdirSync, readdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { nextVersion } from '../../lib/core/session-record.js';
import { orUnusable, Unusable } from '../../lib/stores/file/file-troubles.js';
import { until } from '../support/app.js';
import { sessionFilesIn, TestDirectories } from '../support/file-directory.js';

const HOUR = 3_600_000;
const ttl = HOUR;
const newHandle = () => handleOf(newSessionId());
const newValue = () => `${nextVersion()}1body`;

const directories = new TestDirectories();
afterEach(() => directories.remove());

async function opened() {
  const directory = await directories.make();
  return { directory, store: directories.open({ directory }) };
}

describe('the sweeper', () => {
  const DAY = 24 * HOUR;
  const yesterday = () => Date.now() - DAY;

  it('goes on where the last batch ended, and looks at no more than it was told to', async () => {
    const { directory, store } = await opened();
    const old = directories.open({ directory, now: yesterday });
    await Promise.all(
      Array.from({ length: 25 }, () => old.create(newHandle(), newValue(), { ttl })),
    );
    const deleted = [];
    for (let more = true; more;) {
      const batch = await store.deleteExpired({ limit: 10 });
      deleted.push(batch.deleted);
      more = batch.more;
    }
    expect(deleted).toEqual([10, 10, 5]);
    expect(sessionFilesIn(directory)).toEqual([]);
    expect(await store.deleteExpired({ limit: 10 })).toEqual({ deleted: 0, more: false });
  });

  it('works by itself, in any number of nodes, until it is closed', async () => {
    const { directory } = await opened();
    const old = directories.open({ directory, now: yesterday });
    const keep = () => old.create(newHandle(), newValue(), { ttl });
    await Promise.all(Array.from({ length: 20 }, keep));
    const nodes = [1, 2].map(() => directories.open({ directory, sweepEvery: 10 }));
    const areSwept = async () => (await old.count()) === 0;
    await until('all are swept', areSwept);
    await keep();
    await until('it is swept, too', areSwept);
    await Promise.all(nodes.map((one) => one.close()));
    expect(sessionFilesIn(directory)).toEqual([]);
  });

  it('survives what makes it fail', async () => {
    const { directory } = await opened();
    const old = directories.open({ directory, now: yesterday });
    await old.create(newHandle(), newValue(), { ttl });
    const troubles: string[] = [];
    const onTrouble = (message: string) => void troubles.push(message);
    directories.open({ directory, sweepEvery: 10, onTrouble });
    renameSync(directory, `${directory}.away`);
    await until('it is told', () => troubles.length > 0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    renameSync(`${directory}.away`, directory);
    await until('it is swept', async () => (await old.count()) === 0);
    // Not with each round that fails.
    expect(troubles).toEqual([
      expect.stringMatching(/could not be removed.*mount the file system/),
    ]);
  });

  it.each([0, -1, NaN, '10' as never])(
    'refuses a limit by which it would never get on: %s',
    async (limit) => {
      const { store } = await opened();
      const refused = expect.objectContaining({ code: 'SESSION_OPTIONS_INVALID' });
      await expect(store.deleteExpired({ limit })).rejects.toEqual(refused);
    },
  );

  it('waits as long as it is told to, up to the longest timer', async () => {
    const { directory } = await opened();
    const old = directories.open({ directory, now: yesterday });
    await old.create(newHandle(), newValue(), { ttl });
    // With what is added so that not all nodes sweep together, it would be too long for a timer.
    for (let i = 0; i < 20; i++) directories.open({ directory, sweepEvery: 2 ** 31 - 1 });
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(await old.count()).toBe(1);
  });
});

describe('the sweeper, in a directory where something does not belong', () => {
  const SHARDS = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'));

  /** Sessions of yesterday, and one that lives; `onTrouble` collects what is told. */
  async function withEnded(count: number) {
    const directory = await directories.make();
    const troubles: string[] = [];
    const onTrouble = (message: string) => void troubles.push(message);
    const store = directories.open({ directory, onTrouble });
    const old = directories.open({ directory, now: () => Date.now() - 2 * HOUR });
    for (let i = 0; i < count; i++) await old.create(newHandle(), newValue(), { ttl });
    const ended = sessionFilesIn(directory).filter((path) => path.includes('/s.'));
    await store.create(newHandle(), newValue(), { ttl });
    return { directory, store, troubles, ended };
  }

  /** The lowest name that is free, so that all others come behind it. */
  const freeIn = (path: string) => {
    const taken = readdirSync(path);
    return SHARDS.find((name) => !taken.includes(name)) as string;
  };

  const wrong: Record<string, (directory: string) => string> = {
    'a file instead of a folder of folders': (directory) => {
      const name = freeIn(directory);
      writeFileSync(join(directory, name), 'x');
      return name;
    },
    'a file a level below': (directory) => {
      const first = freeIn(directory);
      mkdirSync(join(directory, first));
      writeFileSync(join(directory, first, '00'), 'x');
      return `${first}/00`;
    },
    'a file instead of a session': (directory) => {
      const name = join(freeIn(directory), '00', '0'.repeat(60));
      mkdirSync(dirname(join(directory, name)), { recursive: true });
      writeFileSync(join(directory, name), 'x');
      return name;
    },
    'a link that leads to itself': (directory) => {
      const name = freeIn(directory);
      symlinkSync(name, join(directory, name));
      return name;
    },
    'a folder instead of a value': (directory) => {
      const name = join(freeIn(directory), '00', '0'.repeat(60));
      mkdirSync(join(directory, name, 'v.x'), { recursive: true });
      return name;
    },
  };

  it.each(Object.keys(wrong))('removes all others, and tells it once: %s', async (how) => {
    const { directory, store, troubles, ended } = await withEnded(30);
    const name = wrong[how]!(directory);
    const batches = [];
    for (let more = true; more;) {
      const batch = await store.deleteExpired({ limit: 10 });
      batches.push(batch);
      more = batch.more;
    }
    expect(batches.reduce((sum, { deleted }) => sum + deleted, 0)).toBe(ended.length);
    expect(batches.reduce((sum, { leftOut = 0 }) => sum + leftOut, 0)).toBe(1);
    expect(await store.count()).toBe(1);
    expect(await store.deleteExpired()).toEqual({ deleted: 0, leftOut: 1, more: false });
    expect(troubles).toEqual([expect.stringContaining(`${name} is left out`)]);
    expect(troubles.join()).not.toContain(directory);
  });

  it('tells no more than twenty', async () => {
    const { directory, store, troubles } = await withEnded(1);
    const first = freeIn(directory);
    mkdirSync(join(directory, first));
    for (const name of SHARDS) writeFileSync(join(directory, first, name), 'x');
    expect(await store.deleteExpired()).toEqual({ deleted: 1, leftOut: 256, more: false });
    expect(troubles).toHaveLength(20);
    expect(troubles[19]).toMatch(/Further ones are not told/);
    rmSync(join(directory, first), { recursive: true });
    expect(await store.deleteExpired()).toEqual({ deleted: 0, more: false });
  });

  it.each([
    ['EACCES', true],
    ['EPERM', true],
    ['EIO', true],
    ['ENOTDIR', true],
    ['EMFILE', false],
    ['ENOSPC', false],
    ['EROFS', false],
  ])(
    'leaves one folder out where that is what fails, and nothing else: %s',
    async (code, isOne) => {
      const error = Object.assign(new Error(code), { code });
      const outcome = orUnusable('ab', Promise.reject(error));
      if (isOne) expect(await outcome).toEqual(new Unusable('ab', error));
      else await expect(outcome).rejects.toBe(error);
    },
  );
});
