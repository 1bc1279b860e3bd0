import { execFileSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

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
      const args = ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path];
      execFileSync('mount', args, { stdio: 'ignore' });
    } catch (error) {
      rmSync(path, { recursive: true });
      throw error;
    }
    return new SmallDisk(path);
  }

  /** Takes all that is left. */
  fill(): void {
    for (let size = 1_000_000, i = 0; size >= 1; i++) {
      try {
        writeFileSync(join(this.path, `full-${i}`), Buffer.alloc(size), { flush: true });
      } catch {
        size = Math.floor(size / 10);
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
