import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { SessionService } from 'nestjs-distributed-session';
import type { Finding } from '../../lib/doctor/finding.js';
import { checkAnswers } from '../../lib/doctor/check-answers.js';
import { checkCluster } from '../../lib/doctor/check-cluster.js';
import { checkConnection } from '../../lib/doctor/check-connection.js';
import { checkClocks } from '../../lib/doctor/check-clocks.js';
import { checkReplication } from '../../lib/doctor/check-replication.js';
import { checkServer, checkVersion } from '../../lib/doctor/check-server.js';
import { neededRights } from '../../lib/doctor/needed-rights.js';
import { until } from '../support/app.js';
import { runCli, runJson, type CliOptions } from '../support/cli-run.js';
import { Opened } from '../support/opened.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisProxy, type Link } from '../support/redis-proxy.js';
import { RedisServer } from '../support/redis-server.js';
import {
  documentedForEvents,
  documentedForNearCache,
  documentedInCluster,
  documentedUser,
  type RedisUser,
} from '../support/redis-user.js';

const MINUTE = 60_000;
// Without a disk between, a replica begins to follow seconds later.
const DURABLE = ['--appendonly', 'yes', '--repl-diskless-sync', 'no'];

interface Examination {
  readonly healthy: boolean;
  readonly findings: readonly Finding[];
}

const doctor = (url: string, args: readonly string[] = [], options?: CliOptions) =>
  runJson<Examination>(['doctor', '--redis', url, ...args], options);
const codes = ({ json }: { json: Examination }) => json.findings.map(({ code }) => code);

/** A server whose clock is wrong, as far as those behind can tell: it answers TIME with another one. */
class SkewedClock extends RedisProxy {
  /** Seconds. */
  ahead = 0;

  protected override toRedis(chunk: Buffer, { redis }: Link): void {
    redis.write(chunk);
  }

  protected override toApplication(chunk: Buffer, { application }: Link): void {
    const text = chunk.toString('latin1');
    const moved = text.replace(
      /(\*2\r\n\$10\r\n)(\d{10})(\r\n\$\d\r\n)/g,
      (_, before: string, seconds: string, after: string) =>
        `${before}${Number(seconds) + this.ahead}${after}`,
    );
    application.write(moved, 'latin1');
  }
}

