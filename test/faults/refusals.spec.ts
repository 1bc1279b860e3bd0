import { afterEach, describe, expect, it } from '@jest/globals';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { setTimeout as pause } from 'node:timers/promises';
import { ADAPTERS, inParallel } from '../support/app.js';
import { atMost, bound } from '../support/fault-record.js';
import {
  expectStatuses,
  expectTruth,
  expectUnavailable,
  FaultStage,
  IN_TIME,
} from '../support/fault-stage.js';

let stage: FaultStage;

afterEach(() => stage?.close());

it.each(ADAPTERS)(
  'CLIENT PAUSE WRITE: reads go on, late writes are none, on %s',
  async (adapter) => {
    stage = await FaultStage.open({ adapter });
    const admin = stage.admin();
    const user = stage.browser();
    await user.post('/login/alice');
    await user.post('/write');

    await admin.call('CLIENT', 'PAUSE', 1_000, 'WRITE');
    const reads = await inParallel(50, 5, () => user.get('/read'));
    expect(new Set(reads.map(({ text }) => text))).toEqual(new Set(['{"n":1}']));
    await admin.call('CLIENT', 'UNPAUSE');

    const milliseconds = bound(5_000, 1_500);
    const { figures, peer } = await stage.suffer(async () => {
      await admin.call('CLIENT', 'PAUSE', milliseconds, 'WRITE');
      const over = pause(milliseconds);
      await expectUnavailable(user, 'POST', '/write');
      await expectUnavailable(stage.browser(), 'POST', '/login/bob');
      await over;
    });
    expect((await user.get('/read')).json).toEqual({ n: 1 });
    expect((await user.get('/devices/bob')).json).toEqual({ handles: [] });
    expectStatuses(figures);
    expectTruth(figures);
    expect(figures.late).toBe(0);
    expect(figures.longest).toBeLessThan(IN_TIME);
    expect(figures.recovery).toBeLessThan(atMost(1_000));
    await stage.record({
      fault: `CLIENT PAUSE WRITE, on ${adapter}`,
      done: '`CLIENT PAUSE 5000 WRITE`: Redis lets what writes wait for 5 s. Reads alone go on; behind a write that waits, on the same connection, they wait as well.',
      figures: {
        ...figures,
        more: { 'Reads answered before a write came': `${reads.length} of 50` },
      },
      peer,
    });
  },
);

it('a script that does not end: BUSY is 503, and all is well when it is killed', async () => {
  stage = await FaultStage.open({ redis: ['--busy-reply-threshold', '100'] });
  const [busy, admin] = [stage.admin(), stage.admin()];
  const { figures, peer } = await stage.suffer(async () => {
    const endless = busy.eval('while true do end', 0).catch((error: Error) => error.message);
    await pause(bound(5_000, 1_500));
    const user = stage.browser();
    const answer = await user.post('/write');
    expect(answer.status).toBe(503);
    expect(answer.json.message).toContain('BUSY');
    expect(await admin.script('KILL')).toBe('OK');
    expect(await endless).toMatch(/killed/i);
  });
  expectStatuses(figures);
  expectTruth(figures);
  expect(figures.requests?.[503]).toBeGreaterThan(10);
  expect(figures.longest).toBeLessThan(IN_TIME);
  expect(figures.recovery).toBeLessThan(atMost(1_000));
  await stage.record({
    fault: 'A script that does not end',
    done: 'An endless Lua script runs in Redis (`busy-reply-threshold 100`), and is ended by `SCRIPT KILL` after 5 s.',
    figures,
    peer,
  });
});

