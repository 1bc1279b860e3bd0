import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import {
  RequireRole,
  RequireSession,
  Session,
  SessionService,
  type SessionRejection,
} from 'nestjs-distributed-session';
import { ADAPTERS, SECRET, startApp, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { patient, startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { inRedis, itInRedis, itListed } from '../support/store-under-test.js';

const MIB = 1024 * 1024;
const LUA = `'; redis.call("FLUSHALL") --`;

@Controller()
class Keeper {
  constructor(private readonly sessions: SessionService) {}

  /** The value comes as text: parsers of bodies have their own ideas about some keys. */
  @Post('keep') @HttpCode(200) keep(
    @Session() session: Session,
    @Body() { key, text }: { key: string; text: string },
  ) {
    session.set(key, JSON.parse(text));
    return { polluted: ({} as { polluted?: unknown }).polluted ?? null };
  }

  @Get('kept') kept(@Session() session: Session) {
    return { text: JSON.stringify(session.data), principal: session.principal ?? null };
  }

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name, label }: { name: string; label?: string },
  ) {
    await session.authenticate(name, { label });
    session.set('note', 'mine');
  }

  @RequireSession() @Get('me') async me(@Session() { principal, label }: Session) {
    const sessions = this.sessions.forPrincipal(principal as string);
    return { principal, label: label ?? null, devices: (await sessions.list()).length };
  }

  @RequireRole('admin') @Get('admin') admin() {
    return {};
  }

  @Post('end/:name') @HttpCode(200) async end(@Param('name') name: string) {
    return { ended: await this.sessions.forPrincipal(decodeURIComponent(name)).revokeAll() };
  }
}

/** A record with other contents, whose length is told as it is. */
function recordWith(value: string, { data = '{"note":"mine"}', flash = '', header = {} }): string {
  const stored = JSON.parse(value.split('\n', 1)[0]!.slice(15)) as object;
  const head = JSON.stringify({ ...stored, ...header, n: data.length });
  return `${value.slice(0, 15)}${head}\n${flash}\n${data}`;
}

const many = `{${Array.from({ length: 2_500_000 }, (_, i) => `"key-${i}":[{}]`).join()}}`;

const DAMAGED: readonly [string, (value: string) => string][] = [
  ['cut in the head', (value) => value.slice(0, 20)],
  ['cut in the middle', (value) => value.slice(0, value.length / 2)],
  ['without its last byte', (value) => value.slice(0, -1)],
  ['empty', () => ''],
  ['something else', () => '{"cookie":{"path":"/"},"passport":{"user":1}}'],
  ['of a head that is no JSON', (value) => `${value.slice(0, 15)}{{{\n\n{}`],
  ['of a head 100,000 levels deep', (value) => `${value.slice(0, 15)}${'['.repeat(100_000)}\n\n{}`],
  ['without times', (value) => recordWith(value, { header: { c: 'now', e: null } })],
  ['of a principal that is none', (value) => recordWith(value, { header: { p: ['alice'] } })],
  ['50 MB of nothing', () => 'x'.repeat(50 * MIB)],
  ['one text of 50 MB', (value) => recordWith(value, { data: `{"a":"${'x'.repeat(50 * MIB)}"}` })],
  ['50 MB of attributes', (value) => recordWith(value, { data: many })],
];

const UNDECODABLE: readonly [string, { data?: string; flash?: string }][] = [
  ['a list', { data: '["note"]' }],
  ['null', { data: 'null' }],
  ['a text', { data: '"note"' }],
  ['no JSON', { data: '{"note":' }],
  ['JSON and more', { data: '{"note":1}{}' }],
  ['of flash messages that are no JSON', { flash: '{' }],
];

