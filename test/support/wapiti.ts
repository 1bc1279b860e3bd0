import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findBinary } from './redis-server.js';

/** What a scanner complains about. */
export interface Finding {
  readonly category: string;
  readonly info: string;
  readonly method: string;
  readonly path: string;
  /** The request, as it is sent. */
  readonly http_request: string;
}

export interface Scan {
  readonly url: string;
  readonly modules: readonly string[];
  /** Pages that no other leads to. */
  readonly start?: readonly string[];
  /** Logs in first, by the form of the first page. */
  readonly user?: { readonly name: string; readonly password: string };
}

interface Report {
  readonly vulnerabilities: Readonly<Record<string, readonly Omit<Finding, 'category'>[]>>;
  readonly anomalies: Readonly<Record<string, readonly Omit<Finding, 'category'>[]>>;
}

/** Lets wapiti loose on a server, and reads its report. It talks to nobody else, and keeps nothing. */
export async function scan({ url, modules, start = [], user }: Scan): Promise<Finding[]> {
  const folder = mkdtempSync(join(tmpdir(), 'session-wapiti-'));
  try {
    const config = join(folder, 'config');
    mkdirSync(config);
    // Otherwise it fetches one, for a module that nobody asked for.
    writeFileSync(join(config, 'apps.json'), '{}');
    const report = join(folder, 'report.json');
    const where = ['-u', url, '-m', modules.join(','), '-f', 'json', '-o', report];
    const own = ['--store-config', config, '--store-session', join(folder, 'session')];
    const how = ['--verify-ssl', '0', '--flush-session', '--no-bugreport', '-v', '1'];
    const pages = start.flatMap((path) => ['-s', new URL(path, url).href]);
    const login = user ? ['-a', `${user.name}%${user.password}`, '--auth-type', 'post'] : [];
    const output = await run(folder, [...where, ...own, ...how, ...pages, ...login]);
    if (!existsSync(report)) throw new Error(`wapiti has nothing to report:\n${output}`);
    return findingsOf(JSON.parse(readFileSync(report, 'utf8')) as Report);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function findingsOf({ vulnerabilities, anomalies }: Report): Finding[] {
  return [vulnerabilities, anomalies].flatMap((one) =>
    Object.entries(one).flatMap(([category, found]) =>
      found.map((finding) => ({ ...finding, category })),
    ),
  );
}

async function run(home: string, args: readonly string[]): Promise<string> {
  const binary = findBinary('wapiti');
  if (!binary) throw new Error('wapiti is missing: apt-get install wapiti');
  // In English, and without any proxy.
  const env = { PATH: process.env.PATH ?? '', HOME: home, LANG: 'C.UTF-8' };
  const child = spawn(binary, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (output += chunk.toString()));
  await once(child, 'close');
  return output;
}
