import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import {
  SessionEvents,
  SessionService,
  type SessionEvent,
  type SessionEventGap,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { until, type TestApp } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisGates } from '../support/redis-gates.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, TOPOLOGY, type RedisUnderTest } from '../support/redis-under-test.js';

interface Listener {
  readonly app: TestApp;
  readonly sessions: SessionService;
  readonly events: SessionEvents;
  readonly heard: SessionEvent[];
  readonly gaps: SessionEventGap[];
}

describe('what a node hears', () => {
  const opened = new Opened();
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  beforeEach(async () => {
    redis = await startRedis();
    opened.add({ close: () => redis.stop() });
    probe = await RedisProbe.start(redis);
    opened.add({ close: () => probe.stop() });
  }, 60_000);
  afterEach(opened.close, 60_000);

  const listen = async (options: SessionModuleOptions = {}): Promise<Listener> => {
    const session = { redis: redis.connection(), events: true, ...options };
    const app = await opened.app({ adapter: 'express', session });
    const events = app.app.get(SessionEvents);
    const listener = { app, events, sessions: app.app.get(SessionService), heard: [], gaps: [] };
    events.events$.subscribe((event) => (listener.heard as SessionEvent[]).push(event));
    events.gaps$.subscribe((gap) => (listener.gaps as SessionEventGap[]).push(gap));
    return listener;
  };
  const kill = () =>
    Promise.all(probe.nodes.map((node) => node.call('CLIENT', 'KILL', 'TYPE', 'pubsub')));
  const gated = async () => {
    const gates = await RedisGates.start(redis);
    opened.add({ close: () => gates.stop() });
    return gates;
  };

  it('is complete after a connection that was cut, and says so', async () => {
    const [deaf, other] = [await listen(), await listen()];
    const { handle } = await other.sessions.create({ principal: 'alice' });
    await until('the login', () => deaf.heard.length === 2);
    await kill();
    await other.sessions.revoke(handle);
    await until('the end', () => deaf.heard.length === 3);
    await until('the gap', () => deaf.gaps.length > 0);
    expect(deaf.gaps[0]?.complete).toBe(true);
    expect(deaf.heard[2]).toMatchObject({ type: 'revoked', handle });
  });

  it('is complete after a connection of which half was gone', async () => {
    const gates = await gated();
    const [deaf, other] = [await listen({ redis: gates.connection }), await listen()];
    gates.hold(/ping/i);
    await until('its sign of life is missed', () => gates.holds);
    await other.sessions.create({ principal: 'alice' });
    await delay(2_500);
    gates.release();
    await until('what was told', () => deaf.heard.length === 2, { within: 10_000 });
    await until('the gap', () => deaf.gaps.length > 0, { within: 10_000 });
    expect(deaf.gaps.every(({ complete }) => complete)).toBe(true);
  }, 30_000);

  it('may be incomplete after a silence longer than it is remembered: then it asks who lives', async () => {
    const gates = await gated();
    const events = { retention: '1s' } as const;
    const [deaf, other] = [
      await listen({ redis: gates.connection, events }),
      await listen({ events }),
    ];
    const made = [];
    for (let i = 0; i < 2; i++) made.push(await other.sessions.create({ principal: 'alice' }));
    await until('the logins', () => deaf.heard.length === 4);
    const ended: string[] = [];
    for (const { handle } of made) {
      deaf.events.ended({ handle, principal: 'alice' }).subscribe(() => ended.push(handle));
    }
    gates.cut(/subscribe/i);
    await kill();
    await other.sessions.revoke(made[0]!.handle);
    // Until it is not remembered any more, and nobody else is.
    await delay(1_500);
    for (let i = 0; i < 500; i++) await other.sessions.create();
    gates.release();
    await until('the gap', () => deaf.gaps.length > 0, { within: 10_000 });
    expect(deaf.gaps[0]?.complete).toBe(false);
    await until('the stream ends', () => ended.length > 0);
    expect(ended).toEqual([made[0]!.handle]);
  }, 30_000);

  it('is nothing that does not fit, whoever sends it', async () => {
    const { heard, sessions, events } = await listen();
    const { handle } = await sessions.create({ principal: 'alice' });
    await until('the login', () => heard.length === 2);
    const ended: unknown[] = [];
    events.ended({ handle, principal: 'alice' }).subscribe((event) => ended.push(event));
    const message = (change: object) =>
      JSON.stringify({ i: 'abcdefghijklmnop', t: ['destroyed'], a: 1, ...change });
    const line = `${handle} - {"p":"mallory","c":1,"e":2}`;
    const forged = [
      '',
      '!',
      '!x',
      '!{"principal":1}',
      'junk',
      '00junk',
      `0012-0 ${'x'.repeat(100_000)}`,
      `0012-1 ${message({ i: '<script>' })}\n${line}`,
      `0012-2 ${message({ t: 'destroyed' })}\n${line}`,
      `0012-3 ${message({ a: 'now' })}\n${line}`,
      `0012-4 ${message({ h: '../../etc' })}\n${line}`,
      `0012-5 ${message({ z: 'admin' })}\n${line}`,
      `0012-6 ${message({ t: ['granted'] })}\n${line}`,
      `0012-7 ${message({})}\n'; redis.call("FLUSHALL") -- - {}`,
      `0012-8 ${message({})}\n${handle.slice(1)} - {}`,
      `0012-9 null\n${line}`,
      `0012-10 {"i":\n${line}`,
    ];
    const bucket = handle.slice(0, 2);
    const send = async (text: string) => {
      await probe.client.publish('sess:events', text);
      if (TOPOLOGY === 'cluster') await probe.client.spublish(`{sess:${bucket}}:e`, text);
    };
    for (const text of forged) await send(text);
    await sessions.create();
    await until('what is real', () => heard.length >= 3);
    expect(heard).toHaveLength(3);

    // Whoever may publish can inform, wrongly, and grant nothing.
    await send(`${bucket}9-1 ${message({ t: ['authenticated'] })}\n${line}`);
    await send(`${bucket}9-2 ${message({})}\n${line}`);
    await until('it is heard', () => heard.length === 5);
    await until('a stream ends', () => ended.length === 1);
    const session = await sessions.find(handle);
    expect(session?.principal).toBe('alice');
  });

  it('begins when Redis is there, if the application did not wait for it', async () => {
    await redis.kill();
    const { heard, sessions } = await listen({ bootWithoutStore: true });
    await redis.run();
    const created = async () => {
      await sessions.create().catch(() => undefined);
      await delay(100);
      return heard.length > 0;
    };
    await until('something is heard', created, { within: 20_000 });
  }, 60_000);
});
