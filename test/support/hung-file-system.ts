import { execFileSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, rmSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** Threads of Node that carry out what files are asked. */
const THREADS = Number(process.env.UV_THREADPOOL_SIZE ?? 4);

/**
 * A file system that answers nothing, as a mount whose server is away: each thread waits for somebody who
 * writes into a pipe. What is asked meanwhile is carried out when it answers again.
 */
export class HungFileSystem {
  readonly #folder = mkdtempSync(join(tmpdir(), 'session-hung-'));
  readonly #waiting: Promise<unknown>[] = [];

  /** From now on nothing is answered. */
  hang(): void {
    for (let i = 0; i < THREADS; i++) {
      execFileSync('mkfifo', [this.#pipe(i)]);
      this.#waiting.push(open(this.#pipe(i), 'r').then((file) => file.close()));
    }
  }

  /** It answers again, what it was asked first of all. */
  async answer(): Promise<void> {
    const writers = this.#waiting.map((_, i) =>
      openSync(this.#pipe(i), constants.O_RDWR | constants.O_NONBLOCK),
    );
    await Promise.all(this.#waiting);
    for (const writer of writers) closeSync(writer);
    rmSync(this.#folder, { recursive: true });
  }

  #pipe(i: number): string {
    return join(this.#folder, String(i));
  }
}
