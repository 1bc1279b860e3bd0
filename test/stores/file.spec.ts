import { afterEach, describe, expect, it } from '@jest/globals';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { FileSessionStore } from 'nestjs-distributed-session/file';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { nextVersion, versionOf } from '../../lib/core/session-record.js';
import { asFailure } from '../../lib/stores/file/file-failure.js';
import { SessionFolder } from '../../lib/stores/file/session-folder.js';
import { nameOf, newToken, stateIn, stateOf } from '../../lib/stores/file/session-state.js';
import { sessionFilesIn, TestDirectories } from '../support/file-directory.js';

const HOUR = 3_600_000;
const ttl = HOUR;
const unavailable = (message: RegExp) =>
  expect.objectContaining({
    code: 'SESSION_STORE_UNAVAILABLE',
    message: expect.stringMatching(message),
  });
const damaged = expect.objectContaining({ code: 'SESSION_DAMAGED' });

const newHandle = () => handleOf(newSessionId());
const newValue = (body = 'body') => `${nextVersion()}1${body}`;
const after = (value: string, body = 'next') => `${nextVersion(versionOf(value))}1${body}`;

const directories = new TestDirectories();
afterEach(() => directories.remove());

async function opened() {
  const directory = await directories.make();
  return { directory, store: directories.open({ directory }) };
}

async function withSession(body?: string) {
  const { directory, store } = await opened();
  const [handle, value] = [newHandle(), newValue(body)];
  await store.create(handle, value, { ttl });
  const paths = sessionFilesIn(directory).map((path) => join(directory, path));
  const [state, file] = paths as [string, string];
  const save = (next = after(value)) => store.save(handle, next, { expected: versionOf(value) });
  return { directory, store, handle, value, state, file, folder: dirname(file), save };
}

describe('a directory of sessions', () => {
  it('has a folder for each session, in two levels, which nobody else may read', async () => {
    const { directory, state, file } = await withSession();
    const place = /^\/[0-9a-f]{2}\/[0-9a-f]{2}\/[0-9a-f]{60}\//;
    expect(file.slice(directory.length)).toMatch(place);
    expect(basename(state)).toMatch(/^s\.[0-9a-f.]+$/);
    for (const entry of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
      const found = statSync(join(directory, entry));
      expect([entry, found.mode & 0o777]).toEqual([entry, found.isDirectory() ? 0o700 : 0o600]);
    }
  });

  it('is never left, whatever a handle says', async () => {
    const outside = await directories.make();
    const directory = join(outside, 'deep/sessions');
    const store = directories.open({ directory });
    const handles = [
      '..',
      '../../x',
      '/etc/passwd',
      'a\0b',
      'a',
      'A',
      '',
      '.',
      'CON',
      '~',
      'é',
      'e\u0301',
    ];
    handles.push('x'.repeat(100_000), '%2e%2e/', '..\\..\\x', 'constructor', '*', '$(id)', '\n');
    const values = handles.map((handle) => newValue(handle));
    for (const [i, handle] of handles.entries()) {
      expect(await store.create(handle, values[i] as string, { ttl })).toBe(true);
    }
    for (const [i, handle] of handles.entries()) {
      expect((await store.load(handle))?.value).toBe(values[i]);
    }
    const places = new Set(sessionFilesIn(directory).map(dirname));
    expect(places.size).toBe(handles.length);
    for (const place of places) expect(place).toMatch(/^[0-9a-f]{2}\/[0-9a-f]{2}\/[0-9a-f]{60}$/);
    expect(readdirSync(outside)).toEqual(['deep']);
    expect(readdirSync(join(outside, 'deep'))).toEqual(['sessions']);
    for (const handle of handles) await store.delete(handle);
    expect(sessionFilesIn(directory)).toEqual([]);
  });

  it('that is missing is an outage where it is not to be made', async () => {
    const directory = join(await directories.make(), 'mount/sessions');
    const store = directories.open({ directory, create: false });
    const missing = unavailable(/directory is missing.*mount the file system/);
    await expect(store.load(newHandle())).rejects.toEqual(missing);
    expect(existsSync(directory)).toBe(false);
    mkdirSync(directory, { recursive: true });
    expect(await store.load(newHandle())).toBeUndefined();
  });

  it('that vanishes is an outage, and no session has ended', async () => {
    const { directory, store, handle, value, save } = await withSession();
    renameSync(directory, `${directory}.away`);
    mkdirSync(directory);
    const vanished = unavailable(/has vanished.*mount the file system again/);
    await expect(store.load(handle)).rejects.toEqual(vanished);
    await expect(save()).rejects.toEqual(vanished);
    await expect(store.touch(handle, ttl)).rejects.toEqual(vanished);
    await expect(store.delete(handle)).rejects.toEqual(vanished);
    await expect(store.count()).rejects.toEqual(vanished);
    await expect(store.ping()).rejects.toEqual(vanished);
    const missing = unavailable(/directory is missing/);
    await expect(store.create(newHandle(), newValue(), { ttl })).rejects.toEqual(missing);
    expect(readdirSync(directory)).toEqual([]);
    rmSync(directory, { recursive: true });
    renameSync(`${directory}.away`, directory);
    expect((await store.load(handle))?.value).toBe(value);
    await store.ping();
  });

  it('in another format is refused, and left as it is', async () => {
    const { directory, store } = await opened();
    writeFileSync(join(directory, 'format'), 'another\n');
    const refused = expect.objectContaining({ code: 'SESSION_OPTIONS_INVALID' });
    await expect(store.ping()).rejects.toEqual(refused);
    await expect(store.create(newHandle(), newValue(), { ttl })).rejects.toEqual(refused);
    expect(sessionFilesIn(directory)).toEqual([]);
  });

  it('that does not answer fails in time', async () => {
    const directory = await directories.make();
    const store = directories.open({ directory, timeout: 100 });
    const pipe = join(directory, 'format');
    execFileSync('mkfifo', [pipe]);
    await expect(store.load(newHandle())).rejects.toEqual(unavailable(/no answer/));
    // It waits for a writer.
    writeFileSync(pipe, 'nestjs-distributed-session files 1\n');
    rmSync(pipe);
  });

  it.each([
    [{ directory: '' }, /directory of the file store/],
    [{ directory: 'a\0b' }, /directory of the file store/],
    [{ directory: '/x', timeout: 0 }, /timeout.*'5s'/],
    [{ directory: '/x', sweepEvery: 0 }, /sweepEvery.*'10m', or false/],
    [{ directory: '/x', sweepEvery: 'soon' as '1s' }, /sweepEvery/],
    // Longer than a timer of Node: it would end at once.
    [{ directory: '/x', timeout: '30d' as const }, /timeout.*at most '24d'/],
    [{ directory: '/x', sweepEvery: '30d' as const }, /sweepEvery.*at most '24d'/],
    [{ directory: '/x', onTrouble: 'warn' as never }, /onTrouble/],
  ])('is refused at boot where an option is wrong: %j', (options, message) => {
    expect(() => new FileSessionStore(options)).toThrow(message);
  });
});