describe.each(ADAPTERS)('hostile values on %s', (adapter) => {
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  let running: TestApp;
  let client: HttpClient;
  let rejections: SessionRejection[] = [];

  beforeAll(async () => {
    redis = await startRedis();
    probe = await RedisProbe.start(redis);
    const onRejected = (rejection: SessionRejection) => void rejections.push(rejection);
    const session = { redis: patient(redis), secret: SECRET, onRejected };
    running = await startApp({ adapter, controllers: [Keeper], session });
  });

  afterAll(async () => {
    await running.close();
    await probe.stop();
    await redis.stop();
  });

  beforeEach(async () => {
    await probe.flush();
    rejections = [];
    client = new HttpClient(running.port);
  });

  afterEach(() => client.close());

  const keep = (key: string, value: unknown, as = client) =>
    as.post('/keep', { json: { key, text: JSON.stringify(value) } });
  const kept = async (as = client) => {
    const { json } = await as.get('/kept');
    return JSON.parse(json.text as string) as Record<string, unknown>;
  };
  /** A session that is there, its key and its value. */
  const stored = async () => {
    expect((await client.post('/login', { json: { name: 'alice' } })).status).toBe(200);
    const [[key, value]] = [...(await probe.liveRecords())] as [[string, string]];
    return { key, value };
  };
  /** Others are served, and whoever met the value begins anew. */
  const allIsWell = async () => {
    const other = client.another();
    expect((await keep('a', 1, other)).status).toBe(200);
    expect(await kept(other)).toEqual({ a: 1 });
    client.jar.clear();
    expect((await keep('b', 2)).status).toBe(200);
    expect(await kept()).toEqual({ b: 2 });
  };

  inRedis('in Redis', () => {
    it.each(DAMAGED)('a record that is %s counts as absent, and is reported', async (_, damage) => {
      const { key, value } = await stored();
      await probe.client.set(key, damage(value), 'PX', 60_000);
      const answer = await client.get('/kept');
      expect(answer.json).toEqual({ text: '{}', principal: null });
      expect(client.jar.size).toBe(0);
      expect(rejections.map(({ reason }) => reason)).toEqual(['damaged']);
      await allIsWell();
    });

    it.each(UNDECODABLE)('contents that are %s are a typed error, once', async (_, contents) => {
      const { key, value } = await stored();
      await probe.client.set(key, recordWith(value, contents), 'PX', 60_000);
      const answer = await client.get('/kept');
      expect([answer.status, answer.json.code]).toEqual([503, 'SESSION_DAMAGED']);
      expect(client.jar.size).toBe(0);
      await allIsWell();
    });

    it('contents 100,000 levels deep are a typed error wherever they are used', async () => {
      const { key, value } = await stored();
      const data = `{"deep":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
      await probe.client.set(key, recordWith(value, { data }), 'PX', 60_000);
      const answer = await client.get('/kept');
      expect([answer.status, answer.json.code]).toEqual([500, 'SESSION_NOT_SERIALIZABLE']);
      expect((await client.get('/me')).status).toBe(200);
      expect((await keep('deep', 0)).status).toBe(200);
      expect(await kept()).toEqual({ deep: 0 });
      await allIsWell();
    });

    it.each<[string, (key: string) => Promise<unknown>]>([
      ['list', (key) => probe.client.rpush(key, 'x')],
      ['hash', (key) => probe.client.hset(key, 'x', 'y')],
      ['set', (key) => probe.client.sadd(key, 'x')],
      ['sorted set', (key) => probe.client.zadd(key, 1, 'x')],
    ])('a %s in place of a record is a typed error, and nobody is logged out', async (_, put) => {
      const { key, value } = await stored();
      const jar = [...client.jar];
      await probe.client.del(key);
      await put(key);
      for (const send of [() => client.get('/kept'), () => keep('a', 1)]) {
        const answer = await send();
        expect([answer.status, answer.json.code]).toEqual([503, 'SESSION_STORE_UNAVAILABLE']);
        expect(answer.setCookie).toEqual([]);
      }
      await probe.client.set(key, value, 'PX', 60_000);
      expect([...client.jar]).toEqual(jar);
      expect(await kept()).toEqual({ note: 'mine' });
      await allIsWell();
    });

    it('a header of wrong types gives nothing, and breaks nothing', async () => {
      const { key, value } = await stored();
      const wrong = [7, 'admin', ['x', 7, null], { admin: { a: [] } }, null, true];
      for (const name of 'r m f q a l t d k o x w i u b'.split(' ')) {
        for (const one of wrong) {
          const header = { [name]: one };
          await probe.client.set(key, recordWith(value, { header }), 'PX', 60_000);
          const before = new Map(client.jar);
          const statuses = [(await client.get('/kept')).status, (await client.get('/me')).status];
          statuses.push((await keep('note', one)).status, (await client.get('/admin')).status);
          expect([header, statuses]).toEqual([header, [200, 200, 200, 403]]);
          client.jar.clear();
          for (const [cookie, token] of before) client.jar.set(cookie, token);
        }
      }
    });
  });

  describe('of an application', () => {
    itInRedis.each([
      '__proto__',
      'constructor',
      'prototype',
      'then',
      'toJSON',
      'toString',
      'valueOf',
      'hasOwnProperty',
      'length',
      LUA,
      '{x}',
      'a\0b\r\nc',
      '😀',
    ])('%j is a key and a text like any other', async (key) => {
      const nested = JSON.parse(`{${JSON.stringify(key)}:{"polluted":1}}`) as object;
      for (const value of [key, 1, { polluted: 1 }, nested, [nested], null]) {
        const answer = await keep(key, value);
        expect([answer.status, answer.json]).toEqual([200, { polluted: null }]);
        await keep('other', value);
        const found = await kept();
        expect(Object.keys(found).sort()).toEqual([key, 'other'].sort());
        const own = Object.getOwnPropertyDescriptor(found, key)?.value as unknown;
        expect(JSON.stringify(own)).toBe(JSON.stringify(value));
        expect(JSON.stringify(found.other)).toBe(JSON.stringify(value));
      }
      expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
      expect((await probe.liveRecords()).size).toBe(1);
    });

    itListed.each([LUA, '__proto__', '{x}', '*', 'a:b', '../../x', 'a\r\nDEL x', '😀'])(
      '%j is a principal and a label like any other',
      async (name) => {
        const bystander = client.another();
        await bystander.post('/login', { json: { name: 'bob' } });
        const label = name.slice(0, 30);
        expect((await client.post('/login', { json: { name, label } })).status).toBe(200);
        const { json } = await client.get('/me');
        expect(json).toMatchObject({ principal: name, devices: 1 });
        const ended = await bystander.post(`/end/${encodeURIComponent(encodeURIComponent(name))}`);
        expect(ended.json).toEqual({ ended: 1 });
        expect((await client.get('/me')).status).toBe(401);
        expect((await bystander.get('/me')).json).toMatchObject({ principal: 'bob' });
      },
    );

    itInRedis('that are too large are refused, and what was stored stays', async () => {
      await client.post('/login', { json: { name: 'alice' } });
      const jar = [...client.jar];
      const before = await probe.liveRecords();
      for (const text of ['x'.repeat(65_536), '😀'.repeat(16_384), 'x'.repeat(90_000)]) {
        const answer = await keep('large', text);
        expect([answer.status, answer.json.code]).toEqual([413, 'SESSION_TOO_LARGE']);
        expect(answer.setCookie).toEqual([]);
      }
      expect(await probe.liveRecords()).toEqual(before);
      expect([...client.jar]).toEqual(jar);
      expect((await client.get('/kept')).json).toEqual({
        text: '{"note":"mine"}',
        principal: 'alice',
      });
      // Where there was none, there is none.
      const stranger = client.another();
      expect((await keep('large', 'x'.repeat(65_536), stranger)).status).toBe(413);
      expect(stranger.jar.size).toBe(0);
      expect((await probe.liveRecords()).size).toBe(1);
    });
  });
});
