import { hash } from 'node:crypto';
import { constants } from 'node:fs';
import {
  access,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  rmdir,
  stat,
  writeFile,
} from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { SessionOptionsError, SessionStoreUnavailableError } from '../../core/session.errors.js';
import type { Deadline } from './file-deadline.js';
import { isDone, unless } from './file-failure.js';
import { orUnusable, Unusable } from './file-troubles.js';
import { flushFolder, IN_USE, SessionFolder } from './session-folder.js';
import { nameOf, newToken, valueFile, type SessionState } from './session-state.js';
import { contentOf } from './file-content.js';
import type { StoredValue } from '../../core/session-store.interface.js';

/** Says that sessions lie here, and how. */
const MARK = 'format';
const FORMAT = 'nestjs-distributed-session files 1\n';
const DRAFTS = 'drafts';
const SHARD = /^[0-9a-f]{2}$/;
const FOLDER = /^[0-9a-f]{60}$/;
/** A draft that is older, in milliseconds, is of somebody who was ended. */
const ABANDONED = 3_600_000;
/** There is no room. */
const FULL = ['ENOSPC', 'EDQUOT'];

const shardsIn = (names: readonly string[]) => names.filter((name) => SHARD.test(name)).sort();
const foldersIn = (names: readonly string[]) => names.filter((name) => FOLDER.test(name));

/** How a directory is used. */
export interface DirectoryOptions {
  readonly directory: string;
  readonly create: boolean;
  readonly durable: boolean;
}

/**
 * Where all sessions lie: `ab/cd/…`, a folder each, named by a digest of the handle. Handles are no part of
 * any path.
 */
export class FileDirectory {
  readonly #root: string;
  readonly #create: boolean;
  readonly #durable: boolean;
  #ready: Promise<void> | undefined;

  constructor({ directory, create, durable }: DirectoryOptions) {
    this.#root = resolve(directory);
    this.#create = create;
    this.#durable = durable;
  }

