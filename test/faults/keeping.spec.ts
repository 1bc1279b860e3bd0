import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { setTimeout as pause } from 'node:timers/promises';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, inParallel, until } from '../support/app.js';
import { atMost, bound } from '../support/fault-record.js';
import {
  expectStatuses,
  expectTruth,
  expectUnavailable,
  FaultStage,
  IN_TIME,
} from '../support/fault-stage.js';
import { SmallDisk } from '../support/small-disk.js';

let stage: FaultStage;

afterEach(() => stage?.close());

const canFill = SmallDisk.isPermitted();
if (!canFill) console.warn('mounting a tmpfs takes root, and is refused here: SKIPPED a full disk');

(canFill ? describe : describe.skip)('a disk that can be filled', () => {
  let disk: SmallDisk;

  beforeEach(() => {
    disk = SmallDisk.mount('4m');
  });

  // What writes to it is ended first.
  afterEach(async () => {
    await stage?.close();
    disk.remove();
  });

  it('a full disk: reads work, and every write is 503, a logout as well', async () => {
    stage = await FaultStage.open({
      redis: ['--dir', disk.path, '--appendonly', 'yes', '--appendfsync', 'everysec'],
    });
    const admin = stage.admin();
    const [reader, leaver] = [stage.browser(), stage.browser()];
    for (const user of [reader, leaver]) {
      await user.post('/login/alice');
      await user.post('/write');
    }
    const refuses = async () => /aof_last_write_status:err/.test(await admin.info('persistence'));
    const { figures, peer } = await stage.suffer(async () => {
      disk.fill();
      await until('the disk is full', async () => {
        await admin.set('something', 'x'.repeat(10_000)).catch(() => undefined);
        return refuses();
      });
      const since = performance.now();
      do {
        expect((await reader.get('/read')).json).toEqual({ n: 1 });
        expect((await reader.get('/me')).status).toBe(200);
        await expectUnavailable(reader, 'POST', '/write');
        await expectUnavailable(stage.browser(), 'POST', '/login/bob');
        await expectUnavailable(leaver, 'POST', '/logout');
        await pause(50);
      } while (performance.now() - since < bound(5_000, 1_000));
      expect((await reader.get('/devices/alice')).json.handles).toHaveLength(2);
      disk.free();
      await until('the disk is written again', async () => !(await refuses()));
    });
    // Nobody promised the logout, and it is made up for.
    await until('the logout is done', async () => (await leaver.get('/me')).status === 401);
    expect((await reader.get('/devices/bob')).json.handles).toEqual([]);
    expectStatuses(figures);
    expectTruth(figures);
    expect(figures.late).toBe(0);
    expect(figures.requests?.[503]).toBeGreaterThan(5);
    expect(figures.longest).toBeLessThan(IN_TIME);
    expect(figures.recovery).toBeLessThan(atMost(1_000));
    await stage.record({
      fault: 'Disk full',
      done: 'The disk of the append-only file (a tmpfs of 4 MB, `appendfsync everysec`) is full for 5 s: Redis refuses whatever writes (`MISCONF`).',
      figures,
      peer,
    });
  });
});

it.each(ADAPTERS)(
  'a Redis that takes no writes is read, a touch being due or not, on %s',
  async (adapter) => {
    const clock = new FakeClock();
    stage = await FaultStage.open({ adapter, session: { clock }, peer: false });
    const [admin, user] = [stage.admin(), stage.browser()];
    await user.post('/login/alice');
    await user.post('/write');
    // As with a full disk, what writes is refused: `NOREPLICAS`.
    await admin.config('SET', 'min-replicas-to-write', '1');
    expect((await user.get('/read')).json).toEqual({ n: 1 });
    clock.advance('5m');
    expect((await user.get('/read')).json).toEqual({ n: 1 });
    await expectUnavailable(user, 'POST', '/write');
    await expectUnavailable(user, 'POST', '/logout');
    expect((await user.get('/me')).status).toBe(200);
  },
);

it.each(ADAPTERS)(
  'FLUSHALL: all are clean anonymous visitors, and nobody meets an error, on %s',
  async (adapter) => {
    stage = await FaultStage.open({ adapter, peer: false });
    const users = await inParallel(bound(500, 50), 10, async (i) => {
      const user = stage.browser();
      await user.post(`/login/user-${i % 5}`);
      await user.post('/write');
      return user;
    });
    await stage.admin().flushall();
    const statuses: Record<string, number> = {};
    const times: number[] = [];
    await inParallel(users.length, 10, async (i) => {
      const [user, at] = [users[i]!, performance.now()];
      // Each meets it in another way.
      const [method, path] = [
        ['GET', '/read'],
        ['POST', '/write'],
        ['GET', '/me'],
        ['POST', '/logout'],
        ['POST', `/login/user-${i % 5}`],
      ][i % 5] as [string, string];
      const had = [...user.jar];
      const { status } = await user.send(method, path);
      times.push(performance.now() - at);
      statuses[status] = (statuses[status] ?? 0) + 1;
      expect({ path, status }).toEqual({
        path,
        status: { '/me': 401, '/logout': 204 }[path] ?? 200,
      });
      expect([...user.jar]).not.toEqual(had);
      const n = path === '/write' ? 1 : null;
      expect((await user.get('/read')).json).toEqual({ n });
      const isLoggedIn = path.startsWith('/login');
      expect((await user.get('/me')).status).toBe(isLoggedIn ? 200 : 401);
    });
    const { handles } = (await users[0]!.get('/devices/user-4')).json as { handles: string[] };
    expect(handles).toHaveLength(users.length / 5);
    await stage.record({
      fault: `FLUSHALL, on ${adapter}`,
      done: 'Everything in Redis is deleted under sessions that are logged in; each then reads, writes, asks for what needs a login (401), logs out or logs in.',
      figures: { requests: statuses, longest: Math.max(...times) },
    });
  },
);
