import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { SessionService } from 'nestjs-distributed-session';
import { until } from '../support/app.js';
import { runCli, runJson } from '../support/cli-run.js';
import { atMost } from '../support/fault-record.js';
import { Opened } from '../support/opened.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisServer } from '../support/redis-server.js';

interface Told {
  readonly revoked?: boolean | number;
  readonly confirmed?: boolean;
  readonly error?: { readonly code: string; readonly message: string };
}

const keyOf = (handle: string) => `{sess:${handle.slice(0, 2)}}:s:${handle}`;

describe('revocations that a replica confirms', () => {
  const opened = new Opened();
  let master: RedisServer;
  let replica: RedisServer;
  let copy: Redis;
  let sessions: SessionService;

  beforeAll(async () => {
    master = await RedisServer.start();
    replica = await RedisServer.start(['--replicaof', `127.0.0.1 ${master.port}`]);
    const admin = master.connect();
    const follows = async () => /slave0:.*state=online/.test(await admin.info('replication'));
    await until('the replica follows', follows, { within: 20_000 });
    admin.disconnect();
    copy = replica.connect();
  });
  beforeEach(async () => {
    const session = { redis: master.url, nearCache: false };
    sessions = (await opened.app({ adapter: 'express', session })).app.get(SessionService);
  });
  afterEach(async () => {
    replica.signal('SIGCONT');
    await opened.close();
  });
  afterAll(async () => {
    copy?.disconnect();
    await replica?.stop();
    await master?.stop();
  });

  const json = (...args: string[]) => runJson<Told>([...args, '--redis', master.url]);
  const begin = async (principal = 'alice') => (await sessions.create({ principal })).handle;

  it('have ended at the replica when they are told to have', async () => {
    for (let i = 0; i < 20; i++) {
      const handle = await begin();
      await until('the replica has it', async () => (await copy.exists(keyOf(handle))) === 1);
      expect(await json('revoke', handle, '--replicas', '1', '--timeout', '5000')).toMatchObject({
        code: 0,
        json: { revoked: true, confirmed: true },
      });
      expect(await copy.exists(keyOf(handle))).toBe(0);
    }
    for (const whose of [['--principal', 'alice'], ['--yes']]) {
      const handles = [await begin(), await begin()];
      const args = ['revoke-all', ...whose, '--timeout', '5s', '--redis', master.url];
      const { code, stdout } = await runCli(args);
      expect([code, stdout]).toEqual([0, expect.stringContaining('2 sessions')]);
      expect(stdout).toContain('replicas have it');
      expect(await copy.exists(...handles.map(keyOf))).toBe(0);
    }
  });

  it('end at the master without the replica as well, and are told not to be confirmed', async () => {
    const [one, ...others] = [await begin(), await begin('bob'), await begin('bob'), await begin()];
    replica.signal('SIGSTOP');
    const since = performance.now();
    const first = await json('revoke', one, '--replicas', '1', '--timeout', '300');
    expect(performance.now() - since).toBeGreaterThan(300);
    expect(first).toMatchObject({
      code: 3,
      json: { revoked: true, confirmed: false, error: { code: 'SESSION_UNCONFIRMED' } },
      stderr: expect.stringContaining('Run it again'),
    });
    expect(await json('revoke-all', '--principal', 'bob', '--replicas', '1')).toMatchObject({
      code: 3,
      json: { revoked: 2, confirmed: false },
    });
    const all = await json('revoke-all', '--yes', '--timeout', '300ms');
    expect(all).toMatchObject({ code: 3, json: { revoked: 1, confirmed: false } });
    for (const handle of [one, ...others]) expect(await sessions.find(handle)).toBeUndefined();
    // Nothing that could be taken for success stands where the answer is read.
    const plain = await runCli(['revoke', await begin(), '--replicas', '1', '--redis', master.url]);
    expect(plain).toMatchObject({ code: 3, stdout: '' });
    // That there is nothing to end any more is no confirmation that it has ended.
    for (const again of [
      ['revoke', one],
      ['revoke-all', '--principal', 'bob'],
      ['revoke-all', '--yes'],
    ]) {
      expect(await json(...again, '--replicas', '1')).toMatchObject({
        code: 3,
        json: { confirmed: false },
      });
    }
    replica.signal('SIGCONT');
    expect(await json('revoke-all', '--yes', '--timeout', '5000')).toMatchObject({
      code: 0,
      json: { revoked: 0, confirmed: true },
    });
    expect(await copy.exists(...[one, ...others].map(keyOf))).toBe(0);
    expect(await json('revoke', one, '--timeout', '5000')).toMatchObject({
      code: 1,
      json: { revoked: false, confirmed: true },
    });
  });

  it('are not confirmed by fewer replicas than were asked for', async () => {
    const handle = await begin();
    expect(await json('revoke', handle, '--replicas', '2')).toMatchObject({
      code: 3,
      json: { revoked: true, confirmed: false },
    });
  });

  it('wait as long as they may, and no longer; and not at all if nobody asked', async () => {
    const handle = await begin();
    replica.signal('SIGSTOP');
    const since = performance.now();
    expect(await json('revoke', handle)).toEqual({
      code: 0,
      json: { revoked: true, told: false },
      stderr: '',
    });
    setTimeout(() => replica.signal('SIGCONT'), 6_500);
    // Longer than a command may take to be answered at once.
    const patient = await json('revoke', await begin(), '--replicas', '1', '--timeout', '30s');
    expect(patient).toMatchObject({ code: 0, json: { confirmed: true } });
    expect(performance.now() - since).toBeLessThan(atMost(20_000));
  }, 60_000);

  it('are not confirmed over another connection than they were done by', async () => {
    const admin = master.connect();
    await begin();
    replica.signal('SIGSTOP');
    // While it waits: to wait on the next connection would be to ask about nothing.
    const waiting = json('revoke-all', '--yes', '--replicas', '1', '--timeout', '8s');
    await until('it waits', async () =>
      /flags=b[^]*cmd=wait/.test(String(await admin.client('LIST'))),
    );
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    replica.signal('SIGCONT');
    expect(await waiting).toMatchObject({ code: 3, json: { confirmed: false } });
    admin.disconnect();
  });

  it('are left undone if it cannot be asked for', async () => {
    const handle = await begin();
    const admin = master.connect();
    await admin.call('ACL', 'SETUSER', 'no-wait', 'on', '>secret', '~*', '&*', '+@all', '-wait');
    const url = master.url.replace('redis://', 'redis://no-wait:secret@');
    const args = ['revoke', handle, '--replicas', '1'];
    expect(await runJson<Told>([...args, '--redis', url])).toMatchObject({
      code: 1,
      json: { error: { code: 'NOPERM' } },
    });
    for (const wrong of [
      ['--replicas', '0'],
      ['--replicas', 'all'],
      ['--timeout', '0'],
      ['--timeout', 'soon'],
    ]) {
      expect(await json('revoke', handle, ...wrong)).toMatchObject({ code: 2 });
    }
    expect(await sessions.find(handle)).toBeDefined();
    admin.disconnect();
  });
});

