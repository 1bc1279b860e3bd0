import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { nextVersion } from '../../lib/core/session-record.js';
import { until } from '../support/app.js';
import { bodyIn, bodyOf } from '../support/file-body.js';
import { FileBuild, type FileProcess } from '../support/file-process.js';
import { sessionFilesIn, TestDirectories } from '../support/file-directory.js';
import type { FileTask } from '../support/file-worker.js';

const HOUR = 3_600_000;
const EACH = 5_000;
const KILLS = 15;
const RACES = 100;

describe('processes that share a directory of sessions', () => {
  const directories = new TestDirectories();
  const running: FileProcess[] = [];
  let build: FileBuild;

  beforeAll(async () => {
    build = await FileBuild.make();
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((one) => one.kill()));
    await directories.remove();
  });
  afterAll(() => build.remove());

  const start = (directory: string, task: FileTask) => {
    const started = build.start(directory, task);
    running.push(started);
    return started;
  };

  async function withSession() {
    const directory = await directories.make();
    const store = directories.open({ directory });
    const handle = await begin(store);
    const count = async () => bodyIn((await store.load(handle))?.value as string);
    return { directory, store, handle, count };
  }

  it(`make ${2 * EACH} changes of one session, none is lost, and a third reads none that is torn`, async () => {
    const { directory, handle, count } = await withSession();
    const reader = start(directory, { task: 'watch', handle, upTo: 2 * EACH });
    const writers = [1, 2].map(() => start(directory, { task: 'count', handle, times: EACH }));
    const told = (await Promise.all(writers.map((one) => one.done()))).flat().map(Number);
    expect(await count()).toBe(2 * EACH);
    expect(told.sort((a, b) => a - b)).toEqual(Array.from({ length: 2 * EACH }, (_, i) => i + 1));
    expect(Number((await reader.done())[0])).toBeGreaterThan(100);
    expect(sessionFilesIn(directory)).toHaveLength(2);
  });

  it(`are ended in the middle ${KILLS} times, and nothing that was acknowledged is lost`, async () => {
    const { directory, handle, count } = await withSession();
    const other = start(directory, { task: 'count', handle, times: 1_500 });
    let acknowledged = 0;
    for (let i = 0; i < KILLS; i++) {
      const victim = start(directory, { task: 'count', handle, times: 1_000_000 });
      // Whatever it is about just then.
      const many = 1 + Math.floor(Math.random() * 60);
      await until('it has begun', () => victim.told.length >= many, { within: 20_000 });
      acknowledged += (await victim.kill()).length;
    }
    acknowledged += (await other.done()).length;
    const counted = await count();
    expect(counted).toBeGreaterThanOrEqual(acknowledged);
    expect(counted).toBeLessThanOrEqual(acknowledged + KILLS);
    const last = start(directory, { task: 'count', handle, times: 1 });
    expect(await last.done()).toEqual([String(counted + 1)]);
    expect(sessionFilesIn(directory)).toHaveLength(2);
  });

  it('end sessions that others are just saving: none comes back, and no file stays', async () => {
    const directory = await directories.make();
    const store = directories.open({ directory });
    const handles = await Promise.all(Array.from({ length: RACES }, () => begin(store)));
    const deleting = start(directory, { task: 'delete', handles });
    const saving = start(directory, { task: 'save', handles });
    expect(await deleting.done()).toEqual(handles);
    await saving.done();
    expect(await Promise.all(handles.map((one) => store.load(one)))).toEqual(
      handles.map(() => undefined),
    );
    expect(sessionFilesIn(directory)).toEqual([]);
  });

  it('sweep what has ended in batches, two at once, and leave alone what is in use', async () => {
    const directory = await directories.make();
    const store = directories.open({ directory });
    const yesterday = directories.open({ directory, now: () => Date.now() - 24 * HOUR });
    await Promise.all(Array.from({ length: 1_000 }, () => begin(yesterday)));
    const handle = await begin(store);
    const alive = await Promise.all(Array.from({ length: 50 }, () => begin(store)));
    const writer = start(directory, { task: 'count', handle, times: 500 });
    const sweepers = [1, 2].map(() => start(directory, { task: 'sweep', limit: 100 }));
    const batches = (await Promise.all(sweepers.map((one) => one.done()))).flat().map(Number);
    expect(batches.reduce((sum, one) => sum + one, 0)).toBe(1_000);
    expect(Math.max(...batches)).toBeLessThanOrEqual(100);
    expect(await writer.done()).toHaveLength(500);
    expect(await store.count()).toBe(alive.length + 1);
    expect(sessionFilesIn(directory)).toHaveLength(2 * (alive.length + 1));
  });
});

async function begin(store: ReturnType<TestDirectories['open']>): Promise<string> {
  const handle = handleOf(newSessionId());
  expect(await store.create(handle, `${nextVersion()}1${bodyOf(0)}`, { ttl: HOUR })).toBe(true);
  return handle;
}