describe('a file that is not whole', () => {
  const torn: Record<string, (file: string) => void> = {
    'cut off': (file) => writeFileSync(file, readFileSync(file).subarray(0, 60)),
    empty: (file) => writeFileSync(file, ''),
    'full of zeros': (file) => writeFileSync(file, Buffer.alloc(statSync(file).size)),
    'longer than it was': (file) => writeFileSync(file, `${readFileSync(file, 'utf8')}x`),
    removed: (file) => rmSync(file),
    'a link to another': (file) => {
      renameSync(file, `${file}.there`);
      symlinkSync(`${file}.there`, file);
    },
    'a pipe': (file) => {
      rmSync(file);
      execFileSync('mkfifo', [file]);
    },
    'a directory': (file) => {
      rmSync(file);
      mkdirSync(file);
    },
  };

  it.each(Object.keys(torn))(
    'is never returned, is told once, and ends its session: %s',
    async (how) => {
      const { store, handle, file } = await withSession('a body'.repeat(20));
      torn[how]?.(file);
      await expect(store.load(handle)).rejects.toEqual(damaged);
      expect(await store.load(handle)).toBeUndefined();
      expect(await store.touch(handle, ttl)).toBe(false);
    },
  );

  it('is ended by a logout, and replaced by a change that does not need it', async () => {
    const one = await withSession();
    writeFileSync(one.file, 'x');
    expect(await one.store.delete(one.handle)).toBeUndefined();
    expect(await one.store.load(one.handle)).toBeUndefined();
    const other = await withSession();
    writeFileSync(other.file, 'x');
    const next = after(other.value);
    expect(await other.save(next)).toEqual({ status: 'saved' });
    expect((await other.store.load(other.handle))?.value).toBe(next);
  });
});

