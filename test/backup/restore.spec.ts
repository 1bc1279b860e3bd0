import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
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
