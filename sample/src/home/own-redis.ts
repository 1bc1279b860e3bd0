import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { Readable } from 'node:stream';

const START_WITHIN = 5_000;

/**
 * Holds the server by a pipe: `read` returns when this process ends, in whatever way, even killed. Then
 * the server is ended by its process id and its directory goes.
 */
const LIFELINE = '"$@" </dev/null & read -r _; kill $!; wait $!; rm -rf "$OWN_REDIS_DIRECTORY"';

/** Where `redis-server` is, `undefined` if it is not on PATH. */
export function findRedisServer(): string | undefined {
  const folders = (process.env.PATH ?? '').split(delimiter).filter(Boolean);
  return folders.map((folder) => join(folder, 'redis-server')).find((path) => existsSync(path));
}

/**
 * Starts a redis-server that lives exactly as long as this process, on a free port of the loopback
 * interface, in a temporary directory.
 *
 * @returns its URL, once it accepts connections
 */
export async function startOwnRedis(program: string): Promise<string> {
  const port = await freePort();
  const directory = mkdtempSync(join(tmpdir(), 'shop-redis-'));
  const settings = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', directory];
  const volatile = ['--save', '', '--appendonly', 'no'];
  const child = spawn('/bin/sh', ['-c', LIFELINE, 'sh', program, ...settings, ...volatile], {
    env: { ...process.env, OWN_REDIS_DIRECTORY: directory },
    stdio: ['pipe', 'pipe', 'ignore'],
    // Ctrl-C in a terminal reaches the whole process group: requests in flight still need Redis.
    detached: true,
  });
  try {
    await ready(child.stdout);
  } catch (error) {
    child.stdin.end();
    throw error;
  }
  return `redis://127.0.0.1:${port}`;
}

/** Resolves when the server says that it is ready. */
function ready(output: Readable): Promise<void> {
  return new Promise((resolve, reject) => {
    const late = () => reject(new Error(`not ready within ${START_WITHIN} ms`));
    const timer = setTimeout(late, START_WITHIN);
    let said = '';
    output.on('data', (chunk: Buffer) => {
      said += chunk.toString();
      if (!said.includes('Ready to accept connections')) return;
      clearTimeout(timer);
      output.removeAllListeners('data').resume();
      resolve();
    });
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
