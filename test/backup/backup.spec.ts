import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { writeWhole } from '../../lib/backup/backup-file.js';
import { backupSessions } from '../../lib/backup/backup-sessions.js';
import { restoreSessions } from '../../lib/backup/restore-sessions.js';
import type { LiveSession } from '../../lib/core/live-session.js';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { principalPlace } from '../../lib/core/session-places.js';
import type { RedisClient } from '../../lib/stores/redis/redis-client.js';
import { inParallel } from '../support/app.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisServer } from '../support/redis-server.js';
import { SmallDisk } from '../support/small-disk.js';
import { inPieces, Sink } from './bytes.js';
import { contentsOf, SessionsWorld, type Encryption } from './sessions-world.js';

const SECRET = 'a key of a backup that has enough characters';

const canFill = SmallDisk.isPermitted();

const from = (client: unknown) => client as RedisClient;

/** Between a user's requests. */
const pause = () => new Promise((resolve) => setTimeout(resolve, 10));

async function backedUp(client: unknown, options = {}) {
  const sink = new Sink();
  const report = await backupSessions(from(client), sink, options);
  return { bytes: sink.bytes, report, source: () => inPieces(sink.bytes, 8_191) };
}

describe('backup and restore', () => {
  let source: RedisServer;
  let target: RedisServer;
  let old: Redis;
  let fresh: Redis;

  beforeAll(async () => {
    [source, target] = await Promise.all([RedisServer.start(), RedisServer.start()]);
  });

  beforeEach(async () => {
    [old, fresh] = [source.connect(), target.connect()];
    await Promise.all([old.flushall(), fresh.flushall()]);
  });

  afterEach(() => {
    old.disconnect();
    fresh.disconnect();
  });

  afterAll(async () => {
    await source?.stop();
    await target?.stop();
  });

  it.each<[Encryption, boolean]>([
    ['none', false],
    ['none', true],
    ['keys', true],
    ['store-blind', false],
    ['store-blind', true],
  ])(
    'all is as it was: sessions, pointers, indexes, what is awaited (encryption %s, events %s)',
    async (encryption, events) => {
      const world = new SessionsWorld(old, { encryption, events });
      const sessions = await inParallel(40, 8, (i) =>
        world.login(`user-${i % 10}`, { n: i, tenant: `t${i % 3}` }),
      );
      const anonymous = await inParallel(5, 5, (i) => world.begin({ n: i }));
      const [renewed, acting] = sessions as [(typeof sessions)[0], (typeof sessions)[0]];
      const before = renewed.id;
      await renewed.regenerate();
      await renewed.save();
      await acting.switchPrincipal('somebody-else');
      await acting.save();
      const contents = await contentsOf(old);

      const { source: bytes, report } = await backedUp(old, { secret: SECRET });
      expect(report).toMatchObject({ sessions: 45 });
      const restored = await restoreSessions(from(fresh), bytes, { secret: SECRET });
      expect(restored).toMatchObject({ sessions: 45, pointers: report.pointers, present: 0 });
      expect(await contentsOf(fresh)).toEqual(contents);

      const there = new SessionsWorld(fresh, { encryption, events });
      for (const [i, session] of [...sessions, ...anonymous].entries()) {
        const n = i < 40 ? i : i - 40;
        expect(await there.comesBack(session.id)).toMatchObject({ n });
      }
      // Whoever still has the id from before is led on.
      expect(await there.comesBack(before)).toMatchObject({ principal: 'user-0' });
      expect(await there.devicesOf('user-5')).toEqual(await world.devicesOf('user-5'));
      expect(await there.manager.forPrincipal('user-5', () => undefined).revokeAll()).toBe(4);
      expect(await there.comesBack(sessions[5]!.id)).toBeUndefined();
    },
  );

  it('ends come when they would have come, by the clock of Redis', async () => {
    const world = new SessionsWorld(old, { events: true });
    await inParallel(30, 8, (i) => world.login(`user-${i}`));
    const ends = async (client: Redis) => {
      const all = await contentsOf(client, { ends: true });
      return new Map([...all].map(([key, [, end]]) => [key, end]));
    };
    const before = await ends(old);
    const { source: bytes } = await backedUp(old);
    await restoreSessions(from(fresh), bytes);
    const after = await ends(fresh);
    for (const [key, end] of before) {
      // What waits beyond the end of sessions does so from now on.
      const slack = /:[xn]$/.test(key) ? 60_000 : 1_000;
      expect(Math.abs((after.get(key) ?? 0) - end)).toBeLessThan(slack);
    }
  });

  it.each([
    [1_000_000, 4],
    [4_000_000, 16],
    [20_000_000, 64],
    [90_000_000, 256],
  ])(
    'a part of the key space at a time comes to the same (of %i keys, in %i parts)',
    async (size, parts) => {
      const world = new SessionsWorld(old, { encryption: 'keys' });
      await inParallel(300, 32, (i) => world.login(`user-${i % 100}`, { n: i }));
      const contents = await contentsOf(old);
      const asked = new Set<string>();
      const large = Object.assign(Object.create(old) as Redis, { call: async () => size });
      large.scan = (async (...args: [string, 'MATCH', string]) => {
        // Counted, and never looked at.
        if (args[2] === '{sess:??}:*')
          return ['0', { length: size, map: () => ({ length: size }) }];
        if (args[2].endsWith(':s:*')) asked.add(args[2]);
        return old.scan(...args);
      }) as unknown as Redis['scan'];
      const { source: bytes } = await backedUp(large);
      expect(asked.size).toBe(parts);
      await restoreSessions(from(fresh), bytes);
      expect(await contentsOf(fresh)).toEqual(contents);
    },
  );

  it('keys of others cost no further walk, however many they are', async () => {
    await new SessionsWorld(old).login('alice');
    const asked: string[] = [];
    const crowded = Object.assign(Object.create(old) as Redis, { call: async () => 20_000_000 });
    crowded.scan = ((...args: [string, 'MATCH', string]) => {
      asked.push(args[2]);
      return old.scan(...args);
    }) as Redis['scan'];
    expect((await backedUp(crowded)).report.sessions).toBe(1);
    expect(asked).toHaveLength(3);
  });

  it.each<Encryption>(['none', 'keys'])(
    'what nobody can read is left out and counted, and all else is restored (encryption %s)',
    async (encryption) => {
      const world = new SessionsWorld(old, { encryption, events: true });
      const sessions = await inParallel(20, 8, (i) => world.login(`user-${i}`, { n: i }));
      const keyOf = (handle: string) => `{sess:${handle.slice(0, 2)}}:s:${handle}`;
      const [first, second, endless] = sessions as [LiveSession, LiveSession, LiveSession];
      const value = (await old.get(keyOf(first.handle)))!;
      const now = Date.now();
      const head = `"n":2,"c":${now},"e":${now + 9e7},"s":${now}`;
      const hostile = [
        'garbage',
        '',
        `00000001abcdef`,
        `00000001abcdef1`,
        `00000001abcdef1{"n":2}\n\n{}`,
        `00000001abcdef1{${head.replace('2', '3')}}\n\n{}`,
        `00000001abcdef1{${head},"x":["no place"]}\n\n{}`,
        `00000001abcdef1{${head},"x":[7]}\n\n{}`,
        `00000001abcdef1*sealed, and cut off`,
        `00000001abcdef>${now}.nobody.sealed`,
        // Of a newer version.
        `00000001abcdef2{${head}}\n\n{}`,
        value.slice(0, 40),
      ];
      await Promise.all(
        hostile.map((text) => old.set(keyOf(handleOf(newSessionId())), text, 'PX', 3_600_000)),
      );
      const hash = keyOf(handleOf(newSessionId()));
      await old.hset(hash, 'a', '1');
      await old.persist(keyOf(endless.handle));
      await old.set(`{sess:${second.handle.slice(0, 2)}}:p:not-a-sorted-set`, 'x');

      const { source: bytes, report } = await backedUp(old);
      expect(report).toMatchObject({ sessions: 19, leftOut: hostile.length + 2 });
      // Something else is where a session was.
      await fresh.hset(keyOf(second.handle), 'a', '1');
      const restored = await restoreSessions(from(fresh), bytes, { merge: true });
      expect(restored).toMatchObject({ sessions: 18, present: 1 });
      const there = new SessionsWorld(fresh, { encryption, events: true });
      expect(await there.comesBack(first.id)).toMatchObject({ n: 0 });
      expect(await there.devicesOf('user-7')).toEqual([sessions[7]!.handle]);
    },
  );

  it('other keys are left alone, a prefix is taken by the letter, and another one may be given', async () => {
    for (const keyPrefix of ['sess', 's?ss', 'sess.admin']) {
      await new SessionsWorld(old, { keyPrefix }).login('alice', { n: keyPrefix });
    }
    await old.set('{sess:00}:s:not-a-handle', 'x');
    await old.set('sess:other', 'x');
    const { source: bytes, report } = await backedUp(old, { keyPrefix: 's?ss' });
    expect(report.sessions).toBe(1);
    await restoreSessions(from(fresh), bytes, { keyPrefix: 'moved' });
    const keys = await fresh.keys('*');
    expect(keys.filter((key) => !key.startsWith('{moved:'))).toEqual([]);
    const there = new SessionsWorld(fresh, { keyPrefix: 'moved' });
    expect(await there.devicesOf('alice')).toHaveLength(1);
  });

  it('a client that puts something in front of every key is understood', async () => {
    const [one, other] = [source.connect({ keyPrefix: 'a:' }), target.connect({ keyPrefix: 'b:' })];
    const session = await new SessionsWorld(one).login('alice', { n: 1 });
    const { source: bytes } = await backedUp(one);
    await restoreSessions(from(other), bytes);
    expect(await new SessionsWorld(other).comesBack(session.id)).toMatchObject({ n: 1 });
    expect(await new SessionsWorld(other).devicesOf('alice')).toEqual([session.handle]);
    one.disconnect();
    other.disconnect();
  });

  it.each<Encryption>(['none', 'store-blind'])(
    'under traffic each session is there once, whole, and stands where it belongs (encryption %s)',
    async (encryption) => {
      const world = new SessionsWorld(old, { encryption });
      const users = await inParallel(40, 16, (i) => world.login(`user-${i}`, { n: 0 }));
      await inParallel(1_200, 32, (i) => world.login(`still-${i}`, { n: i }));
      const traffic = { isOver: false };
      const busy = Promise.all(
        users.map(async (first, i) => {
          let session = first;
          for (let n = 1; !traffic.isOver; n++) {
            await pause();
            session = world.manager.open([world.manager.tokenOf(session.id)]) as typeof first;
            await session.load();
            session.set('n', n);
            if (i % 4 === 1) await session.regenerate();
            if (i % 4 === 2 && n % 5 === 0) await session.destroy();
            else await session.save();
            if (i % 4 === 2 && n % 5 === 0) session = await world.login(`user-${i}`, { n });
            if (i % 4 === 3 && n % 3 === 0) {
              await session.authenticate(`user-${i}`);
              await session.save();
            }
          }
        }),
      );
      const { source: bytes } = await backedUp(old);
      traffic.isOver = true;
      await busy;

      const there = new SessionsWorld(fresh, { encryption });
      await restoreSessions(from(fresh), bytes);
      const sizes = new Map<string, number>();
      for (let i = 0; i < 40; i++) {
        sizes.set(`user-${i}`, (await there.devicesOf(`user-${i}`)).length);
      }
      for (let i = 0; i < 40; i++) {
        const size = sizes.get(`user-${i}`)!;
        // Who logs out and in may have been met in between, or in both of two sessions.
        const right = i % 4 === 2 ? [0, 1, 2] : i % 4 === 3 ? [1, 2] : [1];
        expect(`${i}: ${size}${right.includes(size) ? '' : ' !'}`).not.toContain('!');
      }
      // None that lives stands nowhere: ending all of everybody leaves no session.
      for (let i = 0; i < 40; i++) {
        await there.manager.forPrincipal(`user-${i}`, () => undefined).revokeAll();
      }
      const ended = await inParallel(1_200, 32, (i) =>
        there.manager.forPrincipal(`still-${i}`, () => undefined).revokeAll(),
      );
      expect(ended.every((count) => count === 1)).toBe(true);
      expect(await there.store.count()).toBe(0);
    },
  );

  it('a session that is just being ended with all others of its principal is not taken', async () => {
    const world = new SessionsWorld(old);
    const sessions = await inParallel(3, 1, () => world.login('alice'));
    const bucket = sessions[0]!.handle.slice(0, 2);
    const place = `{sess:${bucket}}:${principalPlace('alice')}`;
    await old.rename(place, `${place}:ending`);
    const { report } = await backedUp(old);
    expect(report.sessions).toBe(0);
  });

  it('no id that could be used is in it, whatever it is made of', async () => {
    const world = new SessionsWorld(old);
    const ids: string[] = [];
    await inParallel(20, 4, async (i) => {
      const session = await world.login(`user-${i}`);
      ids.push(session.id);
      await session.regenerate();
      await session.save();
      ids.push(session.id);
    });
    const { bytes } = await backedUp(old, { compress: false });
    expect(ids).toHaveLength(40);
    for (const id of ids) expect(bytes.includes(id)).toBe(false);
  });

  it('in a Cluster every master is asked, and each session comes to its own', async () => {
    const [from3, to3] = await Promise.all([RedisCluster.start(3), RedisCluster.start(3)]);
    try {
      const [one, other] = [from3.connect(), to3.connect()] as unknown as [Redis, Redis];
      const world = new SessionsWorld(one, { encryption: 'keys', events: true });
      const sessions = await inParallel(120, 16, (i) => world.login(`user-${i % 60}`, { n: i }));
      const { source: bytes, report } = await backedUp(one);
      expect(report.sessions).toBe(120);
      expect(await restoreSessions(from(other), bytes)).toMatchObject({ sessions: 120 });
      const there = new SessionsWorld(other, { encryption: 'keys', events: true });
      for (const [i, { id }] of sessions.entries()) {
        expect(await there.comesBack(id)).toMatchObject({ n: i });
      }
      for (let i = 0; i < 60; i++) expect(await there.devicesOf(`user-${i}`)).toHaveLength(2);
    } finally {
      await from3.stop();
      await to3.stop();
    }
  }, 120_000);

  it('what the server refuses is told without what was asked', async () => {
    const world = new SessionsWorld(old);
    await world.login('alice');
    await old.call('ACL', 'SETUSER', 'blind', 'on', 'nopass', '~*', '+@all', '-evalsha', '-eval');
    const blind = source.connect({ username: 'blind', password: 'x' });
    const failure = await backedUp(blind).catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE', reason: 'NOPERM' });
    blind.disconnect();
  });
});

