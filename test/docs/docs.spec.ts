import { Logger } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import {
  RedisSessionStore,
  SessionError,
  type SessionErrorCode,
  type SessionHttpException,
} from 'nestjs-distributed-session';
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import type { Readable } from 'node:stream';
import { systemClock } from '../../lib/core/clock.js';
import { toMilliseconds } from '../../lib/core/duration.js';
import { assuranceOf } from '../../lib/core/assurance.js';
import { jsonSessionCodec } from '../../lib/core/json-session.codec.js';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import type { SessionIdentity } from '../../lib/core/session-identity.js';
import {
  actingPlace,
  declaredPlace,
  placesOfIdentity,
  principalPlace,
} from '../../lib/core/session-places.js';
import { toHttpException } from '../../lib/http/session-http.exception.js';
import { resolveSessionOptions } from '../../lib/options/resolve-session-options.js';
import { createRedis } from '../../lib/stores/redis/redis-client.js';
import { RedisKeys } from '../../lib/stores/redis/redis-keys.js';
import { SESSION_EVENT_TYPES } from '../../lib/core/session.events.js';
import { completeNearCache } from '../../lib/options/near-cache.options.js';
import { completeEvents } from '../../lib/options/session-events.options.js';
import * as scripts from '../../lib/stores/redis/redis-scripts.js';
import { until } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { freePort, RedisServer } from '../support/redis-server.js';
import { documentedUser } from '../support/redis-user.js';
import { Installation, problemsOf } from './compiler.js';
import {
  anchorsOf,
  codeIn,
  existsInRoot,
  readPages,
  relativeLinks,
  ROOT,
  tableRows,
  type Block,
} from './pages.js';
import {
  classesByCode,
  literalsOfUnion,
  membersOfInterface,
  methodsOfClass,
  valueExports,
} from './source.js';

const OPTIONS = 'lib/options/session-module.options.ts';
const SECURITY_OPTIONS = 'lib/options/session-security.options.ts';
const ERRORS = 'lib/core/session.errors.ts';

