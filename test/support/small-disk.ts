import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Files and folders that it holds at most. */
const INODES = 2_000;

/** A disk of a few megabytes that can be filled: a tmpfs. */
export class SmallDisk {
  private constructor(readonly path: string) {}

  /** It takes root, and some containers forbid it. */
  static isPermitted(): boolean {
    try {
      SmallDisk.mount('1m').remove();
      return true;
    } catch {
      return false;
    }
  }

  static mount(size: string): SmallDisk {
    const path = mkdtempSync(join(tmpdir(), 'session-disk-'));
    try {
      const args = ['-t', 'tmpfs', '-o', `size=${size},nr_inodes=${INODES}`, 'tmpfs', path];
      execFileSync('mount', args, { stdio: 'ignore' });
    } catch (error) {
      rmSync(path, { recursive: true });
      throw error;
    }
    return new SmallDisk(path);
  }

  /** Takes all that is left: not even an empty folder can be made. */
  fill(): void {
    let files = readdirSync(this.path).filter((name) => name.startsWith('full-')).length;
    const take = (size: number) =>
      writeFileSync(join(this.path, `full-${files++}`), Buffer.alloc(size), { flush: true });
    for (let size = 1_000_000; size >= 1;) {
      try {
        take(size);
      } catch {
        size = Math.floor(size / 10);
      }
    }
    for (let isFull = false; !isFull;) {
      try {
        take(0);
      } catch {
        isFull = true;
      }
    }
  }

  /** Gives back what {@link fill} took. */
  free(): void {
    for (const name of readdirSync(this.path)) {
      if (name.startsWith('full-')) rmSync(join(this.path, name));
    }
  }

  remove(): void {
    execFileSync('umount', [this.path]);
    rmSync(this.path, { recursive: true });
  }
}
