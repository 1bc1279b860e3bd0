import { fork, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';

/** A process of the benchmark: answers each message with one message. */
export class Child {
  private constructor(private readonly process: ChildProcess) {}

  static start(script: string, args: readonly string[] = [], execArgv: string[] = []): Child {
    return new Child(fork(join(import.meta.dirname, script), args, { execArgv }));
  }

  async ask<Answer>(message: unknown): Promise<Answer> {
    const answer = this.told<Answer>();
    this.process.send(message as object);
    return answer;
  }

  /** What it says next; fails if it ends instead. */
  async told<Answer>(): Promise<Answer> {
    const given = new AbortController();
    const { signal } = given;
    try {
      return await Promise.race([
        once(this.process, 'message', { signal }).then(([answer]) => answer as Answer),
        once(this.process, 'exit', { signal }).then(([code]) => {
          const what = this.process.spawnargs.slice(1).join(' ');
          throw new Error(`${what} ended with ${String(code)}`);
        }),
      ]);
    } finally {
      given.abort();
    }
  }

  /** Asks it to end, and ends it if it does not. */
  async stop(): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    const gone = once(this.process, 'exit');
    this.process.send('stop');
    const late = setTimeout(() => this.process.kill('SIGKILL'), 3_000);
    await gone;
    clearTimeout(late);
  }
}