describe('in a Cluster', () => {
  const opened = new Opened();
  let cluster: RedisCluster;

  beforeAll(async () => {
    cluster = await RedisCluster.start(3, { replicas: 1, nodeTimeout: 15_000 });
  }, 60_000);
  afterAll(async () => {
    await opened.close();
    await cluster?.stop();
  });

  it('the replicas of every master have to confirm it', async () => {
    const session = { redis: cluster.connection(), nearCache: false };
    const { app } = await opened.app({ adapter: 'express', session });
    const sessions = app.get(SessionService);
    const begin = async () => {
      for (let i = 0; i < 30; i++) await sessions.create({ principal: `user-${i}` });
    };
    const nodes = cluster.masters.map(({ port }) => `127.0.0.1:${port}`).join(',');
    const args = ['revoke-all', '--yes', '--replicas', '1', '--cluster', nodes, '--timeout'];
    await begin();
    expect(await runJson<Told>([...args, '5s'])).toMatchObject({
      code: 0,
      json: { revoked: 30, confirmed: true },
    });
    for (const replica of cluster.replicas) {
      await begin();
      replica.signal('SIGSTOP');
      const outcome = await runJson<Told>([...args, '300']).finally(() =>
        replica.signal('SIGCONT'),
      );
      expect(outcome).toMatchObject({ code: 3, json: { revoked: 30, confirmed: false } });
    }
    expect(await runJson<Told>([...args, '5s'])).toMatchObject({
      code: 0,
      json: { revoked: 0, confirmed: true },
    });
  }, 60_000);
});