describe('what a process leaves that is ended in the middle', () => {
  /** As if a save had been ended between its steps. */
  async function unfinished(folder: string, body = 'unfinished') {
    const token = newToken();
    await new SessionFolder(folder, false).write(newValue(body), token);
    return join(folder, `v.${token}`);
  }

  it('of a change that nobody has seen goes with the next change, touch or end', async () => {
    for (const verb of ['save', 'touch', 'delete'] as const) {
      const { store, handle, folder, value, save } = await withSession();
      const left = await unfinished(folder);
      expect((await store.load(handle))?.value).toBe(value);
      if (verb === 'save') await save();
      else if (verb === 'touch') await store.touch(handle, ttl);
      else await store.delete(handle);
      expect(existsSync(left)).toBe(false);
    }
  });

  it('behind a change goes with the next one', async () => {
    const { store, handle, folder, value, state } = await withSession();
    const [token, next] = [newToken(), after(value)];
    await new SessionFolder(folder, false).write(next, token);
    const before = stateIn(basename(state))!;
    renameSync(state, join(folder, nameOf(stateOf(next, before.endsAt, token, before))));
    expect((await store.load(handle))?.value).toBe(next);
    await store.touch(handle, ttl);
    expect(readdirSync(folder)).toHaveLength(2);
  });

  it('cannot come to life behind a touch, not even one that changes nothing', async () => {
    const directory = await directories.make();
    const store = directories.open({ directory, now: () => 1_000 });
    const [handle, value, token] = [newHandle(), newValue(), newToken()];
    await store.create(handle, value, { ttl });
    const folder = new SessionFolder(
      join(directory, dirname(sessionFilesIn(directory)[0]!)),
      false,
    );
    const listing = (await folder.list())!;
    const next = after(value);
    await folder.write(next, token);
    expect(await store.touch(handle, ttl)).toBe(true);
    const to = stateOf(next, listing.state!.endsAt, token, listing.state);
    expect(await folder.swap(listing, to)).toBe(false);
    expect((await store.load(handle))?.value).toBe(value);
  });

  it('of a session that was ended stands in nobody’s way', async () => {
    const { directory, store, handle, state, folder } = await withSession();
    rmSync(state);
    expect(await store.load(handle)).toBeUndefined();
    expect(await store.delete(handle)).toBeUndefined();
    await unfinished(folder);
    const value = newValue('again');
    expect(await store.create(handle, value, { ttl })).toBe(true);
    expect((await store.load(handle))?.value).toBe(value);
    expect(sessionFilesIn(directory)).toHaveLength(2);
  });

  it('of a session that was ended is swept', async () => {
    const { directory, store, state, folder } = await withSession();
    await unfinished(folder);
    rmSync(state);
    expect(await store.deleteExpired()).toEqual({ deleted: 0, more: false });
    expect(sessionFilesIn(directory)).toEqual([]);
    expect(existsSync(folder)).toBe(false);
  });

  it('before a session began is swept when nobody can mean it any more', async () => {
    const { directory, store } = await opened();
    await store.ping();
    const [old, fresh] = [newToken(), newToken()].map((name) => join(directory, 'drafts', name));
    for (const draft of [old, fresh] as string[]) {
      mkdirSync(draft);
      writeFileSync(join(draft, 'v.1'), 'x');
    }
    const hoursAgo = statSync(fresh as string).mtimeMs / 1_000 - 2 * 3_600;
    utimesSync(old as string, hoursAgo, hoursAgo);
    await store.deleteExpired();
    expect(readdirSync(join(directory, 'drafts'))).toEqual([basename(fresh as string)]);
  });

  it('is not taken back where it was carried out after all, its reply being lost', async () => {
    const { store, handle, folder: path, value, state } = await withSession();
    const [folder, token, next] = [new SessionFolder(path, false), newToken(), after(value)];
    const listing = (await folder.list())!;
    const to = stateOf(next, listing.state!.endsAt, token, listing.state);
    await folder.write(next, token);
    renameSync(state, join(path, nameOf(to)));
    expect(await folder.swap(listing, to)).toBe(false);
    expect(await folder.takeBack(token)).toBe(false);
    expect((await store.load(handle))?.value).toBe(next);
  });
});

describe('what a file system says', () => {
  it.each([
    ['ENOSPC', /disk is full.*make room/],
    ['EDQUOT', /quota/],
    ['EROFS', /read-only.*mount it writable/],
    ['EACCES', /not permitted.*let this process/],
    ['EMFILE', /too many open files.*raise the limit/],
    ['ESTALE', /stale.*mount the file system again/],
    ['EIO', /EIO.*look at the file system/],
  ])('is an outage with a remedy, and tells no path: %s', (code, message) => {
    const error = Object.assign(new Error(`${code}: /some/path`), { code, path: '/some/path' });
    const failure = asFailure(error) as Error;
    expect(failure).toEqual(unavailable(message));
    expect(JSON.stringify(failure) + failure.message).not.toContain('/some/path');
  });
});
