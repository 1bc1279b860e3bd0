import { transformFile } from '@swc/core';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

const ROOT = join(import.meta.dirname, '../..');
const CACHE = join(ROOT, 'node_modules/.cache');

/** How a program has ended. */
export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** The most memory that it had, in bytes; 0 where the system does not tell. */
  readonly memory: number;
}

/** The program of the package, compiled from the sources as they are now, to be run as users do. */
export class BuiltCli {
  private constructor(
    private readonly folder: string,
    readonly main: string,
  ) {}

  static async make(): Promise<BuiltCli> {
    mkdirSync(CACHE, { recursive: true });
    // In the repository: its packages are found from there.
    const folder = mkdtempSync(join(CACHE, 'backup-cli-'));
    const lib = join(ROOT, 'lib');
    const sources = readdirSync(lib, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => join(entry.parentPath, entry.name));
    await Promise.all(
      sources.map(async (source) => {
        const { code } = await transformFile(source, SWC);
        const target = join(folder, 'dist', relative(lib, source).replace(/\.ts$/, '.js'));
        mkdirSync(dirname(target), { recursive: true });
        writeFileSync(target, code);
      }),
    );
    copyFileSync(join(ROOT, 'package.json'), join(folder, 'package.json'));
    const cli = new BuiltCli(folder, join(folder, 'dist/cli/main.js'));
    cli.#shadowNpx();
    return cli;
  }

  /** Where `npx nestjs-distributed-session` is this one. */
  get path(): string {
    return `${join(this.folder, 'bin')}:${process.env.PATH ?? ''}`;
  }

  run(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
    return runProcess(process.execPath, [this.main, ...args], { env });
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #shadowNpx(): void {
    const npx = join(this.folder, 'bin/npx');
    mkdirSync(dirname(npx));
    const lines = [
      '#!/bin/sh',
      '[ "$1" = nestjs-distributed-session ] || exit 64',
      'shift',
      `exec "${process.execPath}" "${this.main}" "$@"`,
    ];
    writeFileSync(npx, `${lines.join('\n')}\n`);
    chmodSync(npx, 0o755);
  }
}

export const SWC = {
  swcrc: false,
  jsc: {
    target: 'es2022',
    parser: { syntax: 'typescript', decorators: true },
    transform: { legacyDecorator: true, decoratorMetadata: true, useDefineForClassFields: true },
  },
  module: { type: 'es6' },
} as const;

/** Runs a program to its end, with a bare environment. */
export async function runProcess(
  program: string,
  args: readonly string[],
  { env = {}, cwd }: { env?: Record<string, string>; cwd?: string } = {},
): Promise<Ended> {
  const { PATH = '', TMPDIR = '' } = process.env;
  const child = spawn(program, args, {
    cwd,
    env: { PATH, ...(TMPDIR && { TMPDIR }), ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (chunk: Buffer) => (output.stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output.stderr += chunk.toString()));
  let memory = 0;
  const watch = setInterval(() => (memory = Math.max(memory, peakOf(child.pid))), 50);
  const [code] = (await once(child, 'close')) as [number | null];
  clearInterval(watch);
  return { ...output, code, memory };
}

/** Of a process, or of the largest that it has started. */
function peakOf(pid: number | undefined): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const own = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1] ?? 0) * 1_024;
    const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
    return Math.max(own, ...children.split(' ').filter(Boolean).map(Number).map(peakOf));
  } catch {
    return 0;
  }
}
