import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get } from '@nestjs/common';
import { Session, SessionService } from 'nestjs-distributed-session';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readPages, ROOT, tableRows } from '../docs/pages.js';
import { SECRET, type TestApp } from '../support/app.js';
import { CliProgram } from '../support/cli-program.js';
import { Opened } from '../support/opened.js';
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
  let app: TestApp;
  let program: CliProgram;

  beforeAll(async () => {
    program = CliProgram.build();
    redis = await RedisServer.start(['--appendonly', 'yes'], { user: documentedOperator() });
    const admin = redis.connect();
    const shop = [...documentedOperator().rules, '+wait'];
    await admin.call('ACL', 'SETUSER', 'shop', 'on', ...shop);
    admin.disconnect();
    const session = { redis: redis.url, events: true, nearCache: false };
    app = await opened.app({ adapter: 'express', session, controllers: [LoginController] });
    writeFileSync(join(redis.directory, 'session.key'), `${SECRET}\n`);
  });
  afterAll(async () => {
    await opened.close();
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
