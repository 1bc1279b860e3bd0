import { readdirSync, rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileSessionStore, type FileStoreOptions } from 'nestjs-distributed-session/file';

/** Directories of a test file, and the stores over them. */
export class TestDirectories {
  readonly #paths: string[] = [];
  readonly #stores: FileSessionStore[] = [];

  async make(): Promise<string> {
    const path = await mkdtemp(join(tmpdir(), 'session-files-'));
    this.#paths.push(path);
    return path;
  }

  /** A store that sweeps when it is told to. */
  open(options: FileStoreOptions): FileSessionStore {
    const store = new FileSessionStore({ sweepEvery: false, ...options });
    this.#stores.push(store);
    return store;
  }

  async remove(): Promise<void> {
    await Promise.all(this.#stores.splice(0).map((store) => store.close()));
    // A test may have put one away.
    for (const path of this.#paths.splice(0).flatMap((one) => [one, `${one}.away`])) {
      rmSync(path, { recursive: true, force: true });
    }
  }
}

/** All files below a directory. */
export function filesIn(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1))
    .sort();
}

/** Files of sessions: those of the store itself are left out. */
export const sessionFilesIn = (directory: string): string[] =>
  filesIn(directory).filter((path) => path !== 'format');
