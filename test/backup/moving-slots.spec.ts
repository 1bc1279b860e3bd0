import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Cluster, Redis } from 'ioredis';
import { setTimeout as delay } from 'node:timers/promises';
import { backupSessions } from '../../lib/backup/backup-sessions.js';
import { restoreSessions } from '../../lib/backup/restore-sessions.js';
import { slotOf } from '../../lib/backup/slot-map.js';
import type { LiveSession } from '../../lib/core/live-session.js';
import type { RedisClient } from '../../lib/stores/redis/redis-client.js';
import { inParallel, until } from '../support/app.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { SlotMove } from '../support/slot-move.js';
import { inPieces, Sink } from './bytes.js';
import { SessionsWorld } from './sessions-world.js';

const SESSIONS = 120;
const from = (client: unknown) => client as RedisClient;

/** What is to happen when a master was asked for a page of its keys. */
type AfterScan = (node: Redis, pattern: string) => Promise<unknown>;

/** The same client, under whose walks something happens. */
function watched(client: Cluster, after: AfterScan): Cluster {
  const nodes = (role?: 'master') =>
    client.nodes(role).map((node) =>
      Object.assign(Object.create(node) as Redis, {
        scan: async (...args: [string, 'MATCH', string, 'COUNT', number]) => {
          const page = await node.scan(...args);
          await after(node, args[2]);
          return page;
        },
      }),
    );
  return Object.assign(Object.create(client) as Cluster, { nodes });
}

async function backedUp(client: Cluster, options = {}) {
  const sink = new Sink();
  const report = await backupSessions(from(client), sink, options);
  return { bytes: sink.bytes, report };
}