describe('the file of a backup', () => {
  const folder = mkdtempSync(join(tmpdir(), 'session-backup-'));
  const path = join(folder, 'sessions.backup');
  let server: RedisServer;
  let client: Redis;

  beforeAll(async () => {
    server = await RedisServer.start();
    client = server.connect();
    const world = new SessionsWorld(client);
    await inParallel(200, 32, (i) => world.login(`user-${i}`, { filler: 'x'.repeat(2_000), i }));
  });

  afterAll(async () => {
    client?.disconnect();
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const write = (options = {}, to = path) =>
    writeWhole(to, (stream) => backupSessions(from(client), stream, options));

  it('is readable to its owner only, and replaces the one before when it is whole', async () => {
    writeFileSync(path, 'the one before');
    await write();
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path).includes('the one before')).toBe(false);
    expect(readdirSync(folder)).toEqual(['sessions.backup']);
  });

  it('is not there if it was given up, and the one before is', async () => {
    const before = readFileSync(path);
    const abort = new AbortController();
    const onProgress = ({ done }: { done: number }) => done >= 100 && abort.abort();
    await expect(write({ onProgress, signal: abort.signal })).rejects.toThrow(/abort/i);
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(readdirSync(folder)).toEqual(['sessions.backup']);
  });

  it('says so if nobody may write there', async () => {
    for (const wrong of [join(folder, 'missing/sessions.backup'), folder]) {
      await expect(write({}, wrong)).rejects.toMatchObject({ code: 'SESSION_BACKUP_UNWRITABLE' });
    }
    expect(readdirSync(folder)).toEqual(['sessions.backup']);
  });

  // It takes root, and some containers forbid it.
  (canFill ? describe : describe.skip)('on a disk that is full', () => {
    it('leaves nothing, and the one before as it was', async () => {
      const disk = SmallDisk.mount('300k');
      try {
        const there = join(disk.path, 'sessions.backup');
        writeFileSync(there, 'the one before');
        await expect(write({ compress: false }, there)).rejects.toMatchObject({
          code: 'SESSION_BACKUP_UNWRITABLE',
          message: expect.stringContaining('ENOSPC') as unknown,
        });
        expect(readdirSync(disk.path)).toEqual(['sessions.backup']);
        expect(readFileSync(there, 'utf8')).toBe('the one before');
      } finally {
        disk.remove();
      }
    });
  });

  it('waits for a stream that takes its time, and fails with one that fails', async () => {
    let waiting = 0;
    const slow = new Writable({
      highWaterMark: 1,
      write(_, __, done) {
        waiting = Math.max(waiting, slow.writableLength);
        setImmediate(done);
      },
    });
    await backupSessions(from(client), slow, { compress: false });
    // One frame at a time, never all of it.
    expect(waiting).toBeLessThan(400_000);
    const failing = new Writable({
      highWaterMark: 1,
      write: (_, __, done) => done(new Error('gone')),
    });
    await expect(backupSessions(from(client), failing, {})).rejects.toThrow('gone');
  });

  it('fails if what takes it is closed, and waits no longer for it than the caller does', async () => {
    const stalled = () => new Writable({ highWaterMark: 1, write: () => undefined });
    const [taken, closed] = [stalled(), stalled()];
    setTimeout(() => taken.destroy(), 200);
    closed.destroy();
    for (const one of [taken, closed]) {
      await expect(backupSessions(from(client), one)).rejects.toMatchObject({
        code: 'SESSION_BACKUP_UNWRITABLE',
      });
    }
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 200);
    const { signal } = abort;
    await expect(backupSessions(from(client), stalled(), { signal })).rejects.toThrow(/abort/i);
  });
});
