import { constants } from 'node:fs';
import { open, readdir, readFile, rename, rmdir, unlink, writeFile } from 'node:fs/promises';
import { join, sep } from 'node:path';
import { SessionDamagedError } from '../../core/session.errors.js';
import type { StoredValue } from '../../core/session-store.interface.js';
import { contentOf, valueIn } from './file-content.js';
import { codeOf, isDone, unless } from './file-failure.js';
import { isValueFile, nameOf, stateIn, valueFile, type SessionState } from './session-state.js';

/** What lies in a folder. */
export interface Listing {
  readonly names: readonly string[];
  /** `undefined`: no session. */
  readonly state: SessionState | undefined;
}

const GONE = ['ENOENT', 'ESTALE'];
/** Of a directory that is not empty, as file systems say it. */
export const IN_USE = ['ENOTEMPTY', 'EEXIST'];
/** Neither a pipe nor what a link leads to is ever read. */
const READ = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;
/** What is there instead of a value's file is none. */
const FOREIGN = ['ELOOP', 'EMLINK', 'EISDIR', 'ENXIO'];

/**
 * The folder of one session: an empty file whose name is the session's state, and a file with its value.
 *
 * A value's file is written first, and counts for nothing until the state names it. Whoever writes one has
 * seen the state before, and renames exactly that: if it has another name meanwhile, its file is rubbish.
 * So whoever has renamed the state may remove all other files that were there when it was read.
 */
export class SessionFolder {
  constructor(
    readonly path: string,
    private readonly durable: boolean,
  ) {}

  /** Where it is in the directory: a digest, in three parts. */
  get name(): string {
    return this.path.split(sep).slice(-3).join('/');
  }

  /** `undefined`: there is no such folder. */
  async list(): Promise<Listing | undefined> {
    // What is renamed while a directory is read may be missed where file systems are not those of a kernel.
    for (let looks = 2; ; looks--) {
      const names = await unless(GONE, readdir(this.path));
      if (!names) return undefined;
      const state = names.map(stateIn).find(Boolean);
      if (state || looks === 1) return { names, state };
    }
  }

  /**
   * The value of a state; `undefined` if the state has changed since.
   *
   * @throws SessionDamagedError (`SESSION_DAMAGED`) for what is not whole; that session is ended
   */
  async read(state: SessionState): Promise<StoredValue | undefined> {
    const file = join(this.path, valueFile(state.token));
    let content: string | undefined;
    try {
      content = await readFile(file, { encoding: 'utf8', flag: READ });
    } catch (error) {
      const code = codeOf(error) ?? '';
      if (!GONE.includes(code) && !FOREIGN.includes(code)) throw error;
      const isStill = (await this.list())?.names.includes(nameOf(state));
      if (!isStill) return undefined;
    }
    const value = content === undefined ? undefined : valueIn(content);
    if (value !== undefined) return value;
    await this.#unlink(nameOf(state));
    throw new SessionDamagedError();
  }

  /** Writes what nobody sees yet; `false` if there is no folder any more. */
  write(value: StoredValue, token: string): Promise<boolean> {
    const file = join(this.path, valueFile(token));
    const options = { flag: 'wx', mode: 0o600, flush: this.durable };
    return isDone(GONE, writeFile(file, contentOf(value), options));
  }

  /** Puts a state in the place of another; `false`, and nothing done, if that is not the session's any more. */
  async swap({ state, names }: Listing, next: SessionState): Promise<boolean> {
    const from = join(this.path, nameOf(state as SessionState));
    if (!(await isDone(GONE, rename(from, join(this.path, nameOf(next)))))) return false;
    // Of a window that was merely moved, a loss of power may forget the last move.
    if (next.token !== state?.token) await this.#flush();
    await this.#removeValues(names.filter((name) => name !== valueFile(next.token)));
    return true;
  }

  /** Ends the session; `false`, and nothing done, if it has another state. */
  async end({ state, names }: Listing): Promise<boolean> {
    if (!(await this.#unlink(nameOf(state as SessionState)))) return false;
    await this.#flush();
    await this.clear(names);
    return true;
  }

  /** Removes what was left in a folder without a session. None of it can come to life: its state is gone. */
  async clear(names: readonly string[]): Promise<void> {
    await this.#removeValues(names);
    await isDone([...GONE, ...IN_USE], rmdir(this.path));
  }

  /**
   * Takes back what was written in vain; `false`, and nothing done, if it is the session's value after all:
   * a server of files may carry out what it then says it could not, being asked twice.
   */
  async takeBack(token: string): Promise<boolean> {
    if ((await this.list())?.state?.token === token) return false;
    await this.#unlink(valueFile(token));
    await isDone([...GONE, ...IN_USE], rmdir(this.path));
    return true;
  }

  async #removeValues(names: readonly string[]): Promise<void> {
    for (const name of names) if (isValueFile(name)) await this.#unlink(name);
  }

  #unlink(name: string): Promise<boolean> {
    return isDone(GONE, unlink(join(this.path, name)));
  }

  async #flush(): Promise<void> {
    if (this.durable) await flushFolder(this.path);
  }
}

/** What was renamed or removed in it is on the disk. */
export async function flushFolder(path: string): Promise<void> {
  const folder = await unless(GONE, open(path, 'r'));
  if (!folder) return;
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
