import { writeSync } from 'node:fs';
import { nextVersion, versionOf } from '../../lib/core/session-record.js';
import { FileSessionStore } from '../../lib/file.js';
import { bodyIn, bodyOf } from './file-body.js';

/** What a process of its own does with a directory of sessions. */
export type FileTask =
  | { readonly task: 'count'; readonly handle: string; readonly times: number }
  | { readonly task: 'watch'; readonly handle: string; readonly upTo: number }
  | { readonly task: 'save' | 'delete'; readonly handles: readonly string[] }
  | { readonly task: 'sweep'; readonly limit: number };

const HOUR = 3_600_000;
const given = JSON.parse(process.argv[2] as string) as FileTask & { directory: string };
const store = new FileSessionStore({ directory: given.directory, sweepEvery: false });

/** At once: what was told is told, even if the process is ended right behind it. */
const tell = (line: string): void => void writeSync(1, `${line}\n`);

async function saveNext(handle: string): Promise<number | 'gone'> {
  let value = (await store.load(handle))?.value;
  while (value !== undefined) {
    const count = bodyIn(value) + 1;
    const next = `${nextVersion(versionOf(value))}1${bodyOf(count)}`;
    const outcome = await store.save(handle, next, { expected: versionOf(value), ttl: HOUR });
    if (outcome.status === 'saved') return count;
    value = outcome.status === 'conflict' ? outcome.current : undefined;
  }
  return 'gone';
}

async function watch(handle: string, upTo: number): Promise<void> {
  let [seen, reads] = [0, 0];
  while (seen < upTo) {
    const value = (await store.load(handle))?.value;
    if (value === undefined) throw new Error('the session was not there');
    const count = bodyIn(value);
    if (count < seen) throw new Error(`${count} was read after ${seen}`);
    seen = count;
    reads++;
  }
  tell(String(reads));
}

/** Saves and touches until the session is gone; after that it has to stay so. */
async function saveUntilGone(handle: string): Promise<void> {
  let saves = 0;
  for (let first = true; (await saveNext(handle)) !== 'gone'; first = false) {
    if (first) tell(handle);
    saves++;
    await Promise.all([store.touch(handle, HOUR), store.load(handle, { touch: HOUR })]);
  }
  if (await store.load(handle)) throw new Error('it is back');
  tell(`gone after ${saves}`);
}

async function sweep(limit: number): Promise<void> {
  for (let more = true; more;) {
    const batch = await store.deleteExpired({ limit });
    tell(String(batch.deleted));
    more = batch.more;
  }
}

/** Each as soon as somebody has begun to use it. */
async function deleteInUse(handle: string): Promise<void> {
  while (bodyIn((await store.load(handle))?.value ?? '') === 0);
  if ((await store.delete(handle)) !== undefined) tell(handle);
}

switch (given.task) {
  case 'count':
    for (let i = 0; i < given.times; i++) tell(String(await saveNext(given.handle)));
    break;
  case 'watch':
    await watch(given.handle, given.upTo);
    break;
  case 'save':
    for (const handle of given.handles) await saveUntilGone(handle);
    break;
  case 'delete':
    for (const handle of given.handles) await deleteInUse(handle);
    break;
  case 'sweep':
    await sweep(given.limit);
}
await store.close();
