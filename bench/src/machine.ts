import { readFileSync } from 'node:fs';
import { cpus, platform, totalmem } from 'node:os';
import { join } from 'node:path';

/** Where and with what a run was made. */
export interface Machine {
  readonly date: string;
  readonly processor: string;
  readonly cores: number;
  readonly memoryGigabytes: number;
  readonly platform: string;
  readonly node: string;
  readonly redis: string;
  /** Package → version. */
  readonly versions: Readonly<Record<string, string>>;
}

const root = join(import.meta.dirname, '..', '..');

export function machineOf(redis: string): Machine {
  const own = ['@nestjs/core', '@nestjs/platform-express', '@nestjs/platform-fastify', 'ioredis'];
  const bench = JSON.parse(readFileSync(join(root, 'bench/package.json'), 'utf8')) as {
    dependencies: Record<string, string>;
  };
  const versions: Record<string, string> = {};
  for (const name of own) {
    const file = join(root, 'node_modules', name, 'package.json');
    versions[name] = (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
  }
  for (const [name, version] of Object.entries(bench.dependencies)) {
    if (!['node', 'echarts'].includes(name)) versions[name] = version;
  }
  const processors = cpus();
  return {
    date: new Date().toISOString().slice(0, 10),
    processor: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGigabytes: Math.round(totalmem() / 2 ** 30),
    platform: platform(),
    node: process.version.slice(1),
    redis,
    versions,
  };
}