  /** Resolves when it is there, and does what is asked of it; found out once. */
  ready(): Promise<void> {
    this.#ready ??= this.#open().catch((error: unknown) => {
      this.#ready = undefined;
      throw error;
    });
    return this.#ready;
  }

  /** Fails unless it is there, and may be written. That a disk is full is no reason: sessions can be read and ended. */
  async check(): Promise<void> {
    await this.ready();
    await this.isThere();
    await access(join(this.#root, DRAFTS), constants.R_OK | constants.W_OK | constants.X_OK);
  }

  /** Fails if it is not there any more: what a mount held would all seem to have ended. */
  async isThere(): Promise<void> {
    if (await unless(['ENOENT'], stat(join(this.#root, MARK)))) return;
    const remedy =
      'mount the file system again, or start the nodes anew if it is meant to be empty';
    throw new SessionStoreUnavailableError('the directory of the sessions has vanished', remedy);
  }

  folderOf(handle: string): SessionFolder {
    const name = hash('sha256', handle, 'hex');
    return this.#folder(name.slice(0, 2), name.slice(2, 4), name.slice(4));
  }

  /** Begins a session elsewhere, and puts it in its place whole; `false`, and nothing done, if there is something. */
  async begin(
    folder: SessionFolder,
    value: StoredValue,
    state: SessionState,
    deadline?: Deadline,
  ): Promise<boolean> {
    const draft = join(this.#root, DRAFTS, newToken());
    let isPlaced = false;
    try {
      await this.#write(draft, value, state);
      isPlaced = await this.#place(draft, folder.path, deadline);
    } finally {
      if (!isPlaced) await this.#discard(draft);
    }
    return isPlaced;
  }

  /** All folders there are, and those that cannot be looked into. */
  async *folders(): AsyncGenerator<SessionFolder | Unusable> {
    for (const first of shardsIn(await readdir(this.#root))) {
      for (const second of await this.#inside(first, shardsIn)) {
        if (second instanceof Unusable) yield second;
        else yield* this.#foldersIn(first, second);
      }
    }
  }

  /**
   * Removes drafts that nobody will put in place: by the clock of the file system, and no other. Answers with
   * those that cannot be removed.
   */
  async removeAbandoned(): Promise<Unusable[]> {
    const now = await this.#clock();
    if (now === undefined) return [];
    const unusable: Unusable[] = [];
    for (const name of await readdir(join(this.#root, DRAFTS))) {
      const removed = await orUnusable(
        `${DRAFTS}/${name}`,
        this.#removeDraft(name, now - ABANDONED),
      );
      if (removed instanceof Unusable) unusable.push(removed);
    }
    return unusable;
  }

  /** Milliseconds since the epoch, as the file system says; `undefined` on a disk that is full. */
  async #clock(): Promise<number | undefined> {
    const probe = join(this.#root, DRAFTS, newToken());
    if (!(await isDone(FULL, mkdir(probe, { mode: 0o700 })))) return undefined;
    const { mtimeMs } = await stat(probe);
    await rmdir(probe);
    return mtimeMs;
  }

  async #removeDraft(name: string, before: number): Promise<void> {
    const drafts = join(this.#root, DRAFTS);
    const path = join(drafts, name);
    const found = await unless(['ENOENT'], stat(path));
    if (!found || found.mtimeMs > before) return;
    // Under another name nobody can put it in place any more, half removed.
    const claimed = join(drafts, newToken());
    if (await isDone(['ENOENT'], rename(path, claimed))) await this.#discard(claimed);
  }

  async *#foldersIn(first: string, second: string): AsyncGenerator<SessionFolder | Unusable> {
    for (const name of await this.#inside(`${first}/${second}`, foldersIn)) {
      yield name instanceof Unusable ? name : this.#folder(first, second, name);
    }
  }

  /** What of some kind is in a folder of folders. */
  async #inside(
    name: string,
    kind: (names: readonly string[]) => string[],
  ): Promise<(string | Unusable)[]> {
    const reading = unless(['ENOENT'], readdir(join(this.#root, name)));
    const names = await orUnusable(name, reading);
    return names instanceof Unusable ? [names] : kind(names ?? []);
  }

  async #write(draft: string, value: StoredValue, state: SessionState): Promise<void> {
    const options = { flag: 'wx', mode: 0o600, flush: this.#durable };
    await mkdir(draft, { mode: 0o700 });
    await writeFile(join(draft, valueFile(state.token)), contentOf(value), options);
    await writeFile(join(draft, nameOf(state)), '', options);
    if (this.#durable) await flushFolder(draft);
  }

  async #place(draft: string, path: string, deadline?: Deadline): Promise<boolean> {
    const isIn = async () => {
      deadline?.check();
      return isDone(IN_USE, rename(draft, path));
    };
    const first = await unless(['ENOENT'], isIn());
    if (first === undefined) await this.#makeShard(dirname(path));
    const isPlaced = first ?? (await isIn());
    if (isPlaced && this.#durable) await flushFolder(dirname(path));
    return isPlaced;
  }

  async #discard(draft: string): Promise<void> {
    await rm(draft, { recursive: true, force: true });
  }

  #folder(first: string, second: string, name: string): SessionFolder {
    return new SessionFolder(join(this.#root, first, second, name), this.#durable);
  }

  /** Never the root itself: without it, the mount is not there. */
  async #makeShard(path: string): Promise<void> {
    for (const folder of [dirname(path), path]) {
      const isNew = await isDone(['EEXIST'], mkdir(folder, { mode: 0o700 }));
      if (isNew && this.#durable) await flushFolder(dirname(folder));
    }
  }

  async #open(): Promise<void> {
    if (this.#create) await mkdir(this.#root, { recursive: true, mode: 0o700 });
    await isDone(['EEXIST'], mkdir(join(this.#root, DRAFTS), { mode: 0o700 }));
    await this.#mark();
    // What is there already can be read all the same.
    await isDone([...FULL, 'EROFS'], this.#tryOut());
  }

  async #mark(): Promise<void> {
    const mark = join(this.#root, MARK);
    // By a rename: whoever reads it at the same moment must not find it empty.
    if (!(await unless(['ENOENT'], stat(mark)))) {
      const draft = join(this.#root, DRAFTS, newToken());
      await writeFile(draft, FORMAT, { flag: 'wx', mode: 0o600 });
      await rename(draft, mark);
    }
    if ((await readFile(mark, 'utf8')) === FORMAT) return;
    throw new SessionOptionsError([
      'the directory of the file store holds sessions in another format: give it a directory of its own, or upgrade this node',
    ]);
  }

  /** What all of it rests on: only one can rename a file, and nothing is put where something is. */
  async #tryOut(): Promise<void> {
    const place = join(this.#root, DRAFTS, newToken());
    const [full, empty] = [join(place, 'full'), join(place, 'empty')];
    const [name, other] = [join(full, 'a'), join(full, 'b')];
    try {
      for (const path of [place, full, empty]) await mkdir(path, { mode: 0o700 });
      await writeFile(name, '', { flag: 'wx', mode: 0o600 });
      const once = await isDone(['ENOENT'], rename(name, other));
      const twice = await isDone(['ENOENT'], rename(name, other));
      const over = await isDone(IN_USE, rename(empty, full));
      if (once && !twice && !over) return;
    } finally {
      await this.#discard(place);
    }
    throw new SessionOptionsError([
      'the file system of the file store does not rename as POSIX asks for: use a local one, NFS 4.1 or CephFS, and no bucket of objects',
    ]);
  }
}