describe('doctor', () => {
  const opened = new Opened();
  let redis: RedisServer;
  let admin: Redis;
  let sessions: SessionService;

  const open = async (user?: RedisUser) => {
    redis = await RedisServer.start(DURABLE, { user });
    opened.add({ close: () => redis.stop() });
    admin = redis.connect();
    opened.add({ close: () => admin.disconnect() });
  };
  const boot = async (events = false) => {
    const { app } = await opened.app({ adapter: 'express', session: { redis: redis.url, events } });
    sessions = app.get(SessionService);
    for (let i = 0; i < 20; i++)
      await sessions.create({ principal: `user-${i % 5}`, data: { note: 'private' } });
  };

  afterEach(opened.close, MINUTE);

  describe('with a healthy server', () => {
    beforeEach(async () => {
      await open();
      await boot();
    });

    it('finds nothing', async () => {
      expect(await doctor(redis.url)).toEqual({
        code: 0,
        json: { healthy: true, findings: [] },
        stderr: '',
      });
      const people = await runCli(['doctor', '--redis', redis.url]);
      expect(people).toEqual({ code: 0, stdout: 'Nothing is wrong.\n', stderr: '' });
    });

    it.each<[what: string, settings: Record<string, string>, code: string, exitCode: number]>([
      ['a policy that evicts', { 'maxmemory-policy': 'allkeys-lru' }, 'EVICTION', 1],
      ['one that evicts what has a TTL', { 'maxmemory-policy': 'volatile-ttl' }, 'EVICTION', 1],
      ['no persistence', { appendonly: 'no', save: '' }, 'NO_PERSISTENCE', 1],
      ['snapshots only', { appendonly: 'no', save: '3600 1' }, 'SNAPSHOTS_ONLY', 0],
      ['a file that nobody syncs', { appendfsync: 'no' }, 'APPENDFSYNC', 0],
    ])('finds %s', async (_, settings, code, exitCode) => {
      for (const [name, value] of Object.entries(settings)) await admin.config('SET', name, value);
      const found = await doctor(redis.url);
      expect(codes(found)).toEqual([code]);
      expect(found.code).toBe(exitCode);
      const people = await runCli(['doctor', '--redis', redis.url]);
      expect(people.stdout).toMatch(
        new RegExp(`^(error|warning) ${code} .*\\n {2}why: .*\\n {2}do: {2}.+`),
      );
    });

    it('finds a memory that is nearly full, before and after it is', async () => {
      const used = Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1]);
      await admin.config('SET', 'maxmemory', Math.ceil(used / 0.8));
      const [finding] = (await doctor(redis.url)).json.findings;
      expect(finding).toMatchObject({ code: 'MEMORY', severity: 'warning' });
      await admin.config('SET', 'maxmemory', Math.ceil(used / 0.97));
      expect((await doctor(redis.url)).json.findings).toMatchObject([
        { code: 'MEMORY', severity: 'error' },
      ]);
    });

    it('finds a clock that is wrong', async () => {
      const proxy = await SkewedClock.start(redis.port);
      opened.add({ close: () => proxy.stop() });
      expect(codes(await doctor(proxy.url))).toEqual([]);
      proxy.ahead = 300;
      const found = await doctor(proxy.url);
      expect(found.json.findings).toMatchObject([{ code: 'CLOCK_SKEW', severity: 'error' }]);
      expect(found.json.findings[0]?.seen).toMatch(/300 s|5 min/);
      expect(found.json.findings[0]?.seen).toMatch(/ahead of that of this machine/);
      expect(found.code).toBe(1);
      const behind = await doctor(redis.url, [], { now: () => Date.now() - 10_000 });
      expect(behind.json.findings).toMatchObject([{ code: 'CLOCK_SKEW', severity: 'warning' }]);
      expect(behind.code).toBe(0);
    });

    it('finds records that never end, entries that lead nowhere, and large records', async () => {
      const [record] = await admin.keys('{sess:*}:s:*');
      await admin.persist(record!);
      expect(codes(await doctor(redis.url))).toEqual(['NO_EXPIRY']);
      await admin.pexpire(record!, MINUTE);
      const [place] = await admin.keys('{sess:*}:p:*');
      for (let i = 0; i < 200; i++) await admin.zadd(place!, 1, `gone-${i}`);
      expect(codes(await doctor(redis.url))).toEqual(['DEAD_ENTRIES']);
      await runCli(['sweep', '--redis', redis.url]);
      expect(codes(await doctor(redis.url))).toEqual([]);
      await sessions.create({ data: { note: 'x'.repeat(50_000) } });
      const large = await doctor(redis.url);
      expect(large.json.findings).toMatchObject([{ code: 'LARGE_RECORDS', severity: 'warning' }]);
      expect(JSON.stringify(large.json)).not.toMatch(/xxxx|private|user-1/);
    });

    it.each<[what: string, pattern: string, write: (key: string) => Promise<unknown>]>([
      ['a hash where a record was', '{sess:*}:s:*', (key) => admin.hset(key, 'note', 'private')],
      ['a string where a place was', '{sess:*}:p:*', (key) => admin.set(key, 'private')],
    ])('finds %s, and so do others who walk', async (_, pattern, write) => {
      const [key] = await admin.keys(pattern);
      await admin.del(key!);
      await write(key!);
      const found = await doctor(redis.url);
      expect(found.json.findings).toMatchObject([{ code: 'FOREIGN_KEYS', severity: 'error' }]);
      expect(found.json.findings[0]?.seen).toMatch(/^1 keys /);
      expect(found.code).toBe(1);
      expect(JSON.stringify(found.json)).not.toMatch(/private|user-\d/);
      const stats = await runJson<{ sessions: number }>(['stats', '--redis', redis.url]);
      const sessionsLeft = pattern.includes(':s:') ? 19 : 20;
      expect(stats.json.sessions).toBe(sessionsLeft);
      expect(await sessions.count()).toBe(sessionsLeft);
      await admin.unlink(key!);
      expect(codes(await doctor(redis.url))).toEqual([]);
    });

    it('looks at no more keys than it is told', async () => {
      const [record] = await admin.keys('{sess:*}:s:*');
      await admin.persist(record!);
      expect(codes(await doctor(redis.url, ['--keys', '0']))).toEqual([]);
      expect((await runCli(['doctor', '--redis', redis.url, '--keys', 'many'])).code).toBe(2);
    });

    it('finds a replica that lags, and one in place of the master', async () => {
      const replica = await RedisServer.start([
        ...DURABLE,
        '--replicaof',
        `127.0.0.1 ${redis.port}`,
      ]);
      opened.add({ close: () => replica.stop() });
      await until('it follows', async () => /state=online/.test(await admin.info('replication')), {
        within: MINUTE / 2,
      });
      expect(codes(await doctor(redis.url))).toEqual([]);
      expect(codes(await doctor(redis.url, ['--durability', '1']))).toEqual([]);
      const few = await doctor(redis.url, ['--durability', '2']);
      expect(codes(few)).toEqual(['TOO_FEW_REPLICAS']);
      replica.signal('SIGSTOP');
      try {
        await sessions.create({ principal: 'late' });
        const found = await doctor(redis.url);
        expect(codes(found)).toEqual(['REPLICA_LAG']);
        expect(found.json.findings[0]?.seen).toMatch(/ [1-9]\d* bytes behind/);
        expect(found.code).toBe(1);
      } finally {
        replica.signal('SIGCONT');
      }
      expect(codes(await doctor(redis.url))).toEqual([]);
      expect(codes(await doctor(replica.url))).toEqual(['REPLICA']);
    });
  });

  describe('as a user of Redis', () => {
    const all = documentedUser();
    const user = {
      ...all,
      rules: [
        ...all.rules,
        ...documentedForEvents(),
        ...documentedForNearCache(),
        '+wait',
        '+acl|whoami',
        '+acl|dryrun',
      ],
    };
    const everything = ['--events', '--near-cache', '--durability', '0'];
    const wanted = { events: true, nearCache: true, durability: false, inCluster: false };
    const names = [...new Set(neededRights('sess', wanted).map(({ name }) => name))];
    const without = async (rule: string) => {
      await admin.call('ACL', 'SETUSER', user.username, rule);
    };
    // What is refused here was asked for on purpose.
    afterEach(async () => {
      await admin.call('ACL', 'LOG', 'RESET');
    });
    beforeEach(() => open(user));

    it('needs exactly what docs/stores.md grants', () => {
      const documented = [
        ...all.rules,
        ...documentedForEvents(),
        ...documentedForNearCache(),
        ...documentedInCluster(),
        '+wait',
      ].filter((rule) => rule.startsWith('+'));
      const needed = neededRights('sess', {
        events: true,
        nearCache: true,
        durability: true,
        inCluster: true,
      });
      const rules = needed.map(({ name }) => `+${name}`);
      expect([...new Set(rules)].sort()).toEqual([...new Set(documented)].sort());
    });

    it('finds each command that is missing, and only that', async () => {
      expect(codes(await doctor(redis.url, everything))).toEqual([]);
      for (const name of names) {
        await without(`-${name}`);
        const { json, code } = await doctor(redis.url, [...everything, '--keys', '0']);
        const [finding, ...more] = json.findings.filter((one) => one.code !== 'INFO_REFUSED');
        expect(more).toEqual([]);
        expect(finding?.seen).toMatch(new RegExp(`user shop may not ${name.replace('|', '\\|')}$`));
        expect(finding?.remedy).toContain(`ACL SETUSER shop +${name} `);
        expect(code).toBe(1);
        await without(`+${name}`);
      }
      expect(codes(await doctor(redis.url, everything))).toEqual([]);
    });

    it('finds the same by trying, where Redis does not say what it may do', async () => {
      await without('-acl|dryrun');
      expect(codes(await doctor(redis.url, everything))).toEqual([]);
      for (const name of ['get', 'zadd', 'xadd', 'publish', 'evalsha', 'scan', 'client|tracking']) {
        await without(`-${name}`);
        const { json } = await doctor(redis.url, [...everything, '--keys', '0']);
        expect(json.findings).toMatchObject([{ code: 'RIGHT_MISSING' }]);
        expect(json.findings[0]?.seen).toMatch(new RegExp(`may not ${name.replace('|', '\\|')}$`));
        await without(`+${name}`);
      }
      expect(await admin.keys('*')).toEqual([]);
      await without('-scan');
      expect(codes(await doctor(redis.url))).toEqual(['RIGHT_MISSING', 'KEYS_UNKNOWN']);
    });

    it('finds keys and channels that it may not use', async () => {
      await admin.call('ACL', 'SETUSER', user.username, 'resetkeys', '~{other:*');
      const keys = await doctor(redis.url, ['--keys', '0']);
      expect(codes(keys)).toEqual(['RIGHT_MISSING']);
      expect(keys.json.findings[0]?.remedy).toMatch(/^ACL SETUSER shop '~\{sess:\*' \(/);
      await admin.call('ACL', 'SETUSER', user.username, 'resetkeys', '~{sess:*', 'resetchannels');
      const channels = await doctor(redis.url, ['--events']);
      expect(channels.json.findings[0]?.remedy).toMatch(/^ACL SETUSER shop '&sess:events' \(/);
      expect(codes(await doctor(redis.url))).toEqual([]);
    });

    it('may be another one than asks', async () => {
      const asks = 'redis://admin:only-for-the-looks-of-tests@';
      const url = redis.url.replace(/redis:\/\/.*@/, asks);
      await without('-getdel');
      expect(codes(await doctor(url))).toEqual([]);
      expect(codes(await doctor(url, ['--user', 'shop']))).toEqual(['RIGHT_MISSING']);
      const typo = await doctor(url, ['--user', 'shpo']);
      expect(typo.json.findings).toMatchObject([{ code: 'USER_UNKNOWN', severity: 'error' }]);
      expect(typo.json.findings[0]?.seen).toMatch(/has no user shpo$/);
      expect(typo.code).toBe(1);
      // Where Redis does not say what others may do, it says nothing of whether they are there either.
      await without('-acl|dryrun');
      expect(codes(await doctor(redis.url, ['--user', 'shpo']))).toEqual(['RIGHTS_UNKNOWN']);
    });

    it.each<[what: string, rules: string[]]>([
      ['the channel of a near cache', ['resetchannels', '&sess:events']],
      ['the channel of events', ['resetchannels', '&__redis__:invalidate']],
      ['both channels', ['resetchannels']],
      ['a command and its channels', ['resetchannels', '-subscribe', '-publish']],
      ['keys, a command and a channel', ['resetkeys', 'resetchannels', '&sess:events', '-get']],
    ])('gives a remedy that is all it takes where %s is missing', async (_, rules) => {
      await admin.call('ACL', 'SETUSER', user.username, ...rules);
      const { json } = await doctor(redis.url, [...everything, '--keys', '0']);
      expect(json.findings.map(({ code }) => code)).toEqual(['RIGHT_MISSING']);
      const [, command = ''] = /^ACL (SETUSER .*) \(and ACL SAVE/.exec(json.findings[0]!.remedy)!;
      await admin.call('ACL', ...command.replaceAll("'", '').split(' '));
      expect(codes(await doctor(redis.url, everything))).toEqual([]);
    });
  });

  it(
    'finds nothing in a healthy Cluster, and what is wrong with one of its masters',
    async () => {
      const cluster = await RedisCluster.start(3, { args: DURABLE });
      opened.add({ close: () => cluster.stop() });
      const nodes = cluster.servers.map(({ port }) => `127.0.0.1:${port}`).join(',');
      const { app } = await opened.app({
        adapter: 'express',
        session: { redis: cluster.connection(), events: true },
      });
      for (let i = 0; i < 10; i++) await app.get(SessionService).create({ principal: `user-${i}` });
      const args = ['doctor', '--cluster', nodes, '--near-cache'];
      expect(await runJson(args)).toMatchObject({ code: 0, json: { healthy: true } });
      const one = cluster.servers[1]!.connect();
      await one.config('SET', 'maxmemory-policy', 'allkeys-random');
      one.disconnect();
      const { json } = await runJson<Examination>(args);
      expect(json.findings.map(({ code, seen }) => [code, seen])).toEqual([
        ['EVICTION', `127.0.0.1:${cluster.servers[1]!.port} has maxmemory-policy allkeys-random`],
      ]);
    },
    MINUTE,
  );
});

describe('what doctor makes of what it is told', () => {
  const server = { info: {}, save: undefined, appendfsync: undefined };

  it('judges a connection by where it goes', () => {
    const judged = (url: string) => checkConnection({ url }).map(({ code }) => code);
    expect(judged('redis://127.0.0.1:6379')).toEqual([]);
    expect(judged('redis://[::1]:6379')).toEqual([]);
    expect(judged('redis://redis.example.com')).toEqual(['PLAINTEXT', 'NO_LOGIN']);
    expect(judged('rediss://shop:secret@redis.example.com')).toEqual([]);
    const cluster = { nodes: [{ host: '10.0.0.7', port: 6379 }] };
    expect(checkConnection({ cluster, password: 'x' })).toMatchObject([{ code: 'PLAINTEXT' }]);
    expect(JSON.stringify(checkConnection({ url: 'redis://a:hunter2@h' }))).not.toContain(
      'hunter2',
    );
  });

  it('compares clocks of servers with each other', () => {
    const at = (where: string, ahead: number) => ({
      ...server,
      where,
      clock: { ahead, within: 5 },
    });
    expect(checkClocks([at('a', 0), at('b', 900)])).toEqual([]);
    expect(checkClocks([at('a', -700), at('b', 700)])).toMatchObject([
      { seen: 'the clocks of a and b are 1 s apart', severity: 'warning' },
    ]);
    // A slow answer is no wrong clock.
    expect(
      checkClocks([{ ...server, where: 'a', clock: { ahead: 2_000, within: 1_500 } }]),
    ).toEqual([]);
  });

  it('knows which versions are too old', () => {
    const judged = (redis_version: string) =>
      checkVersion({ ...server, where: 'a', info: { redis_version }, clock: undefined }).length;
    expect(['5.0.14', '6.0.16', '6.2.0', '7.0.15', '8.2.1'].map(judged)).toEqual([1, 1, 0, 0, 0]);
  });

  it('knows a server that cannot write, and one that says nothing', () => {
    const info = { redis_version: '7.2.0', aof_enabled: '1', aof_last_write_status: 'err' };
    const facts = { ...server, where: 'a', clock: undefined };
    expect(checkServer({ ...facts, info })).toMatchObject([{ code: 'PERSISTENCE_FAILS' }]);
    expect(checkServer(facts)).toMatchObject([{ code: 'INFO_REFUSED', severity: 'warning' }]);
  });

  it('knows a master that is alone among others, and replicas that are not there', () => {
    const replica = { where: 'r', state: 'online', behind: 0, silentFor: 1 };
    const masters = [
      { where: 'a', replicas: [replica] },
      { where: 'b', replicas: [] },
    ];
    expect(checkReplication(masters)).toMatchObject([{ code: 'NO_REPLICA' }]);
    expect(checkReplication([{ where: 'b', replicas: [] }])).toEqual([]);
    const gone = { ...replica, state: 'wait_bgsave' };
    expect(checkReplication([{ where: 'a', replicas: [gone] }])).toMatchObject([
      { code: 'REPLICA_LAG', seen: 'replica r of a: wait_bgsave' },
    ]);
    const silent = { ...replica, silentFor: 40 };
    expect(checkReplication([{ where: 'a', replicas: [silent] }])).toMatchObject([
      { code: 'REPLICA_LAG' },
    ]);
  });

  it('knows a Cluster that has lost slots', () => {
    expect(checkCluster({ cluster_state: 'ok', cluster_slots_fail: '0' })).toEqual([]);
    expect(checkCluster({ cluster_state: 'fail', cluster_slots_fail: '5461' })).toMatchObject([
      { code: 'CLUSTER_STATE', severity: 'error' },
    ]);
  });

  it.each<[cookie: string, url: string, codes: string[]]>([
    ['__Host-session=a; Path=/; HttpOnly; Secure; SameSite=Lax', 'https://shop.example.com', []],
    ['__Host-session=a; Path=/; HttpOnly; Secure; SameSite=Lax', 'http://localhost:3000', []],
    [
      '__Host-session=a; Path=/; HttpOnly; Secure; SameSite=Lax',
      'http://shop.example.com',
      ['COOKIE_DROPPED'],
    ],
    [
      '__Host-session=a; Path=/shop; HttpOnly; Secure; SameSite=Lax',
      'https://shop.example.com',
      ['COOKIE_DROPPED'],
    ],
    [
      'session=a; Domain=example.com; HttpOnly; Secure; SameSite=Strict',
      'https://shop.example.com',
      [],
    ],
    [
      'session=a; Domain=ample.com; HttpOnly; Secure; SameSite=Lax',
      'https://shop.example.com',
      ['COOKIE_DROPPED'],
    ],
    ['session=a; HttpOnly; SameSite=Lax', 'https://shop.example.com', ['COOKIE_INSECURE']],
    ['session=a; Secure; SameSite=Lax', 'https://shop.example.com', ['COOKIE_READABLE']],
    ['session=a; HttpOnly; Secure', 'https://shop.example.com', ['COOKIE_CROSS_SITE']],
    [
      'session=a; HttpOnly; Secure; SameSite=None',
      'https://shop.example.com',
      ['COOKIE_CROSS_SITE'],
    ],
    ['other=a', 'https://shop.example.com', ['COOKIE_MISSING']],
  ])('judges the cookie %s at %s', (cookie, url, expected) => {
    const first = { status: 200, cookies: [cookie], cacheControl: 'no-store' };
    const found = checkAnswers({ url: new URL(url), first });
    expect(found.map(({ code }) => code)).toEqual(expected);
  });
});
