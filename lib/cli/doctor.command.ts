import type { Command } from 'commander';
import { readFileSync } from 'node:fs';
import { examine } from '../doctor/doctor.js';
import { isError, type Finding, type Severity } from '../doctor/finding.js';
import { sizeOf } from '../doctor/key-walk.js';
import { CliUsageError, EXIT } from './cli-io.js';
import { listensAnybody } from './listening.js';
import { tame, type Colors } from './print.js';
import type { CliRun, CliShared } from './shared.js';

interface DoctorCommandOptions {
  readonly url?: string;
  readonly cookie?: string;
  readonly ca?: string;
  readonly user?: string;
  readonly nearCache?: boolean;
  readonly events?: boolean;
  readonly durability?: string;
  readonly keys: string;
}

export function register(program: Command, shared: CliShared): void {
  shared
    .command(
      program,
      'doctor',
      'Looks for what is wrong with Redis, and with a running application.',
    )
    .option('--url <url>', 'a page of the application that begins a session: is its cookie kept?')
    .option('--cookie <name>', "name of the session cookie (default: the library's)")
    .option('--user <name>', 'user of the application at Redis, if it is not the one that asks')
    .option('--events', 'the application has the option events (default: if sessions say so)')
    .option('--near-cache', 'the application has the option nearCache')
    .option('--durability <replicas>', 'replicas of its option durability')
    .option('--keys <count>', 'keys that are looked at, 0 for none', '10000')
    .action(shared.run<DoctorCommandOptions>(doctor));
}

async function doctor(run: CliRun<DoctorCommandOptions>) {
  const { options, redis, io, colors } = run;
  const { url, ca, cookie, user, nearCache = false } = options;
  const keys = whole(options.keys, '--keys');
  const durability = whole(options.durability ?? '0', '--durability');
  if (url !== undefined && !/^https?:\/\//.test(URL.canParse(url) ? url : '')) {
    throw new CliUsageError('--url is a page of the application: https://shop.example.com/login');
  }
  const events = options.events ?? (await listensAnybody(redis).catch(() => false));
  const total = Math.min(keys, await sizeOf(redis.client).catch(() => keys));
  const progress = run.progress('keys', total);
  let passed = 0;
  const findings = await examine({
    client: redis.client,
    prefix: redis.prefix,
    to: redis.to,
    now: io.now,
    wanted: { events, nearCache },
    url: url === undefined ? undefined : new URL(url),
    ca: url === undefined || ca === undefined ? undefined : readFileSync(ca, 'utf8'),
    onKeys: (some) => progress.at(Math.min(total, (passed += some))),
    user,
    cookie,
    durability,
    keys,
  }).finally(() => progress.end());
  const exitCode = findings.some(isError) ? EXIT.failed : EXIT.fine;
  return {
    json: { healthy: findings.length === 0, findings },
    text: shown(findings, colors),
    exitCode,
  };
}

export function whole(text: string, option: string): number {
  if (/^\d{1,12}$/.test(text)) return Number(text);
  throw new CliUsageError(`${option} is a whole number.`);
}

function shown(findings: readonly Finding[], colors: Colors): string {
  if (findings.length === 0) return colors.green('Nothing is wrong.');
  const { bold, dim, red, yellow, cyan } = colors;
  const paint: Record<Severity, Colors['red']> = { error: red, warning: yellow, hint: cyan };
  return findings
    .map(({ code, severity, seen, why, remedy }) =>
      [
        `${paint[severity](severity)} ${bold(code)} ${tame(seen)}`,
        `  ${dim('why:')} ${why}`,
        `  ${dim('do: ')} ${remedy}`,
      ].join('\n'),
    )
    .join('\n\n');
}