const pages = readPages();
const pageAt = (path: string) => pages.find((page) => page.path === path)!;
const readme = pageAt('README.md').text;
const blocks = pages.flatMap((page) => page.blocks);
const inLanguage = (language: string) => blocks.filter((block) => block.language === language);
const blockNamed = (file: string) => blocks.find((block) => block.file === file) as Block;
const firstCells = (table: string) => tableRows(readme, table).map((row) => row[0] as string);
const sorted = (names: Iterable<string>) => [...names].sort();
/** What the first column names, without what stands in brackets. */
const namedIn = (rows: string[][]) =>
  new Set(rows.flatMap(([first]) => codeIn(first!)).map((code) => code.replace(/\(.*/, '')));

describe('code on the pages', () => {
  it('is in a language that is checked here', () => {
    const known = ['ts', 'sh', 'json', 'text', 'nginx', 'haproxy'];
    expect(blocks.filter((block) => !known.includes(block.language))).toEqual([]);
    expect(pages.filter((page) => page.blocks.length === 0)).toEqual([]);
  });

  it('compiles against the library, as strict as the library itself', () => {
    expect(problemsOf(inLanguage('ts'))).toEqual([]);
  }, 180_000);

  it('is refused by this check if it uses what does not exist', () => {
    const [block] = inLanguage('ts') as [Block];
    const wrong = {
      ...block,
      given: "import { SessionModule } from 'nestjs-distributed-session';\n",
      text: 'SessionModule.forRoot({ idleTimeout: true });\n',
    };
    expect(problemsOf([wrong])).toEqual([expect.stringMatching(`^README.md:${block.line}: `)]);
  }, 180_000);

  it('is JSON where it says so', () => {
    for (const block of inLanguage('json')) expect(JSON.parse(block.text)).toBeDefined();
  });

  it('configures load balancers where test/balancers runs it, by its name', () => {
    const all = [...inLanguage('nginx'), ...inLanguage('haproxy')];
    const elsewhere = all.filter(({ page, file }) => page !== 'docs/deployment.md' || !file);
    expect(elsewhere).toEqual([]);
    expect(new Set(all.map(({ file }) => file)).size).toBe(all.length);
  });

  it("is the sample's where both have it: there it is run", () => {
    const sample = readFileSync(join(ROOT, 'sample/src/drain.ts'), 'utf8');
    expect(blockNamed('drain.ts').text).toBe(sample);
  });

  it('names only scripts that exist', () => {
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    const commands = inLanguage('sh').flatMap(({ text }) => text.split(/\n|&&|;/));
    const used = commands.flatMap(
      (command) => /^\s*npm (?:run(?: --silent)? )?(start|test|[\w:-]+)/.exec(command)?.[1] ?? [],
    );
    const npm = ['ci', 'i', 'install'];
    const missing = used.filter((name) => !npm.includes(name) && !(name in scripts));
    expect(missing).toEqual([]);
    expect(used).toEqual(expect.arrayContaining(['start', 'test']));
  });
});

describe('the README', () => {
  it('opens with its name, one paragraph, and the two commands for a clone', () => {
    const [title, promise, , commands] = readme.split('\n\n') as [string, string, string, string];
    expect(title).toBe('# nestjs-distributed-session');
    expect(promise).not.toMatch(/^[#`|>-]/);
    expect(commands).toMatch(/^```sh\nnpm ci && npm start .*\nnpm ci && npm test .*\n```$/);
    expect(readme.indexOf('```')).toBe(readme.indexOf(commands));
  });

  it('shows an application in twenty lines', () => {
    expect(blockNamed('main.ts').text.trimEnd().split('\n').length).toBeLessThanOrEqual(20);
  });

  const defaults = resolveSessionOptions({}, 'test');
  it.each([
    [
      'SessionModuleOptions',
      {
        ...defaults,
        secret: defaults.secrets,
        transport: defaults.transports,
        schema: defaults.validate,
      },
    ],
    ['SessionCookieOptions', defaults.cookie],
    ['RememberMeOptions', defaults.rememberMe],
    ['SessionDurabilityOptions', { replicas: 1, timeout: 200, fsync: false }],
    ['SessionCsrfOptions', { ...defaults.csrf, origins: [], token: 'fallback' }],
  ])('has every one of %s, with its type and its default', (name, inForce) => {
    const rows = tableRows(readme, name);
    const file = name === 'SessionCsrfOptions' ? SECURITY_OPTIONS : OPTIONS;
    const declared = membersOfInterface(file, name);
    const documented = rows.map(([option, type]) => [codeIn(option!)[0], codeIn(type!)[0]]);
    expect(documented).toEqual([...declared]);
    for (const [option = '', type = '', said = ''] of rows) {
      const key = codeIn(option)[0] as string;
      const value = (inForce as Record<string, unknown>)[key];
      expect({ option, default: defaultOf(said, type) }).toEqual({ option, default: value });
    }
  });

  it('and the page on events have every event with its reasons, and every option', () => {
    const { text } = pageAt('docs/events.md');
    const rows = tableRows(text, 'events');
    expect(rows.map(([type]) => codeIn(type!)[0])).toEqual([...SESSION_EVENT_TYPES]);
    const named = rows.flatMap(([type, , reasons]) =>
      type === '`rejected`' ? [] : codeIn(reasons!),
    );
    const declared = literalsOfUnion('lib/core/session.events.ts', 'SessionEventReason');
    const ofRejections = literalsOfUnion('lib/core/rejection.ts', 'RejectionReason');
    expect(sorted(new Set([...named, ...ofRejections]))).toEqual(
      sorted(new Set([...declared, ...ofRejections])),
    );
    const options = tableRows(text, 'SessionEventsOptions');
    const documented = options.map(([option, type]) => [codeIn(option!)[0], codeIn(type!)[0]]);
    const members = membersOfInterface(
      'lib/options/session-events.options.ts',
      'SessionEventsOptions',
    );
    expect(documented).toEqual([...members]);
    const inForce: Record<string, unknown> = { ...completeEvents(true) };
    for (const [option = '', type = '', said = ''] of options) {
      expect(defaultOf(said, type)).toEqual(inForce[codeIn(option)[0] as string]);
    }
  });

  it('and the page on the near cache have every option of it, and every figure', () => {
    const { text } = pageAt('docs/near-cache.md');
    const options = tableRows(text, 'SessionNearCacheOptions');
    const documented = options.map(([option, type]) => [codeIn(option!)[0], codeIn(type!)[0]]);
    const members = membersOfInterface(
      'lib/options/near-cache.options.ts',
      'SessionNearCacheOptions',
    );
    expect(documented).toEqual([...members]);
    const inForce: Record<string, unknown> = { ...completeNearCache(true) };
    for (const [option = '', type = '', said = ''] of options) {
      expect(defaultOf(said, type)).toEqual(inForce[codeIn(option)[0] as string]);
    }
    const figures = membersOfInterface('lib/core/near-cache-figures.ts', 'NearCacheFigures').keys();
    expect(sorted(namedIn(tableRows(text, 'NearCacheFigures')))).toEqual(sorted(figures));
  });

  it('has every decorator that is exported', () => {
    const exported = [...valueExports('lib/index.ts')]
      .filter(([, from]) => from.includes('.decorators.'))
      .map(([name]) => `@${name}`);
    const documented = namedIn(tableRows(readme, 'decorators'));
    expect(sorted(documented)).toEqual(sorted([...exported, '@Session.of']));
  });

  it('has every method of SessionService and every member of a session', () => {
    const methods = methodsOfClass('lib/session.service.ts', 'SessionService');
    expect(sorted(namedIn(tableRows(readme, 'SessionService')))).toEqual(sorted(methods));
    const members = membersOfInterface('lib/core/session.ts', 'Session').keys();
    expect(sorted(namedIn(tableRows(readme, 'Session')))).toEqual(sorted(members));
  });

  it('has every error code, with its class and the status that it is answered with', () => {
    const rows = tableRows(readme, 'errors').map((row) => row.slice(0, 3));
    const classes = classesByCode(ERRORS);
    const codes = literalsOfUnion(ERRORS, 'SessionErrorCode') as SessionErrorCode[];
    Logger.overrideLogger(false);
    const expected = codes.map((code) => {
      const status = code === 'SESSION_OPTIONS_INVALID' ? 'none' : `${statusOf(code)}`;
      return [`\`${code}\``, `\`${classes.get(code)}\``, status];
    });
    Logger.overrideLogger(['log', 'warn', 'error', 'fatal']);
    expect(sorted(rows.map(String))).toEqual(sorted(expected.map(String)));
  });

  it('has every variable that the sample application reads', () => {
    const settings = readFileSync(join(ROOT, 'sample/src/settings.ts'), 'utf8');
    const read = [...settings.matchAll(/given\('([A-Z_]+)'\)/g)].map((match) => match[1]!);
    const variables = new Set(read.filter((name) => name !== 'NODE_ENV'));
    expect(sorted(firstCells('sample').flatMap(codeIn))).toEqual(sorted(variables));
  });
});

describe('the guides', () => {
  it('say what every rejection is about', () => {
    const reasons = literalsOfUnion('lib/core/rejection.ts', 'RejectionReason');
    const rows = tableRows(pageAt('docs/hijacking.md').text, 'RejectionReason');
    expect(sorted(namedIn(rows))).toEqual(sorted(reasons));
  });

  it('say something about every error code', () => {
    const guide = pageAt('docs/errors.md').text;
    const codes = literalsOfUnion(ERRORS, 'SessionErrorCode');
    expect(codes.filter((code) => !guide.includes(`\n\`${code}\` — `))).toEqual([]);
  });

  it.each([
    [
      'AuthenticateOptions',
      [
        ...membersOfInterface('lib/core/session.ts', 'SessionGrantOptions').keys(),
        ...membersOfInterface('lib/core/session.ts', 'AuthenticateOptions').keys(),
      ],
    ],
    ['PrincipalSessions', methodsOfClass('lib/core/principal-sessions.ts', 'PrincipalSessions')],
    [
      'ListedSession',
      [...membersOfInterface('lib/core/principal-sessions.ts', 'ListedSession').keys()],
    ],
    // What tells the client is the corridor's to call.
    [
      'SessionAccounts',
      methodsOfClass('lib/http/session-accounts.ts', 'SessionAccounts').filter(
        (name) => name !== 'answer',
      ),
    ],
  ])('have everything of %s', (table, members) => {
    const rows = tableRows(pageAt('docs/users-and-devices.md').text, table);
    expect(sorted(namedIn(rows))).toEqual(sorted(members));
  });

  it('tell the names of keys in Redis as they are', () => {
    const keys = new RedisKeys('sess');
    const identity = {
      principal: 'alice',
      clientKind: 'mobile',
      idpSession: 'sid',
      actor: { principal: 'bob' },
    } as unknown as SessionIdentity;
    const places = [
      ...placesOfIdentity(identity),
      actingPlace('alice'),
      declaredPlace('name', 'value'),
    ];
    const handle = handleOf(newSessionId(0x6f));
    const named = [
      keys.record(handle).replace(handle, '<handle>'),
      ...places.map((place) => keys.place('6f', place)),
      keys.ending('6f', places[0]!),
    ].map((key) =>
      key
        .replace('6f', '<bb>')
        .replace(/:[\w-]{22}(?=$|:ending)/, ':<digest>')
        .replace(/:p:<digest>:ending$/, ':…:ending')
        .replace('i.name', 'i.<name>'),
    );
    const rows = tableRows(pageAt('docs/stores.md').text, 'redis-keys');
    expect(sorted(rows.map(([key]) => codeIn(key!)[0]!))).toEqual(sorted(named));
  });

  it('and the README mention everything that the package exports', () => {
    const all = pages.map((page) => page.text).join('\n');
    const exported = [
      ...valueExports('lib/index.ts').keys(),
      ...valueExports('lib/testing/index.ts').keys(),
    ];
    expect(exported.filter((name) => !new RegExp(`\\b${name}\\b`).test(all))).toEqual([]);
  });

  it('tell every counter of outages', () => {
    const counters = membersOfInterface('lib/core/outage-counters.ts', 'OutageCounters').keys();
    const rows = tableRows(pageAt('docs/outages.md').text, 'OutageCounters');
    expect(sorted(namedIn(rows))).toEqual(sorted(counters));
  });

  it('tell the connection profile as it is', () => {
    const { text } = pageAt('docs/stores.md');
    const nodes = ['redis://127.0.0.1:1'];
    for (const [table, { options }] of [
      ['connection-profile', createRedis(nodes[0]!)],
      ['cluster-profile', createRedis({ cluster: { nodes } })],
    ] as const) {
      for (const [names = '', said = ''] of tableRows(text, table)) {
        for (const option of codeIn(names)) {
          const value = (options as Record<string, unknown>)[option];
          if (typeof value === 'function') continue;
          expect({ option, told: valueOf(said) }).toEqual({ option, told: value });
        }
      }
    }
  });
});

describe('every page', () => {
  it.each(pages)('$path links only to what exists', ({ path, text }) => {
    const broken = relativeLinks(text).filter((link) => {
      const [to = '', anchor] = link.split('#');
      const target = to === '' ? path : normalize(join(dirname(path), to));
      if (!existsInRoot(target)) return true;
      return anchor !== undefined && !anchorsOf(pageAt(target).text).includes(anchor);
    });
    expect(broken).toEqual([]);
  });

  it.each(pages)('$path tells no path of a machine and leaves nothing open', ({ text }) => {
    expect(text).not.toContain(ROOT);
    expect(text).not.toMatch(
      /(?:^|[\s`'"(=:])\/(?:home|root|Users|tmp|usr|var|opt|mnt|srv|work)\b/m,
    );
    expect(text).not.toMatch(/\b(?:TODO|FIXME|TBD|XXX|lorem ipsum)\b/i);
    expect(text).not.toMatch(/[ \t]$/m);
  });
});

describe('what the pages show, run', () => {
  let installation: Installation;
  let redis: RedisServer;
  const running: Program[] = [];

  beforeAll(async () => {
    const files = inLanguage('ts').filter((block) => block.file !== undefined);
    installation = new Installation(files);
    redis = await RedisServer.start();
  }, 60_000);

  afterEach(async () => {
    await Promise.all(running.splice(0).map((program) => program.stop()));
  });

  afterAll(async () => {
    await redis?.stop();
    installation?.remove();
  });

  const run = (args: string[], environment: Record<string, string> = {}): Program => {
    const program = new Program(args, environment);
    running.push(program);
    return program;
  };

  it("the README's application counts, logs in and logs out over Redis", async () => {
    const port = await freePort();
    const script = installation.pathOf(blockNamed('main.ts'));
    const program = run([script], { PORT: `${port}`, REDIS_URL: redis.url });
    const client = new HttpClient(port);
    const answers = () =>
      client.get('/me').then(
        () => true,
        () => program.hasEnded,
      );
    await until('the application listens', answers, { within: 30_000 });
    expect(program.hasEnded ? program.output : '').toBe('');

    expect((await client.get('/me')).json).toMatchObject({ code: 'SESSION_REQUIRED' });
    expect(client.jar.size).toBe(0);
    expect((await client.get('/views')).json).toEqual({ views: 1 });
    expect((await client.get('/views')).json).toEqual({ views: 2 });
    const before = client.another(client.jar);
    expect((await client.post('/login')).status).toBe(201);
    expect((await client.get('/me')).json).toEqual({ principal: 'alice' });
    expect((await client.get('/views')).json).toEqual({ views: 3 });
    expect((await before.get('/me')).status).toBe(401);

    const stored = new Redis(redis.port, '127.0.0.1');
    const live = () => new RedisSessionStore(stored).count();
    expect(await live()).toBe(1);
    expect((await client.post('/logout')).status).toBe(201);
    expect((await client.get('/me')).status).toBe(401);
    expect(await live()).toBe(0);
    stored.disconnect();
    client.close();
  });

  it('the tests pass', async () => {
    const tests = inLanguage('ts').filter((block) => block.file?.endsWith('.test.ts'));
    expect(tests.length).toBeGreaterThanOrEqual(3);
    const paths = tests.map((block) => installation.pathOf(block));
    const program = run(['--test', '--test-reporter=tap', ...paths]);
    const code = await program.ended;
    expect(program.output).toMatch(/^# fail 0$/m);
    expect(Number(/^# pass (\d+)$/m.exec(program.output)?.[1])).toBeGreaterThan(30);
    expect(code).toBe(0);
  });

  it('the rights that stores.md gives a Redis user are enough, and none is missing', async () => {
    const { username, password, rules } = documentedUser();
    const granted = rules.filter((word) => word.startsWith('+')).map((word) => word.slice(1));
    const sources = Object.values(scripts).map(({ source }) => source);
    const scripted = sources.flatMap((source) =>
      [...source.matchAll(/redis\.call\('([A-Z]+)'/g)].map((match) => match[1]!.toLowerCase()),
    );
    const others = ['get', 'getex', 'getdel', 'getrange', 'pexpire', 'scan', 'ping'];
    const needed = new Set([...scripted, ...others, 'eval', 'evalsha', 'info']);
    expect(sorted(granted)).toEqual(sorted(needed));

    const admin = new Redis(redis.port, '127.0.0.1');
    await admin.call('ACL', 'SETUSER', username, 'on', ...rules);
    const client = createRedis(`redis://${username}:${password}@127.0.0.1:${redis.port}`);
    await client.connect();

    const store = new RedisSessionStore(client);
    const handle = `0a${'h'.repeat(43)}`;
    const [first, second, third] = ['1', '2', '3'].map((n) => `0000000${n}nonce${n}1`) as [
      string,
      string,
      string,
    ];
    const versionOf = (value: string) => value.slice(0, 14);
    await store.ping();
    expect(await store.create(handle, first, { ttl: 60_000 })).toBe(true);
    expect(await store.load(handle)).toMatchObject({ value: first });
    expect(await store.load(handle, { touch: 60_000 })).toMatchObject({ value: first });
    expect(await store.load(handle, { remaining: true })).toMatchObject({ value: first });
    expect(await store.save(handle, second, { expected: versionOf(first) })).toEqual({
      status: 'saved',
    });
    expect(await store.save(handle, third, { expected: versionOf(second), ttl: 60_000 })).toEqual({
      status: 'saved',
    });
    expect(await store.save(handle, first, { expected: versionOf(first) })).toMatchObject({
      status: 'conflict',
    });
    expect(await store.touch(handle, 60_000)).toBe(true);
    expect(await store.count()).toBe(1);
    expect(await store.delete(handle)).toBe(third);

    const place = principalPlace('alice');
    const standing = (since: number) => ({ places: [place], since, life: 60_000 });
    const limit = {
      place,
      max: 1,
      onLimit: 'retire-oldest' as const,
      idleTimeout: 60_000,
      lastingIdleTimeout: 60_000,
    };
    const [older, newer, newest] = ['a', 'b', 'c'].map((n) => `0a${n.repeat(43)}`) as [
      string,
      string,
      string,
    ];
    await store.create(older, first, { ttl: 60_000, standing: standing(1) });
    expect(await store.admit(newer, first, { ttl: 60_000, standing: standing(2), limit })).toEqual({
      status: 'created',
      retired: [older],
    });
    const next = { handle: newest, value: first, ttl: 60_000, standing: standing(3) };
    const options = { expected: versionOf(first), ttl: 60_000, leaves: [place], next };
    expect(await store.replace(newer, second, options)).toEqual({ status: 'saved' });
    const moved = { expected: versionOf(first), leaves: [place], standing: standing(4) };
    expect(await store.save(newest, second, moved)).toEqual({ status: 'saved' });
    const after = { handle: older, since: 9 };
    expect(await store.list('0a', place, { limit: 9, after })).toMatchObject([{ handle: newest }]);
    expect(await store.countIn('0a', place)).toBe(1);
    for await (const one of store.placesOf('p')) expect(one).toEqual({ bucket: '0a', place });
    expect(await store.endIn('0a', place, newest)).toMatchObject({ ended: 0 });
    expect(await store.endIn('0a', place)).toMatchObject({ ended: 1 });
    expect(await store.delete(newer, [place])).toBe(second);

    expect(await admin.call('ACL', 'LOG')).toEqual([]);
    await expect(client.set('other', '1')).rejects.toThrow('NOPERM');
    await expect(client.flushall()).rejects.toThrow('NOPERM');
    client.disconnect();
    admin.disconnect();
  });
});

/** What a cell of the column "Default" stands for. */
function defaultOf(cell: string, type: string): unknown {
  const words: Record<string, unknown> = {
    none: type.includes('readonly string[]') ? [] : undefined,
    'all routes': undefined,
    JSON: jsonSessionCodec,
    "the machine's clock": systemClock,
    '`Infinity`': Infinity,
    'by kinds of proof': assuranceOf,
    'see below': expect.any(Object),
    logged: undefined,
  };
  if (cell in words) return words[cell];
  const literal = JSON.parse((codeIn(cell)[0] as string).replaceAll("'", '"')) as unknown;
  if (type === '`Duration`') return toMilliseconds(literal);
  return type.includes('TransportName') ? [literal] : literal;
}

/** The status that an error with this code is answered with. */
function statusOf(code: SessionErrorCode): number {
  const error = Object.assign(Object.create(SessionError.prototype) as object, {
    code,
    message: '',
  });
  return (toHttpException(error) as SessionHttpException).getStatus();
}

/** A program of its own, in an environment of its own. */
class Program {
  output = '';
  readonly ended: Promise<number | string>;
  readonly #child: ChildProcessByStdio<null, Readable, Readable>;

  constructor(args: readonly string[], environment: Record<string, string>) {
    const env = { PATH: process.env.PATH, NO_COLOR: '1', ...environment };
    this.#child = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const keep = (chunk: Buffer) => void (this.output += chunk.toString());
    this.#child.stdout.on('data', keep);
    this.#child.stderr.on('data', keep);
    this.ended = once(this.#child, 'close').then(
      ([code, signal]) => (code ?? signal) as number | string,
    );
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  async stop(): Promise<void> {
    if (!this.hasEnded) this.#child.kill('SIGKILL');
    await this.ended;
  }
}

/** A value as a table tells it: a time, a word in quotes, or what JSON has for it. */
const valueOf = (said: string): unknown =>
  toMilliseconds(said.replace(' ', '')) ?? JSON.parse(said.replace(/^`'(.*)'`$/, '"$1"'));
