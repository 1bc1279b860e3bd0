import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { BackupReader } from '../../lib/backup/backup-reader.js';
import { backupSessions } from '../../lib/backup/backup-sessions.js';
import { restoreSessions, type RestoreOptions } from '../../lib/backup/restore-sessions.js';
import type { LiveSession } from '../../lib/core/live-session.js';
import type { RedisClient } from '../../lib/stores/redis/redis-client.js';
import { inParallel } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { inPieces, Sink, written } from './bytes.js';
import { contentsOf, SessionsWorld } from './sessions-world.js';

const from = (client: unknown) => client as RedisClient;

describe('what a restore does not bring back', () => {
  let source: RedisServer;
  let target: RedisServer;
  let old: Redis;
  let fresh: Redis;
  let world: SessionsWorld;
  let sessions: LiveSession[];
  let bytes: Buffer;

  beforeAll(async () => {
    [source, target] = await Promise.all([RedisServer.start(), RedisServer.start()]);
  });

  beforeEach(async () => {
    [old, fresh] = [source.connect(), target.connect()];
    await Promise.all([old.flushall(), fresh.flushall()]);
    world = new SessionsWorld(old, { encryption: 'keys', events: true });
    sessions = await inParallel(600, 32, (i) => world.login(`user-${i % 300}`, { n: i }));
    const sink = new Sink();
    await backupSessions(from(old), sink);
    bytes = sink.bytes;
  });

  afterEach(() => {
    old.disconnect();
    fresh.disconnect();
  });

  afterAll(async () => {
    await source?.stop();
    await target?.stop();
  });

  const restore = (options: RestoreOptions = {}, client = fresh) =>
    restoreSessions(from(client), () => inPieces(bytes, 4_093), options);
  const keyOf = (handle: string) => `{sess:${handle.slice(0, 2)}}:s:${handle}`;
  /** Whose clients go on. */
  const livingOf = async (some: readonly LiveSession[]) => {
    const found = await Promise.all(some.map(({ id }) => world.comesBack(id)));
    return some.filter((_, i) => found[i] !== undefined);
  };
  const idOf = async (file: Buffer) => (await BackupReader.open(inPieces(file))).header.id;
  const there = () => new SessionsWorld(fresh, { encryption: 'keys', events: true });

  it('sessions that ended by time meanwhile; idle windows are longer only if that is said', async () => {
    const now = Math.floor(Number((await fresh.time())[0]) * 1_000);
    const [ended, alive, pointer] = sessions.map(({ handle }) => handle) as [
      string,
      string,
      string,
    ];
    const live = `00000001abcdef1{"n":2,"c":${now},"e":${now + 9e7},"s":${now}}\n\n{}`;
    const leads = `00000002abcdef>${now}.${alive}.sealed`;
    const rest = { places: [], since: 0, placesEnd: now };
    const made = await written(
      [
        { handle: ended, value: live, end: now - 60_000, ...rest },
        { handle: alive, value: live, end: now + 60_000, ...rest },
        { handle: pointer, value: leads, end: now - 60_000, ...rest },
      ],
      { takenAt: now - 600_000 },
    );
    const restoring = (options: RestoreOptions) =>
      restoreSessions(from(fresh), () => inPieces(made), options);
    const ttlOf = (handle: string) => fresh.pttl(`{sess:${handle.slice(0, 2)}}:s:${handle}`);

    expect(await restoring({})).toMatchObject({ sessions: 1, pointers: 0, expired: 2 });
    expect(Math.abs((await ttlOf(alive)) - 60_000)).toBeLessThan(10_000);
    await fresh.flushall();
    expect(await restoring({ extendIdle: 300_000 })).toMatchObject({ sessions: 2, expired: 1 });
    expect(Math.abs((await ttlOf(ended)) - 240_000)).toBeLessThan(10_000);
    await fresh.flushall();
    // Never by more than the backup is old.
    await restoring({ extendIdle: 86_400_000 });
    expect(Math.abs((await ttlOf(alive)) - 660_000)).toBeLessThan(10_000);
  });

  it('what the store tells to have ended: logouts, revocations, ids that were renewed', async () => {
    const [out, revoked, renewed, mate] = [0, 1, 2, 3].map((i) => sessions[i]!);
    await out!.destroy();
    await out!.save();
    await world.manager.revoke(revoked!.handle);
    const before = renewed!.handle;
    await renewed!.regenerate();
    await renewed!.save();
    await world.manager.forPrincipal(mate!.principal!, () => undefined).revokeAll();
    // All sessions are deleted, and what was told of them is not.
    for (const key of await old.keys('*')) if (!key.endsWith(':e')) await old.del(key);
    expect(await restore({}, old)).toMatchObject({ sessions: 595, revoked: 5 });
    for (const { id } of [out!, revoked!, mate!, sessions[303]!]) {
      expect(await world.comesBack(id)).toBeUndefined();
    }
    expect(await world.store.load(before)).toBeUndefined();
    expect(await world.comesBack(sessions[4]!.id)).toMatchObject({ n: 4 });
  });

  describe('sessions that are ended while it runs, of an application that goes on', () => {
    /** Half of the records is lost; the others live. */
    const loseHalf = async () => {
      await Promise.all(sessions.slice(300).map(({ handle }) => old.del(keyOf(handle))));
      return sessions.slice(0, 300);
    };

    it('between two pages', async () => {
      const alive = await loseHalf();
      let revoking: Promise<boolean[]> | undefined;
      const onProgress = ({ phase, done }: { phase: string; done: number }) => {
        if (phase !== 'restore' || done !== 200) return;
        revoking = inParallel(300, 64, (i) => world.manager.revoke(alive[i]!.handle));
      };
      const bytesThatWait = async function* () {
        for await (const chunk of inPieces(bytes, 997)) {
          yield chunk;
          await revoking;
        }
      };
      const report = await restoreSessions(from(old), bytesThatWait, { merge: true, onProgress });
      expect(await revoking).toEqual(alive.map(() => true));
      expect(report).toMatchObject({ sessions: 300 });
      expect(report.revoked).toBeGreaterThan(150);
      expect(await livingOf(alive)).toEqual([]);
      expect(await livingOf(sessions.slice(300))).toHaveLength(300);
    });

    it('in the moment in which it looks whether they are there', async () => {
      const alive = await loseHalf();
      const [out, renewed] = alive as [LiveSession, LiveSession];
      const before = renewed.handle;
      const ends = new Map<string, () => Promise<unknown>>([
        [keyOf(out.handle), () => world.manager.revoke(out.handle)],
        [
          keyOf(before),
          async () => {
            await renewed.regenerate();
            await renewed.save();
            // Its pointer has ended by time, or was lost.
            await old.del(keyOf(before));
          },
        ],
      ]);
      const late = Object.assign(Object.create(old) as Redis, {
        getrange: async (key: string, start: number, end: number) => {
          const ending = ends.get(key);
          ends.delete(key);
          await ending?.();
          return old.getrange(key, start, end);
        },
      });
      const report = await restore({ merge: true }, late);
      expect(ends.size).toBe(0);
      expect(report).toMatchObject({ sessions: 300, revoked: 2 });
      expect(await livingOf([out])).toEqual([]);
      expect(await world.store.load(before)).toBeUndefined();
      expect(await world.comesBack(renewed.id)).toMatchObject({ n: 1 });
      // They stand nowhere and nobody waits for their end: it is told once.
      expect(await old.zscore(`{sess:${out.handle.slice(0, 2)}}:x`, out.handle)).toBeNull();
      expect(await world.devicesOf('user-0')).toEqual([sessions[300]!.handle]);
    });

    it('and then is cut off: the next run ends what this one has brought back', async () => {
      await loseHalf();
      const back = sessions[300]!;
      await restore({ merge: true }, old);
      const value = (await old.get(keyOf(back.handle)))!;
      await world.manager.revoke(back.handle);
      await old.set(keyOf(back.handle), value, 'PX', 60_000);
      // As it was when the last but one page was dealt with.
      await old.set(`{sess:lease}:restore:${await idOf(bytes)}`, '500', 'PX', 60_000);
      await restore({ merge: true }, old);
      expect(await livingOf([back])).toEqual([]);
    });
  });

  it('sessions and principals that are named, also where they act as others', async () => {
    const acting = await world.login('admin');
    await acting.switchPrincipal('customer');
    await acting.save();
    const sink = new Sink();
    await backupSessions(from(old), sink);
    bytes = sink.bytes;
    const report = await restore({
      exceptPrincipals: ['user-7', 'admin'],
      exceptHandles: [sessions[0]!.handle],
    });
    expect(report.sessions).toBe(600 - 3);
    expect(report.excepted).toBeGreaterThanOrEqual(4);
    expect(await there().devicesOf('user-7')).toEqual([]);
    expect(await there().devicesOf('customer')).toEqual([]);
    expect(await there().devicesOf('user-0')).toEqual([sessions[300]!.handle]);
  });

  it('a backup that is too old, unless its age is allowed', async () => {
    const first = await restore({ maxAge: 0 }).catch((error: unknown) => error);
    expect(first).toMatchObject({ code: 'SESSION_BACKUP_REFUSED' });
    expect(await fresh.dbsize()).toBe(0);
    expect(await restore({ maxAge: 3_600_000 })).toMatchObject({ sessions: 600 });
  });

  it('anything, where there are other sessions; with `merge` what is absent, and nothing is overwritten', async () => {
    const world2 = there();
    const other = await world2.login('bob', { n: 'bob' });
    await expect(restore()).rejects.toMatchObject({ code: 'SESSION_BACKUP_REFUSED' });
    expect(await world2.store.count()).toBe(1);
    expect(await restore({ merge: true })).toMatchObject({ sessions: 600, present: 0 });
    expect(await world2.comesBack(other.id)).toMatchObject({ n: 'bob' });

    // Newer than the backup.
    const changed = await world2.manager.openById(sessions[5]!.id);
    changed!.set('n', 'newer');
    await changed!.save();
    expect(await restore({ again: true })).toMatchObject({ sessions: 0, present: 600 });
    expect(await world2.comesBack(sessions[5]!.id)).toMatchObject({ n: 'newer' });
  });

  it('what ended after it was restored, if it is run again, even if it was interrupted', async () => {
    const abort = new AbortController();
    const onProgress = ({ phase, done }: { phase: string; done: number }) =>
      phase === 'restore' && done >= 200 && abort.abort();
    await expect(restore({ onProgress, signal: abort.signal })).rejects.toThrow(/abort/i);
    const count = await there().store.count();
    expect(count).toBeGreaterThanOrEqual(200);
    expect(count).toBeLessThan(600);
    const quiet = new SessionsWorld(fresh, { encryption: 'keys' });
    const alive = await Promise.all(
      sessions.map(async (one) => ((await quiet.comesBack(one.id)) ? one : undefined)),
    );
    // By an application that tells no events.
    const gone = alive.find((one) => one !== undefined)!;
    expect(await quiet.manager.revoke(gone.handle)).toBe(true);
    const rest = await restore();
    expect(rest).toMatchObject({ before: count, sessions: 600 - count });
    expect(await quiet.comesBack(gone.id)).toBeUndefined();
    expect(await quiet.store.count()).toBe(599);

    expect(await restore()).toMatchObject({ sessions: 0, before: 600 });
    expect(await quiet.store.count()).toBe(599);
  });

  it('anything of a file that is damaged at its very end', async () => {
    bytes = bytes.subarray(0, -1);
    await expect(restore()).rejects.toMatchObject({ code: 'SESSION_BACKUP_DAMAGED' });
    expect(await fresh.dbsize()).toBe(0);
  });

  it('anything in a dry run, which tells what it would do', async () => {
    const commands = async () =>
      /cmdstat_set:calls=(\d+)/.exec(await fresh.info('commandstats'))?.[1];
    const before = await commands();
    expect(await restore({ dryRun: true })).toMatchObject({ sessions: 600, present: 0 });
    expect(await fresh.dbsize()).toBe(0);
    expect(await commands()).toBe(before);
    expect(await restore()).toMatchObject({ sessions: 600 });
    const contents = await contentsOf(fresh);
    expect(await restore({ again: true, dryRun: true })).toMatchObject({ present: 600 });
    expect(await contentsOf(fresh)).toEqual(contents);
  });

  it('the second half of a file that is exchanged between looking and restoring', async () => {
    const sink = new Sink();
    await backupSessions(from(old), sink);
    let opened = 0;
    const both = () => inPieces(opened++ === 0 ? bytes : sink.bytes);
    await expect(restoreSessions(from(fresh), both)).rejects.toMatchObject({
      code: 'SESSION_BACKUP_DAMAGED',
    });
  });
});
