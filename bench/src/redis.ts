import { Redis } from 'ioredis';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** What Redis has done so far. */
export interface RedisTotals {
  /** Processor time in microseconds. */
  readonly cpu: number;
  /** Bytes received and sent. */
  readonly in: number;
  readonly out: number;
}

/** A free port of the loopback interface. */
export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}

/** A Redis of the benchmark's own on a free port, in memory only. */
export class BenchRedis {
  private constructor(
    readonly url: string,
    readonly client: Redis,
    private readonly process: ChildProcess,
    private readonly directory: string,
  ) {}

  static async start(): Promise<BenchRedis> {
    const port = await freePort();
    const directory = mkdtempSync(join(tmpdir(), 'session-bench-'));
    const quiet = ['--bind', '127.0.0.1', '--dir', directory, '--save', '', '--appendonly', 'no'];
    const child = spawn('redis-server', ['--port', String(port), ...quiet], { stdio: 'ignore' });
    child.on('error', () => {
      throw new Error('redis-server is missing: apt-get install redis-server');
    });
    const url = `redis://127.0.0.1:${port}`;
    const client = new Redis(url, { retryStrategy: () => 20, maxRetriesPerRequest: 500 });
    client.on('error', () => undefined);
    await client.ping();
    return new BenchRedis(url, client, child, directory);
  }

  async version(): Promise<string> {
    return fieldOf(await this.client.info('server'), 'redis_version');
  }

  async totals(): Promise<RedisTotals> {
    const info = await this.client.info();
    const value = (name: string) => Number(fieldOf(info, name));
    return {
      cpu: (value('used_cpu_user') + value('used_cpu_sys')) * 1e6,
      in: value('total_net_input_bytes'),
      out: value('total_net_output_bytes'),
    };
  }

  /** Bytes of memory in use. */
  async memory(): Promise<number> {
    return Number(fieldOf(await this.client.info('memory'), 'used_memory'));
  }

  async stop(): Promise<void> {
    this.client.disconnect();
    const gone = once(this.process, 'exit');
    this.process.kill('SIGKILL');
    await gone;
    rmSync(this.directory, { recursive: true, force: true });
  }
}

const fieldOf = (info: string, name: string): string =>
  new RegExp(`^${name}:(.*)$`, 'm').exec(info)?.[1]?.trim() ?? '';