describe('slots of a Cluster that move', () => {
  let cluster: RedisCluster;
  let target: RedisCluster;
  let old: Cluster;
  let fresh: Cluster;
  let sessions: LiveSession[];
  /** Begun, and how they end. */
  const moves = new Map<SlotMove, Promise<void> | undefined>();

  beforeAll(async () => {
    [cluster, target] = await Promise.all([RedisCluster.start(3), RedisCluster.start(3)]);
  }, 60_000);

  beforeEach(async () => {
    [old, fresh] = [cluster.connect(), target.connect()];
    await Promise.all([old, fresh].map(async (one) => one.ping()));
    for (const one of [old, fresh]) {
      await Promise.all(one.nodes('master').map((node) => node.flushall()));
    }
    // Encrypted: where a session stands is known by its places only.
    const world = new SessionsWorld(old as unknown as Redis, { encryption: 'keys', events: true });
    sessions = await inParallel(SESSIONS, 16, (i) => world.login(`user-${i % 60}`, { n: i }));
  }, 30_000);

  afterEach(async () => {
    for (const move of moves.keys()) await arrive(move);
    moves.clear();
    await Promise.all([cluster, target].map(agreed));
    old.disconnect();
    fresh.disconnect();
  });

  afterAll(async () => {
    await cluster?.stop();
    await target?.stop();
  });

  const begin = async (where: RedisCluster, place: string | number) => {
    const move = await SlotMove.begin(where, place);
    moves.set(move, undefined);
    return move;
  };
  const arrive = async (move: SlotMove) => {
    const arriving = moves.get(move) ?? move.keys().then(() => move.end());
    moves.set(move, arriving);
    return arriving;
  };

  const bucketsInUse = () => [...new Set(sessions.map(({ handle }) => handle.slice(0, 2)))];

  /** Buckets in use of the master from which slots move to the one at a port. */
  const bucketsOnTheWayTo = async (port: number, where = cluster) => {
    const at = where.masters.findIndex((master) => master.port === port);
    const holder = where.masters.at(at - 1)!;
    const admin = holder.connect();
    const own = String(await admin.cluster('NODES')).split('\n');
    admin.disconnect();
    const ranges = own
      .find((line) => line.includes('myself'))!
      .split(' ')
      .slice(8)
      .map((range) => range.split('-').map(Number) as [number, number?]);
    return bucketsInUse().filter((bucket) => {
      const slot = slotOf(`{sess:${bucket}}`);
      return ranges.some(([first, last = first]) => first <= slot && slot <= last);
    });
  };

  /**
   * All masters have heard of all moves. Who takes a slot gives itself the highest epoch that it knows of: two
   * that do so at once could take slots away from each other, and lose them.
   */
  const agreed = async (where: RedisCluster) => {
    const admins = where.masters.map((master) => master.connect());
    const viewOf = async (admin: Redis) =>
      String(await admin.cluster('NODES'))
        .trim()
        .split('\n')
        .map((line) => line.split(' '))
        .map((words) => [words[0], words[6], ...words.slice(8)].join(' '))
        .sort()
        .join('\n');
    try {
      await until(
        'all masters agree',
        async () => {
          const views = await Promise.all(admins.map(viewOf));
          return new Set(views).size === 1;
        },
        { within: 20_000 },
      );
    } finally {
      for (const admin of admins) admin.disconnect();
    }
  };

  /** All of them are restored, with their devices. */
  const expectAll = async (bytes: Buffer) => {
    await restoreSessions(from(fresh), () => inPieces(bytes, 8_191));
    const options = { encryption: 'keys', events: true } as const;
    const there = new SessionsWorld(fresh as unknown as Redis, options);
    for (const [i, { id }] of sessions.entries()) {
      expect(await there.comesBack(id)).toMatchObject({ n: i });
    }
    for (let i = 0; i < 60; i++) expect(await there.devicesOf(`user-${i}`)).toHaveLength(2);
  };

  it('are computed as servers do', async () => {
    for (const key of [
      '{sess:00}:x',
      '{sess.admin:ff}:s:a',
      'plain',
      'a{b}c',
      '{}x',
      '{a',
      'ü{ö}',
    ]) {
      expect(slotOf(key)).toBe(Number(await old.cluster('KEYSLOT', key)));
    }
  });

  it.each([
    ['handles', ':s:*'],
    ['places', ':[pkdaoi][.:]*'],
  ])(
    'to a master that was walked already lose nothing: while %s are looked for',
    async (_, pattern) => {
      let isFirst = true;
      let moved = 0;
      const client = watched(old, async (node, asked) => {
        if (!isFirst || !asked.endsWith(pattern)) return;
        isFirst = false;
        const buckets = await bucketsOnTheWayTo(Number(node.options.port));
        for (const bucket of buckets.slice(0, 5)) {
          await arrive(await begin(cluster, `{sess:${bucket}}`));
          moved++;
        }
      });
      const { bytes, report } = await backedUp(client);
      expect(moved).toBeGreaterThan(2);
      expect(report.sessions).toBe(SESSIONS);
      await expectAll(bytes);
    },
    60_000,
  );

  it('from before a walk until after it lose nothing, although each is where it was', async () => {
    const masters = old.nodes('master');
    const buckets = await bucketsOnTheWayTo(Number(masters[0]!.options.port));
    const some = await Promise.all(
      buckets.slice(0, 3).map((bucket) => begin(cluster, `{sess:${bucket}}`)),
    );
    expect(some.length).toBeGreaterThan(0);
    let hasBegun = false;
    const client = watched(old, async () => {
      if (hasBegun) return;
      hasBegun = true;
      for (const move of some) await move.keys();
      setTimeout(() => some.forEach((move) => void arrive(move)), 700);
    });
    const { bytes, report } = await backedUp(client);
    expect(report.sessions).toBe(SESSIONS);
    await expectAll(bytes);
  }, 60_000);

  it('all of them, one after the other, lose nothing', async () => {
    let isOver = false;
    const moving = (async () => {
      for (const { port } of cluster.masters) {
        for (const bucket of await bucketsOnTheWayTo(port)) {
          await arrive(await begin(cluster, `{sess:${bucket}}`));
        }
        await agreed(cluster);
      }
    })().finally(() => (isOver = true));
    let backups = 0;
    while (!isOver) {
      expect((await backedUp(old)).report.sessions).toBe(SESSIONS);
      backups++;
    }
    await moving;
    expect(backups).toBeGreaterThan(0);
  }, 120_000);

  it('and were left halfway fail the backup, and say what to do', async () => {
    const [bucket] = bucketsInUse();
    const move = await begin(cluster, `{sess:${bucket}}`);
    const isOurs = (key: string) => key.includes(sessions[0]!.handle);
    await move.keys(isOurs);
    const sink = new Sink();
    const failure = backupSessions(from(old), sink, { moveTimeout: 300 });
    await expect(failure).rejects.toMatchObject({
      code: 'SESSION_BACKUP_MOVING',
      message: expect.stringContaining('redis-cli --cluster fix') as unknown,
    });
    // Who has lost patience before does not have to wait.
    const abort = new AbortController();
    setTimeout(() => abort.abort(), 300);
    await expect(backedUp(old, { signal: abort.signal })).rejects.toThrow(/abort/i);
    await arrive(move);
    expect((await backedUp(old)).report.sessions).toBe(SESSIONS);
  }, 30_000);

  it('at a master that the client does not know fail the backup: it would not be walked', async () => {
    const nodes = (role: 'master') => old.nodes(role).slice(1);
    const client = Object.assign(Object.create(old) as Cluster, { nodes });
    await expect(backedUp(client, { moveTimeout: 300 })).rejects.toMatchObject({
      code: 'SESSION_BACKUP_MOVING',
    });
  });

  it('are looked at, or the backup fails: not every user may', async () => {
    for (const master of cluster.masters) {
      const admin = master.connect();
      const rules = ['~*', '&*', '+@all', '-cluster', '+cluster|slots', '+cluster|info'];
      await admin.call('ACL', 'SETUSER', 'blind', 'on', '>x', ...rules);
      admin.disconnect();
    }
    const redisOptions = { commandTimeout: 2_000, username: 'blind', password: 'x' };
    const blind = cluster.connect({ redisOptions });
    await expect(backedUp(blind)).rejects.toMatchObject({ reason: 'NOPERM' });
    blind.disconnect();
  });

  it('under a restore lose nothing', async () => {
    const { bytes } = await backedUp(old);
    let isOver = false;
    const moving = (async () => {
      for (const bucket of await bucketsOnTheWayTo(target.masters[0]!.port, target)) {
        if (isOver) return;
        await arrive(await begin(target, `{sess:${bucket}}`));
      }
    })();
    await delay(20);
    await expectAll(bytes);
    isOver = true;
    await moving;
  }, 60_000);

  it('for longer than a command may take delay a restore, and fail it if they do not arrive', async () => {
    const { bytes } = await backedUp(old);
    const hasty = target.connect({ redisOptions: { commandTimeout: 1_000 } });
    const restoring = (moveTimeout: number, merge = false) =>
      restoreSessions(from(hasty), () => inPieces(bytes), { merge, moveTimeout });
    const { handle } = sessions[0]!;
    const move = await begin(target, `{sess:${handle.slice(0, 2)}}`);
    // Nobody knows whether there is something; and with `merge`, it cannot be written.
    await expect(restoring(300)).rejects.toMatchObject({ code: 'SESSION_BACKUP_MOVING' });
    await expect(restoring(300, true)).rejects.toMatchObject({ code: 'SESSION_BACKUP_MOVING' });
    setTimeout(() => void arrive(move), 3_000);
    await restoring(20_000, true);
    hasty.disconnect();
    await expectAll(bytes);
  }, 60_000);
});
