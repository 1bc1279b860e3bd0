import { afterEach, describe, expect, it } from '@jest/globals';
import { setTimeout as pause } from 'node:timers/promises';
import { ADAPTERS } from '../support/app.js';
import { atMost, bound, type FaultFigures } from '../support/fault-record.js';
import { expectStatuses, expectTruth, FaultStage, IN_TIME } from '../support/fault-stage.js';

let stage: FaultStage;

afterEach(() => stage?.close());

it('a network that takes 100 ms fails nobody', async () => {
  stage = await FaultStage.open();
  const { figures, peer } = await stage.suffer(async () => {
    stage.proxy.delay(100);
    await pause(bound(5_000, 1_500));
    stage.proxy.calm();
  });
  expectTruth(figures);
  expect(Object.keys(figures.requests ?? {}).filter((status) => Number(status) >= 300)).toEqual([]);
  expect(figures.p99).toBeGreaterThan(100);
  await stage.record({
    fault: 'A network that takes 100 ms',
    done: 'Each reply of Redis is delayed by 100 ms.',
    figures,
    peer,
  });
});

it('a network that takes a second: 503 in time, and nothing is promised that is not kept', async () => {
  stage = await FaultStage.open();
  const { figures, peer } = await stage.suffer(async () => {
    stage.proxy.delay(1_000);
    await pause(bound(5_000, 2_000));
    stage.proxy.calm();
  });
  expectStatuses(figures);
  expectTruth(figures);
  expect(figures.requests?.[503]).toBeGreaterThan(10);
  expect(figures.longest).toBeLessThan(IN_TIME);
  expect(figures.recovery).toBeLessThan(atMost(3_000));
  await stage.record({
    fault: 'A network that takes a second',
    done: 'Each reply of Redis is delayed by 1 s, twice the time that a command has.',
    figures,
    peer,
  });
});

it('connections that are half open, and break at last: 503 in time, and back at once', async () => {
  stage = await FaultStage.open();
  const { figures, peer } = await stage.suffer(async () => {
    stage.proxy.stall();
    await pause(bound(5_000, 1_500));
    stage.proxy.calm();
  });
  expectStatuses(figures);
  expectTruth(figures);
  expect(figures.requests?.[503]).toBeGreaterThan(10);
  expect(figures.longest).toBeLessThan(IN_TIME);
  expect(figures.recovery).toBeLessThan(atMost(3_000));
  await stage.record({
    fault: 'Connections half open for 5 s',
    done: 'Connections stay open, and nothing passes; after 5 s they are reset.',
    figures,
    peer,
  });
});

it.each(ADAPTERS)(
  'a storm of resets loses nothing and does nothing twice, on %s',
  async (adapter) => {
    stage = await FaultStage.open({ adapter });
    const { figures, peer } = await stage.suffer(async () => {
      stage.proxy.resetEvery(200);
      await pause(bound(10_000, 1_500));
      stage.proxy.calm();
    });
    expect(stage.proxy.resets).toBeGreaterThan(3);
    expectStatuses(figures);
    expectTruth(figures);
    expect(figures.longest).toBeLessThan(IN_TIME);
    expect(figures.recovery).toBeLessThan(atMost(3_000));
    await stage.record({
      fault: `A storm of resets, on ${adapter}`,
      done: 'All connections to Redis are reset every 200 ms, for 10 s.',
      figures: { ...figures, more: { 'Connections reset, of all': stage.proxy.resets } },
      peer,
    });
  },
);

/** Any write: scripts, and what ends or extends a session without one. */
const WRITE = /evalsha|getdel|getex|\r\nset\r\n|\r\ndel\r\n/i;

describe.each(ADAPTERS)('a reply that is lost, on %s', (adapter) => {
  it('the caller sees the truth once', async () => {
    stage = await FaultStage.open({ adapter });
    const [statuses, note] = tally();
    let [counts, logins, logouts] = [0, 0, 0];
    const rounds = bound(50, 8);
    // Once well, so that Redis knows the scripts.
    const first = stage.browser();
    for (const path of ['/write', '/login/first', '/write', '/logout']) await first.post(path);

    for (let round = 0; round < rounds; round++) {
      const user = stage.browser();
      const name = `user-${round}`;
      expect((await user.post('/write')).json).toEqual({ n: 1 });

      stage.proxy.loseReply(WRITE);
      const counted = note(await user.post('/write')) === 200 ? 2 : undefined;
      counts += counted ? 1 : 0;
      const { n } = (await settled(user, '/read')).json;
      expect(counted ? [2] : [1, 2]).toContain(n);

      stage.proxy.loseReply(WRITE);
      while (note(await user.post(`/login/${name}`)) !== 200) await pause(50);
      logins++;
      expect((await settled(user, '/read')).json).toEqual({ n });
      expect((await settled(user, `/devices/${name}`)).json.handles).toHaveLength(1);

      const cookies = [...user.jar];
      stage.proxy.loseReply(WRITE);
      while (note(await user.post('/logout')) !== 204) await pause(50);
      logouts++;
      const ended = stage.browser(cookies);
      expect((await settled(ended, '/me', 401)).status).toBe(401);
      expect((await settled(ended, `/devices/${name}`)).json.handles).toEqual([]);
    }
    expect(stage.proxy.resets).toBeGreaterThanOrEqual(3 * rounds);
    await stage.record({
      fault: `A reply that is lost, on ${adapter}`,
      done: "The connection is reset when Redis has executed a command, and its reply is on the way: of a count, a login (the peer's are left out), a logout.",
      figures: {
        requests: statuses,
        more: {
          'Counts answered 200, each counted once': counts,
          'Logins, each one device': logins,
          'Logouts, each ended for good': logouts,
        },
      },
      peer: await peerLosesReplies(rounds),
    });
  });
});

/** The same for the peer: only what is told of it. */
async function peerLosesReplies(rounds: number): Promise<FaultFigures | undefined> {
  const [requests, note] = tally();
  let [lost, late] = [0, 0];
  for (let round = 0; round < rounds; round++) {
    const user = stage.peerBrowser();
    if (!user) return undefined;
    await user.post(`/login/peer-${round}`);
    await user.post('/write');
    stage.proxy.loseReply(WRITE);
    const isPromised = note(await user.post('/write')) === 200;
    const { n } = (await user.get('/read')).json;
    if (isPromised && n !== 2) lost++;
    if (!isPromised && n === 2) late++;
    stage.proxy.loseReply(WRITE);
    note(await user.post('/logout'));
    // Its client, ended while it connects anew, would stay connected.
    await user.get('/read');
  }
  return { requests, lost, late };
}

/** Counts answers by status. */
function tally() {
  const statuses: Record<string, number> = {};
  const note = ({ status }: { status: number }) => {
    statuses[status] = (statuses[status] ?? 0) + 1;
    return status;
  };
  return [statuses, note] as const;
}

/** What it answers when the connection is there again. */
async function settled(user: ReturnType<FaultStage['browser']>, path: string, status = 200) {
  for (let i = 0; i < 50; i++) {
    const answer = await user.get(path);
    if (answer.status === status) return answer;
    expect(answer.status).toBe(503);
    await pause(20);
  }
  throw new Error(`${path} does not answer ${status}`);
}
