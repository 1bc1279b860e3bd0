import { transformFileSync } from '@swc/core';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

const ROOT = resolve(import.meta.dirname, '../..');
const LIB = join(ROOT, 'lib');

/** What a run of the program gave. */
export interface CliOutcome {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface CliRunOptions {
  readonly env?: Readonly<Record<string, string>>;
  /** What is typed, or piped. */
  readonly input?: string;
}

/** The program as it is shipped: the sources as they are now, as JavaScript, run as a process of their own. */
export class CliProgram {
  /** Where it begins. */
  readonly main: string;

  private constructor(private readonly folder: string) {
    this.main = join(folder, 'cli/main.js');
  }

  /** `dist` may be of other sources, and may be built anew by others at any time. */
  static build(): CliProgram {
    const cache = join(ROOT, 'node_modules/.cache');
    mkdirSync(cache, { recursive: true });
    const folder = mkdtempSync(join(cache, 'cli-build-'));
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    const entries = readdirSync(LIB, { recursive: true, withFileTypes: true });
    for (const entry of entries.filter(({ name }) => name.endsWith('.ts'))) {
      const path = join(entry.parentPath, entry.name);
      const to = join(folder, relative(LIB, path)).replace(/\.ts$/, '.js');
      mkdirSync(dirname(to), { recursive: true });
      writeFileSync(to, transformFileSync(path, SWC).code);
    }
    return new CliProgram(folder);
  }

  /** Runs it until it ends, without anything that is set where the tests run. */
  async run(args: readonly string[], { env = {}, input }: CliRunOptions = {}): Promise<CliOutcome> {
    const { PATH = '', TMPDIR = '' } = process.env;
    const child = spawn(process.execPath, [this.main, ...args], {
      env: { PATH, ...(TMPDIR && { TMPDIR }), ...env },
      stdio: ['pipe', 'pipe', 'pipe'],
      timeout: 60_000,
    });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
    child.stdin.on('error', () => undefined);
    child.stdin.end(input);
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, stdout, stderr };
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

const SWC = {
  swcrc: false,
  jsc: {
    target: 'es2022',
    parser: { syntax: 'typescript', decorators: true },
    transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: true },
    keepClassNames: true,
  },
  module: { type: 'es6' },
} as const;
