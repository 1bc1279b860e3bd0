import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { until } from './app.js';
import { freePort } from './redis-server.js';

/** Database servers refuse to be run by root: then somebody without any rights does it. */
const RUN_BY = process.getuid?.() === 0 ? { uid: 65_534, gid: 65_534 } : {};

/** Where a program is, also where distributions put those that are not for everybody. */
export function programAt(name: string, ...folders: readonly string[]): string | undefined {
  const path = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', ...folders];
  return path.map((folder) => join(folder, name)).find((file) => existsSync(file));
}

/** A database server on a port of ours, in a directory of its own, ended by its process id. */
export abstract class SqlProcess {
  #child: ChildProcess | undefined;
  port = 0;
  readonly directory = mkdtempSync(join(tmpdir(), 'session-sql-'));

  constructor() {
    if (RUN_BY.uid !== undefined) chownSync(this.directory, RUN_BY.uid, RUN_BY.gid);
  }

  get isRunning(): boolean {
    return this.#child?.exitCode === null && this.#child.signalCode === null;
  }

  /** Starts it (again, on the same port) and waits until it answers. */
  async run(): Promise<void> {
    if (this.port === 0) this.port = await freePort();
    const [program, args] = this.command();
    this.#child = spawn(program, args, { stdio: 'ignore', cwd: this.directory, ...RUN_BY });
    await until('the server answers', () => this.answers().catch(() => this.#orFail()), {
      within: 30_000,
    });
  }

  /** Ends it, its clients or not, and leaves its files in order; `run()` starts it again. */
  async end(signal = this.gently): Promise<void> {
    if (!this.isRunning) return;
    const gone = once(this.#child as ChildProcess, 'exit');
    this.#child?.kill(signal);
    await gone;
  }

  /** Ends it for good. */
  async stop(): Promise<void> {
    await this.end('SIGKILL');
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** What it takes as a wish to end at once, in good order. */
  protected abstract readonly gently: NodeJS.Signals;

  /** What makes its files. */
  protected prepare(program: string, args: readonly string[]): void {
    const made = spawnSync(program, args, {
      cwd: this.directory,
      encoding: 'utf8',
      timeout: 60_000,
      ...RUN_BY,
    });
    if (made.status !== 0) throw new Error(`${program} failed: ${made.stderr}`);
  }

  /** What runs it. */
  protected abstract command(): readonly [program: string, args: readonly string[]];

  protected abstract answers(): Promise<boolean>;

  #orFail(): boolean {
    if (!this.isRunning) throw new Error('the server has ended');
    return false;
  }
}
