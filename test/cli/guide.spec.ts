import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get } from '@nestjs/common';
import { Session, SessionService } from 'nestjs-distributed-session';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPages, ROOT, tableRows } from '../docs/pages.js';
import type { Redis } from 'ioredis';
import { SessionsWorld } from '../backup/sessions-world.js';
import { inParallel, SECRET, until, type TestApp } from '../support/app.js';
import { CliProgram } from '../support/cli-program.js';
import { runCli } from '../support/cli-run.js';
import { Opened } from '../support/opened.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisServer } from '../support/redis-server.js';
import { type RedisUser } from '../support/redis-user.js';

const PROGRAM = 'npx nestjs-distributed-session ';

@Controller()
class LoginController {
  @Get('login')
  login(@Session() session: Session): string {
    session.set('seen', 1);
    return 'hello';
  }
}

const page = readPages().find(({ path }) => path === 'docs/cli.md')!;
const lines = page.blocks
  .filter(({ language }) => language === 'sh')
  .flatMap(({ text }) => text.trim().split('\n'));

/** The user that the page gives to operators. */
function documentedOperator(): RedisUser {
  const before = 'redis-cli ACL SETUSER operator ';
  const line = lines.find((one) => one.startsWith(before)) ?? '';
  const words = line
    .slice(before.length)
    .split(' ')
    .map((word) => word.replaceAll("'", ''));
  return {
    username: 'operator',
    password: 'choose-a-password',
    rules: words.filter((word) => word !== 'on'),
  };
}