describe.each(ADAPTERS)('a full memory, on %s', (adapter) => {
  it('refuses what is new, and reads and ends what is there', async () => {
    stage = await FaultStage.open({ adapter });
    const admin = stage.admin();
    const [reader, leaver] = [stage.browser(), stage.browser()];
    for (const user of [reader, leaver]) {
      await user.post('/login/alice');
      await user.post('/write');
    }
    const { figures, peer } = await stage.suffer(async () => {
      await admin.config('SET', 'maxmemory', '1');
      const since = performance.now();
      do {
        expect((await reader.get('/read')).json).toEqual({ n: 1 });
        expect((await reader.get('/me')).status).toBe(200);
        await expectUnavailable(reader, 'POST', '/write');
        await expectUnavailable(stage.browser(), 'POST', '/login/bob');
        await pause(50);
      } while (performance.now() - since < bound(5_000, 1_000));
      expect((await leaver.post('/logout')).status).toBe(204);
      expect((await reader.get('/devices/alice')).json.handles).toHaveLength(1);
      await admin.config('SET', 'maxmemory', '0');
    });
    expectStatuses(figures);
    expectTruth(figures);
    expect(figures.late).toBe(0);
    expect(figures.requests?.[503]).toBeGreaterThan(5);
    expect(figures.longest).toBeLessThan(IN_TIME);
    expect(figures.recovery).toBeLessThan(atMost(1_000));
    expect((await reader.get('/devices/bob')).json.handles).toEqual([]);
    await stage.record({
      fault: `Memory full, on ${adapter}`,
      done: 'For 5 s Redis uses more than its `maxmemory` allows, with `noeviction`.',
      figures,
      peer,
    });
  });

  it('that a touch falls into: the session is read all the same', async () => {
    const clock = new FakeClock();
    stage = await FaultStage.open({ adapter, session: { clock }, peer: false });
    const [admin, user] = [stage.admin(), stage.browser()];
    await user.post('/login/alice');
    await user.post('/write');
    await admin.config('SET', 'maxmemory', '1');
    clock.advance('5m');
    const [key = ''] = await admin.keys('*:s:*');
    await admin.pexpire(key, 60_000);
    expect((await user.get('/read')).json).toEqual({ n: 1 });
    expect(await admin.pttl(key)).toBeGreaterThan(60_000);
  });
});

describe.each(['volatile-lru', 'allkeys-lru'])('a Redis that evicts by %s', (policy) => {
  it('says so at boot; who is evicted is a clean anonymous visitor, and lists heal', async () => {
    const redis = ['--maxmemory-policy', policy];
    stage = await FaultStage.open({ redis, peer: false, session: { touchAfter: 0 } });
    const warnings = stage.logger.texts('warn').join('\n');
    expect(warnings).toContain(`maxmemory-policy is ${policy}`);

    const admin = stage.admin();
    const users = await inParallel(bound(1_000, 300), 4, async () => {
      const user = stage.browser();
      await user.post('/login/alice');
      expect((await user.post('/write')).json).toEqual({ n: 1 });
      return user;
    });
    const used = /used_memory:(\d+)/.exec(await admin.info('memory'))?.[1];
    // As much as other data take that come into the same Redis.
    await admin.config('SET', 'maxmemory', String(Number(used) + 100_000));
    for (let i = 0; i < 300; i++) await admin.set(`other-${i}`, 'x'.repeat(2_000), 'EX', 600);
    await admin.config('SET', 'maxmemory', '0');
    const evicted = Number(/evicted_keys:(\d+)/.exec(await admin.info('stats'))?.[1]);
    expect(evicted).toBeGreaterThan(10);

    const seen = { alive: 0, gone: 0 };
    await inParallel(users.length, 10, async (i) => {
      const user = users[i]!;
      const had = [...user.jar];
      const answer = await user.get('/read');
      expect(answer.status).toBe(200);
      const isAlive = answer.json.n === 1;
      seen[isAlive ? 'alive' : 'gone']++;
      expect(answer.json).toEqual({ n: isAlive ? 1 : null });
      expect([...user.jar]).toEqual(isAlive ? had : []);
      if (!isAlive) expect((await user.post('/write')).json).toEqual({ n: 1 });
    });
    expect(seen.gone).toBeGreaterThan(0);
    const { handles } = (await users[0]!.get('/devices/alice')).json as { handles: string[] };
    // Whoever is there stands in the list again, also if the list had been evicted.
    expect(handles).toHaveLength(seen.alive);
    const records = await admin.keys('*:s:*');
    for (const handle of handles) expect(records.join(' ')).toContain(handle);
    const [place = ''] = await admin.keys('*:p:*');
    expect((await admin.zrange(place, '0', '-1')).toSorted()).toEqual(handles.toSorted());
    await stage.record({
      fault: `An evicting Redis, ${policy}`,
      done: 'Other data fill the memory of the same Redis, which has a policy that drops sessions. The log warned of it at boot.',
      figures: {
        more: {
          'Keys evicted': evicted,
          'Sessions that live': seen.alive,
          'Sessions evicted: anonymous, no error, cookie cleared': seen.gone,
          'Sessions in the list of devices, once each was used again': handles.length,
        },
      },
    });
  });
});
