import { afterEach, describe, expect, it } from '@jest/globals';
import { setTimeout as pause } from 'node:timers/promises';
import { atMost, bound } from '../support/fault-record.js';
import { expectStatuses, expectTruth, FaultStage, IN_TIME, KEPT } from '../support/fault-stage.js';

let stage: FaultStage;

afterEach(() => stage?.close());

describe('Redis killed', () => {
  it('and started again: 503 at once, nothing lost, back within a second', async () => {
    stage = await FaultStage.open({ redis: KEPT });
    const away = bound(5_000, 1_500);
    const { figures, peer } = await stage.suffer(async () => {
      await stage.server.kill();
      await pause(away);
      await stage.server.run();
    });
    expectStatuses(figures);
    expectTruth(figures);
    expect(figures.requests?.[503]).toBeGreaterThan(20);
    expect(figures.longest).toBeLessThan(IN_TIME);
    expect(figures.recovery).toBeLessThan(atMost(1_000));
    await stage.record({
      fault: 'Redis killed, restarted after 5 s',
      done: 'Redis (AOF, `appendfsync always`) is ended by `kill -9`, and started again after 5 s on the same port.',
      figures,
      peer,
    });
  });

  it('again and again under AOF: no acknowledged session is lost', async () => {
    stage = await FaultStage.open({ redis: KEPT });
    const times = bound(10, 3);
    const { figures, peer } = await stage.suffer(async () => {
      for (let i = 0; i < times; i++) {
        await stage.server.kill();
        await stage.server.run();
        await pause(500);
      }
    });
    expectStatuses(figures);
    expectTruth(figures);
    expect(figures.requests?.[503]).toBeGreaterThan(0);
    expect(figures.longest).toBeLessThan(IN_TIME);
    await stage.record({
      fault: 'Redis killed ten times under AOF',
      done: '`kill -9` in the middle of writes, and started again at once: AOF, `appendfsync always`.',
      figures,
      peer,
    });
  });
});

describe('Redis frozen', () => {
  it('answers 503 in time; nothing late takes effect when it goes on', async () => {
    stage = await FaultStage.open();
    const user = stage.browser();
    const strangers = Array.from({ length: 5 }, () => stage.browser());
    await user.post('/login/alice');
    await user.post('/write');

    const { figures, peer } = await stage.suffer(async () => {
      // They read before the freeze, and write in it.
      const writing = Array.from({ length: 5 }, () => user.post('/write-after/300'));
      await pause(100);
      stage.server.signal('SIGSTOP');
      const logins = strangers.map((one) => one.post('/login/bob'));
      for (const answer of await Promise.all([...writing, ...logins])) {
        expect(answer.status).toBe(503);
        expect(answer.setCookie).toEqual([]);
      }
      await pause(bound(10_000, 2_000));
      stage.server.signal('SIGCONT');
    });
    expect((await user.get('/read')).json).toEqual({ n: 1 });
    expect((await user.get('/devices/bob')).json).toEqual({ handles: [] });
    expect((await user.post('/write')).json).toEqual({ n: 2 });
    expectStatuses(figures);
    expectTruth(figures);
    expect(figures.late).toBe(0);
    expect(figures.requests?.[503]).toBeGreaterThan(10);
    expect(figures.longest).toBeLessThan(IN_TIME);
    expect(figures.recovery).toBeLessThan(atMost(1_000));
    await stage.record({
      fault: 'Redis frozen for 10 s',
      done: '`SIGSTOP`, and `SIGCONT` after 10 s: connections stay open, and nothing answers. Logouts apart, nothing that was answered 503 may take effect afterwards.',
      figures,
      peer,
    });
  });
});
