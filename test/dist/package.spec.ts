import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { RedisServer } from '../support/redis-server.js';

const run = promisify(execFile);
const root = resolve(import.meta.dirname, '../..');

const STACKS = [
  { name: 'Nest 12 and ioredis 6', nest: '12', ioredis: '6' },
  { name: 'Nest 11 and ioredis 5', nest: '11', ioredis: '5.11' },
];
const NODES = ['20', '22', '24'];

let redis: RedisServer;
let folder: string;
let tarball: string;

beforeAll(async () => {
  redis = await RedisServer.start();
  folder = mkdtempSync(join(tmpdir(), 'session-dist-'));
  await run('npm', ['run', 'build'], { cwd: root });
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], {
    cwd: root,
  });
  tarball = join(folder, (JSON.parse(stdout) as { filename: string }[])[0]!.filename);
  await install('nodes', Object.fromEntries(NODES.map((n) => [`node${n}`, `npm:node@${n}`])));
}, 300_000);

afterAll(async () => {
  await redis.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe.each(STACKS)('the packed package with $name', ({ nest, ioredis }) => {
  let project: string;

  let dependencies: Record<string, string>;

  beforeAll(async () => {
    dependencies = {
      'nestjs-distributed-session': `file:${tarball}`,
      '@nestjs/common': `^${nest}`,
      '@nestjs/core': `^${nest}`,
      '@nestjs/platform-express': `^${nest}`,
      '@nestjs/platform-fastify': `^${nest}`,
      'class-validator': '^0.15.1',
      ioredis: `^${ioredis}`,
      'reflect-metadata': '^0.2.2',
      rxjs: '^7.8.2',
    };
    project = await install(`nest${nest}`, dependencies);
    cpSync(join(import.meta.dirname, 'consumer'), project, { recursive: true });
  }, 300_000);

  it.each(
    NODES.flatMap((node) => [
      [node, 'import', 'app.mjs'],
      [node, 'require', 'app.cjs'],
    ]),
  )('serves a shop on Express and Fastify, Node %s, by %s', async (node, _how, script) => {
    const binary = join(folder, 'nodes', 'node_modules', `node${node}`, 'bin', 'node');
    const env = { ...process.env, REDIS_URL: redis.url, NODE_OPTIONS: '' };
    const version = await run(binary, ['-v']);
    expect(version.stdout).toMatch(new RegExp(`^v${node}\\.`));
    const { stdout } = await run(binary, [script as string], {
      cwd: project,
      env,
      timeout: 60_000,
    });
    expect(stdout).toContain('done');
  });

  it('loads no package that is not asked for, and has a command', async () => {
    const binary = join(folder, 'nodes', 'node_modules', 'node24', 'bin', 'node');
    const env = { ...process.env, NODE_OPTIONS: '' };
    const { stdout } = await run(binary, ['subpaths.mjs'], { cwd: project, env });
    expect(stdout).toContain('done');
    const command = ['--no-install', 'nestjs-distributed-session', 'stats', '--json'];
    const stats = await run('npx', [...command, '--redis', redis.url], { cwd: project });
    expect(JSON.parse(stats.stdout)).toMatchObject({ sessions: expect.any(Number) });
  });

  it('serves sockets, and loads all else, with the packages that those need', async () => {
    const platforms = ['websockets', 'platform-ws', 'platform-socket.io'];
    const further = Object.fromEntries(platforms.map((one) => [`@nestjs/${one}`, `^${nest}`]));
    const peers = {
      kysely: '^0.29.0',
      '@opentelemetry/api': '^1.9.0',
      '@nestjs/terminus': `^${nest}`,
    };
    const own = await install(`sockets${nest}`, { ...dependencies, ...further, ...peers });
    cpSync(join(import.meta.dirname, 'consumer'), own, { recursive: true });
    const binary = join(folder, 'nodes', 'node_modules', 'node24', 'bin', 'node');
    const env = { ...process.env, REDIS_URL: redis.url, NODE_OPTIONS: '' };
    for (const script of [['sockets.mjs'], ['subpaths.mjs', 'with-peers']]) {
      const { stdout } = await run(binary, script, { cwd: own, env, timeout: 60_000 });
      expect(stdout).toContain('done');
    }
  }, 300_000);
});

/** A project of its own, with these dependencies from the registry. */
async function install(name: string, dependencies: Record<string, string>): Promise<string> {
  const project = join(folder, name);
  cpSync(join(import.meta.dirname, 'consumer', 'scenario.cjs'), join(project, 'scenario.cjs'));
  writeFileSync(join(project, 'package.json'), JSON.stringify({ private: true, dependencies }));
  await run('npm', ['install', '--no-audit', '--no-fund', '--foreground-scripts=false'], {
    cwd: project,
  });
  return project;
}
