import { transformFile } from '@swc/core';
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import type { FileTask } from './file-worker.js';

const ROOT = resolve(import.meta.dirname, '../..');
const WORKER = 'test/support/file-worker.ts';
const PARTS = ['lib/file.ts', 'lib/core', 'lib/stores/file', WORKER, 'test/support/file-body.ts'];

/** The file store, compiled for processes of its own: it needs no package. */
export class FileBuild {
  private constructor(private readonly folder: string) {}

  static async make(): Promise<FileBuild> {
    const folder = mkdtempSync(join(tmpdir(), 'session-file-build-'));
    writeFileSync(join(folder, 'package.json'), '{ "type": "module" }');
    for (const name of PARTS.flatMap(sourcesIn)) {
      const path = join(folder, name.replace(/\.ts$/, '.js'));
      mkdirSync(dirname(path), { recursive: true });
      const { code } = await transformFile(join(ROOT, name), {
        swcrc: false,
        jsc: { target: 'es2022', parser: { syntax: 'typescript', decorators: true } },
        module: { type: 'es6' },
      });
      writeFileSync(path, code);
    }
    return new FileBuild(folder);
  }

  start(directory: string, task: FileTask): FileProcess {
    const script = join(this.folder, WORKER.replace(/\.ts$/, '.js'));
    const argument = JSON.stringify({ directory, ...task });
    return new FileProcess(
      spawn(process.execPath, [script, argument], { stdio: ['ignore', 'pipe', 'pipe'] }),
    );
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function sourcesIn(part: string): string[] {
  if (part.endsWith('.ts')) return [part];
  const names = readdirSync(join(ROOT, part)).filter((name) => name.endsWith('.ts'));
  return names.map((name) => `${part}/${name}`);
}

/** A process that uses a directory of sessions. */
export class FileProcess {
  #told = '';
  #complaint = '';
  readonly #ended: Promise<number | string>;

  constructor(private readonly child: ChildProcessByStdio<null, Readable, Readable>) {
    child.stdout.on('data', (chunk: Buffer) => (this.#told += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (this.#complaint += chunk.toString()));
    this.#ended = once(child, 'close').then(
      ([code, signal]) => (code ?? signal) as number | string,
    );
  }

  /** Lines that it wrote. */
  get told(): string[] {
    return this.#told.split('\n').slice(0, -1);
  }

  /** Resolves with what it told when it has ended well. */
  async done(): Promise<string[]> {
    const how = await this.#ended;
    if (how !== 0) throw new Error(`it ended with ${how}: ${this.#complaint}`);
    return this.told;
  }

  /** Ends it without any notice, and resolves with what it had told. */
  async kill(): Promise<string[]> {
    this.child.kill('SIGKILL');
    await this.#ended;
    return this.told;
  }
}
