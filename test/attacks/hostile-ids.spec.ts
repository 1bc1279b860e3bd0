import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, HttpCode, Post } from '@nestjs/common';
import { RequireSession, Session, SessionService } from 'nestjs-distributed-session';
import { newSessionId } from '../../lib/core/session-id.js';
import { ADAPTERS, SECRET, startApp, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { itInRedis } from '../support/store-under-test.js';

@Controller()
class Desk {
  @Get('read') read(@Session() session: Session) {
    return { isNew: session.isNew };
  }

  @RequireSession() @Get('me') me() {
    return {};
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }
}

const bytes = (text: string) => Buffer.from(text).toString('latin1');

/** What comes in place of an id, as it stands in a header. */
const IDS: readonly [string, string][] = [
  ['one character', 'A'],
  ['one character too few', 'A'.repeat(43)],
  ['one character too many', 'A'.repeat(45)],
  ['8 KiB', 'A'.repeat(8_192)],
  ['../../x', '../../x'],
  ['../../x of the length of an id', '../'.repeat(14) + 'xx'],
  ['*', '*'],
  ['{x}', '{x}'],
  ['{x} of the length of an id', `{x}${'A'.repeat(41)}`],
  ['an encoded NUL', `%00${'A'.repeat(41)}`],
  ['an emoji', bytes('😀'.repeat(11))],
  ['letters beyond ASCII', bytes(`é${'A'.repeat(43)}`)],
  ['a number', '1'.repeat(5)],
  ['an object', '[object Object]'],
  ['JSON', `{"id":"${'A'.repeat(35)}"}`],
  ['a handle', `0a${'A'.repeat(43)}`],
  ['a key', `sess:{0a}:s:0a${'A'.repeat(43)}`],
  ['a Lua command', `'; redis.call("FLUSHALL") --${'A'.repeat(16)}`],
  ['a JWT without a signature', 'eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbGljZSJ9.'],
  ['a token of express-session', `s%3A${'A'.repeat(32)}.${'B'.repeat(43)}`],
];

/** How a token travels. */
const WAYS = {
  cookie: (token: string) => ({ cookie: `__Host-session=${token}` }),
  'x-auth-token': (token: string) => ({ 'x-auth-token': token }),
  authorization: (token: string) => ({ authorization: `Session ${token}` }),
} as const;

describe.each(ADAPTERS)('what is no id on %s', (adapter) => {
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  const apps: [way: keyof typeof WAYS, app: TestApp, client: HttpClient][] = [];

  beforeAll(async () => {
    redis = await startRedis();
    probe = await RedisProbe.start(redis);
    for (const way of ['cookie', 'x-auth-token', 'authorization'] as const) {
      for (const secret of [undefined, SECRET]) {
        const session = { redis: redis.connection(), transport: way, secret };
        const app = await startApp({ adapter, controllers: [Desk], session });
        apps.push([way, app, new HttpClient(app.port)]);
      }
    }
  });

  afterAll(async () => {
    for (const [, app, client] of apps) {
      client.close();
      await app.close();
    }
    await probe.stop();
    await redis.stop();
  });

  /** How many commands Redis has carried out, by their names; without our own looks. */
  const counted = async () => {
    const counts = new Map<string, number>();
    for (const node of probe.nodes) {
      const lines = (await node.info('commandstats')).matchAll(/cmdstat_([^:]+):calls=(\d+)/g);
      for (const [, name = '', calls] of lines) {
        counts.set(name, (counts.get(name) ?? 0) + Number(calls));
      }
    }
    // What a Cluster and Sentinels say to each other, and what we ask with.
    for (const name of ['info', 'ping', 'publish', 'replconf', 'cluster|slots', 'time']) {
      counts.delete(name);
    }
    return counts;
  };

  it.each(IDS)('%s never reaches Redis, by whichever way it comes', async (_, token) => {
    const before = await counted();
    for (const [way, , client] of apps) {
      const headers = WAYS[way](token);
      expect((await client.get('/read', { headers })).json).toEqual({ isNew: true });
      expect((await client.get('/me', { headers })).status).toBe(401);
      expect((await client.post('/logout', { headers })).status).toBe(204);
      client.jar.clear();
    }
    expect(await counted()).toEqual(before);
  });

  itInRedis('is told from an id by this count: one that is unknown is asked for', async () => {
    const before = await counted();
    const [way, , client] = apps[0]!;
    await client.get('/read', { headers: WAYS[way](newSessionId()) });
    expect(await counted()).not.toEqual(before);
  });

  it.each([...IDS, ['an emoji as it is', '😀'], ['a NUL', '\0'], ['nothing', '']])(
    '%s is nobody where an application asks for it',
    async (_, text) => {
      const sessions = apps[0]![1].app.get(SessionService);
      const before = await counted();
      expect(await sessions.get(text)).toBeUndefined();
      if (!/^[0-9a-v][0-9a-f][\w-]{43}$/.test(text)) {
        expect(await sessions.revoke(text)).toBe(false);
        expect(await sessions.find(text)).toBeUndefined();
      }
      expect(await counted()).toEqual(before);
    },
  );
});