/** What each command of the page is expected to say. */
const EXPECTED: readonly (readonly [command: RegExp, output: RegExp])[] = [
  [/^--help/, /Exit codes: 0/],
  [/^stats$/, /^sessions +\d+\n/],
  [/^stats --json/, /^\{\n {2}"sessions": \d+,/],
  [/^list .*--json/, /"principal": "alice",[^]*"lastAccessedAt"/],
  [/^list .*--secret-file/, /^handle +device/],
  [/^list /, /^handle +device/],
  [/^show .*--data/, /data +\{"note":"for --data only"\}/],
  [/^show /, /^handle +\S{45}\nprincipal +alice/],
  [/^revoke .*--replicas/, /^revoked, and the nodes were told; replicas have it/],
  [/^revoke-all .*--replicas/, /^revoked \d+ sessions?, and the nodes were told; replicas have it/],
  [/^revoke "/, /^revoked, and the nodes were told/],
  [/^revoke-all --principal/, /^revoked \d+ sessions?, and the nodes were told/],
  [/^revoke-all --yes/, /^revoked \d+ sessions?/],
  [/^sweep/, /dead entries taken out, told of \d+/],
  [/^doctor --user/, /^\{\n {2}"healthy": true,/],
  [/^doctor/, /^Nothing is wrong\.\n$/],
  [/^bench/, /^step +p50 +p99 +per second\ncreate /],
];

describe('docs/cli.md', () => {
  const opened = new Opened();
  let redis: RedisServer;
  let replica: RedisServer;
  let app: TestApp;
  let program: CliProgram;

  beforeAll(async () => {
    program = CliProgram.build();
    redis = await RedisServer.start(['--appendonly', 'yes'], { user: documentedOperator() });
    const following = ['--replicaof', `127.0.0.1 ${redis.port}`];
    replica = await RedisServer.start(following, { user: documentedOperator() });
    const admin = redis.connect();
    const follows = async () => /slave0:.*state=online/.test(await admin.info('replication'));
    await until('the replica follows', follows, { within: 20_000 });
    const shop = [...documentedOperator().rules, '+wait'];
    await admin.call('ACL', 'SETUSER', 'shop', 'on', ...shop);
    admin.disconnect();
    const session = { redis: redis.url, events: true, nearCache: false };
    app = await opened.app({ adapter: 'express', session, controllers: [LoginController] });
    writeFileSync(join(redis.directory, 'session.key'), `${SECRET}\n`);
  });
  afterAll(async () => {
    await opened.close();
    await replica.stop();
    // Fails if the user wanted more than the page gives it.
    await redis.stop();
    program.remove();
  });

  /** As the page has it, but for where this Redis and this application are. */
  const here = (text: string) =>
    text
      .replaceAll('127.0.0.1:6379', `127.0.0.1:${redis.port}`)
      .replaceAll('127.0.0.1:3000', `127.0.0.1:${app.port}`)
      .replaceAll('./session.key', join(redis.directory, 'session.key'));

  /** Words of a line, as a shell has them. */
  const wordsOf = (line: string, env: Record<string, string>) =>
    line
      .split(' ')
      .map((word) => word.replace(/^"\$(\w+)"$/, (_, name: string) => env[name] ?? ''));

  it('has only commands that are run here', () => {
    const others = lines.filter(
      (line) => !line.startsWith(PROGRAM) && !/^(export REDIS_URL=|redis-cli ACL)/.test(line),
    );
    expect(others).toEqual([]);
    const told = lines
      .filter((line) => line.startsWith(PROGRAM))
      .map((line) => line.slice(PROGRAM.length));
    expect(told.filter((line) => !EXPECTED.some(([command]) => command.test(line)))).toEqual([]);
  });

  const commands = lines
    .filter((line) => line.startsWith(PROGRAM))
    .map((line) => line.slice(PROGRAM.length));
  it.each(commands)('%s', async (command) => {
    const sessions = app.app.get(SessionService);
    const begin = () => sessions.create({ principal: 'alice', data: { note: 'for --data only' } });
    const [one, two] = [await begin(), await begin()];
    const url = /export REDIS_URL=(\S+)/.exec(lines.join('\n'))?.[1] ?? '';
    const env: Record<string, string> = { REDIS_URL: here(url), HANDLE: one.handle };
    const { code, stdout, stderr } = await program.run(wordsOf(here(command), env), { env });
    const [, expected] = EXPECTED.find(([pattern]) => pattern.test(command))!;
    expect(stdout + (code === 0 ? '' : stderr)).toMatch(expected);
    expect(code).toBe(0);
    if (command.includes('--json')) expect(() => JSON.parse(stdout) as unknown).not.toThrow();
    for (const secret of [one.id, two.id, SECRET, 'choose-a-password'])
      expect(stdout + stderr).not.toContain(secret);
    if (!command.includes('--data')) expect(stdout + stderr).not.toContain('for --data only');
  });

  it('gives the user all that a Cluster needs as well', async () => {
    const { rules, ...login } = documentedOperator();
    const besides = ['+cluster|slots', '+cluster|info', '+asking', '+readonly', '+client|setname'];
    const cluster = await RedisCluster.start(2, {
      user: { ...login, rules: [...rules, ...besides] },
    });
    try {
      const env = { REDIS_USERNAME: login.username, REDIS_PASSWORD: login.password };
      const nodes = cluster.masters.map(({ port }) => `127.0.0.1:${port}`).join(',');
      const file = join(redis.directory, 'cluster.backup');
      const run = async (...args: string[]) => {
        const { code, stderr } = await runCli([...args, '--cluster', nodes], { env });
        return `${code} ${stderr}`;
      };
      const client = cluster.connect();
      const world = new SessionsWorld(client as unknown as Redis);
      await inParallel(8, 4, (i) => world.login(`user-${i}`));
      client.disconnect();
      expect(await run('backup', '--out', file)).toBe('0 ');
      expect(await run('restore', '--in', file, '--merge')).toBe('0 ');
      expect(await run('revoke-all', '--yes', '--replicas', '1')).toMatch(
        /^3 .*not that a replica/,
      );
    } finally {
      // Fails if the user wanted more.
      await cluster.stop();
    }
  }, 60_000);

  it('gives the user all that backups need', async () => {
    const file = join(redis.directory, 'sessions.backup');
    await app.app.get(SessionService).create({ principal: 'alice' });
    const env = { REDIS_URL: here(/export REDIS_URL=(\S+)/.exec(lines.join('\n'))?.[1] ?? '') };
    expect(await runCli(['backup', '--out', file], { env })).toMatchObject({ code: 0, stderr: '' });
    const args = ['restore', '--in', file, '--merge', '--json'];
    const { code, stdout } = await runCli(args, { env });
    expect(code).toBe(0);
    expect((JSON.parse(stdout) as { present: number }).present).toBeGreaterThan(0);
  });

  it('names every finding, with its severity', () => {
    const folder = join(ROOT, 'lib/doctor');
    const found = new Map<string, Set<string>>();
    for (const name of readdirSync(folder)) {
      const text = readFileSync(join(folder, name), 'utf8');
      for (const [, code, severity] of text.matchAll(/code: '([A-Z_]+)',\s*severity: (.*),/g)) {
        const all = found.get(code!) ?? new Set();
        found.set(code!, all);
        for (const [one] of severity!.matchAll(/(?<=')(error|warning|hint)(?=')/g)) all.add(one);
      }
    }
    const documented = tableRows(page.text, 'findings').map(([code, severity]) => [
      code!.replaceAll('`', ''),
      severity!.split(', ').sort(),
    ]);
    const known = [...found].map(([code, all]) => [code, [...all].sort()]);
    const byCode = (one: unknown[], other: unknown[]) =>
      String(one[0]).localeCompare(String(other[0]));
    expect(documented.sort(byCode)).toEqual(known.sort(byCode));
  });

  it('works for whoever pipes it, and ends when the reader does', async () => {
    const child = spawn('sh', ['-c', `"${process.execPath}" "${program.main}" --help | head -1`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    const [code] = (await once(child, 'close')) as [number];
    expect([code, Buffer.concat(chunks).toString()]).toEqual([
      0,
      expect.stringMatching(/^Usage: /),
    ]);
  });
});
