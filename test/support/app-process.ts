import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { renameSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { until } from './app.js';

const ROOT = resolve(import.meta.dirname, '../..');
const BUILDS = join(ROOT, 'node_modules/.cache/sample-builds');
/** What a build is made of. */
const SOURCES = ['lib', 'sample', 'package.json', 'tsconfig.json', 'tsconfig.build.json'];
const DAY = 24 * 60 * 60 * 1_000;

/**
 * The sample application, compiled as `npm start` compiles it, run as a process of its own.
 *
 * It starts with a bare environment: what is set where the tests run does not reach it.
 */
export class AppProcess {
  #log = '';
  readonly #ended: Promise<number | string>;

  private constructor(private readonly child: ChildProcessByStdio<null, Readable, Readable>) {
    child.stdout.on('data', (chunk: Buffer) => (this.#log += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (this.#log += chunk.toString()));
    this.#ended = once(child, 'close').then(
      ([code, signal]) => (code ?? signal) as number | string,
    );
  }

  /** Resolves when it listens. */
  static async start(environment: Record<string, string> = {}): Promise<AppProcess> {
    const app = await AppProcess.launch(environment);
    const listens = () => app.url !== '' || app.child.exitCode !== null;
    await until('the sample application listens', listens, { within: 30_000 });
    if (app.url === '') throw new Error(`the sample application ended:\n${app.log}`);
    return app;
  }

  /** Starts it, whatever becomes of it. */
  static async launch(environment: Record<string, string> = {}): Promise<AppProcess> {
    const folder = await builtSample();
    const { PATH = '', TMPDIR = '' } = process.env;
    const env = { PATH, ...(TMPDIR && { TMPDIR }), NO_COLOR: '1', PORT: '0', ...environment };
    const main = join(folder, 'dist-sample/main.js');
    return new AppProcess(
      spawn(process.execPath, [main], { env, stdio: ['ignore', 'pipe', 'pipe'] }),
    );
  }

  /** Where it listens, empty until it does. */
  get url(): string {
    return /Listening on (http:\S+)/.exec(this.#log)?.[1] ?? '';
  }

  get port(): number {
    return Number(new URL(this.url).port);
  }

  /** Everything that it printed. */
  get log(): string {
    return this.#log;
  }

  /** Resolves when it has ended, with its exit code, or the signal that ended it. */
  get ended(): Promise<number | string> {
    return this.#ended;
  }

  /** Asks it to end, and waits until it has. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<number | string> {
    this.child.kill(signal);
    const patience = setTimeout(() => this.child.kill('SIGKILL'), 10_000);
    const how = await this.#ended;
    clearTimeout(patience);
    return how;
  }
}

/**
 * A build of the sources as they are now, in a folder of its own: `dist` may be built anew by
 * others at any time. Built once for the same sources, whoever asks first.
 */
async function builtSample(): Promise<string> {
  const folder = join(BUILDS, digestOfSources());
  const lock = `${folder}.lock`;
  const step = async () => existsSync(folder) || (take(lock) && (await buildOnce(folder, lock)));
  await until('the sample is built', step, { within: 170_000 });
  return folder;
}

async function buildOnce(folder: string, lock: string): Promise<boolean> {
  const draft = `${folder}.${process.pid}`;
  try {
    // Somebody may have finished just before the lock was taken.
    if (existsSync(folder)) return true;
    await build(draft);
    renameSync(draft, folder);
    removeOldBuilds();
    return true;
  } finally {
    rmSync(draft, { recursive: true, force: true });
    rmSync(lock, { recursive: true, force: true });
  }
}

/** A lock is a folder: only one can make it. That of somebody who was ended does not last. */
function take(lock: string): boolean {
  try {
    mkdirSync(BUILDS, { recursive: true });
    mkdirSync(lock);
    return true;
  } catch {
    const age = Date.now() - (statSync(lock, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    if (age > 120_000) rmSync(lock, { recursive: true, force: true });
    return false;
  }
}

/** Types are checked elsewhere. */
async function build(folder: string): Promise<void> {
  for (const name of SOURCES) cpSync(join(ROOT, name), join(folder, name), { recursive: true });
  await compile(folder, 'tsconfig.build.json');
  await compile(folder, 'sample/tsconfig.json');
}

async function compile(folder: string, config: string): Promise<void> {
  const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
  const child = spawn(process.execPath, [tsc, '-p', join(folder, config), '--noCheck'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number];
  if (code !== 0) throw new Error(`${config} does not compile:\n${output}`);
}

function digestOfSources(): string {
  const hash = createHash('sha256');
  for (const name of SOURCES) {
    const path = join(ROOT, name);
    for (const file of statSync(path).isDirectory() ? filesIn(path) : [path]) {
      hash.update(`${file}\n`).update(readFileSync(file)).update('\n');
    }
  }
  return hash.digest('hex').slice(0, 16);
}

function filesIn(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

function removeOldBuilds(): void {
  for (const name of readdirSync(BUILDS)) {
    const path = join(BUILDS, name);
    const { mtimeMs = Date.now() } = statSync(path, { throwIfNoEntry: false }) ?? {};
    if (Date.now() - mtimeMs > DAY) rmSync(path, { recursive: true, force: true });
  }
}
