import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { systemClock } from '../../lib/core/clock.js';
import { jsonSessionCodec } from '../../lib/core/json-session.codec.js';
import { SessionLifetime } from '../../lib/core/session-lifetime.js';
import { SessionLimit } from '../../lib/core/session-limit.js';
import { SessionRecords } from '../../lib/core/session-records.js';
import { SessionManager } from '../../lib/core/session-manager.js';
import { principalPlace } from '../../lib/core/session-places.js';
import type { Session } from '../../lib/core/session.js';
import { Keyring } from '../../lib/security/keyring.js';
import { HmacSessionIdSigner } from '../../lib/security/session-id.signer.js';
import { RedisSessionStore } from '../../lib/stores/redis/redis-session.store.js';
import { inParallel, until } from '../support/app.js';
import { RedisProbe } from '../support/redis-probe.js';
import {
  clientFor,
  startRedis,
  TOPOLOGY,
  trialsOf,
  type RedisUnderTest,
} from '../support/redis-under-test.js';

/** `CYCLES=1000000` runs all of them; by default a part, in bounded time. */
const CYCLES = Number(process.env.CYCLES ?? trialsOf(20_000));
/** Milliseconds that Redis may be busy with one command; several servers take turns on the machine. */
const BUSY = TOPOLOGY === 'standalone' ? 20 : 100;
const nobody = () => undefined;

describe('places in Redis', () => {
  let server: RedisUnderTest;
  let probe: RedisProbe;
  let client: Redis;
  let store: RedisSessionStore;

  beforeAll(async () => {
    server = await startRedis();
    probe = await RedisProbe.start(server);
  });

  afterAll(async () => {
    await probe?.stop();
    await server?.stop();
  });

  beforeEach(async () => {
    await probe.flush();
    client = await clientFor(server, { commandTimeout: 10_000 });
    store = new RedisSessionStore(client);
  });

  afterEach(() => client.disconnect());

  const manage = ({
    idleTimeout = 1_800_000,
    absoluteTimeout = 86_400_000,
    max = Infinity,
  } = {}) => {
    const lifetime = new SessionLifetime({ idleTimeout, absoluteTimeout, touchAfter: 0 });
    return new SessionManager({
      records: new SessionRecords(),
      store,
      codec: jsonSessionCodec,
      signer: new HmacSessionIdSigner(new Keyring([])),
      lifetime,
      clock: systemClock,
      maxBytes: 65_536,
      grace: 20,
      limit: max === Infinity ? undefined : new SessionLimit(max, 'retire-oldest', lifetime),
      indexes: { tenant: (session) => session.data.tenant as string | undefined },
    });
  };

  const login = async (manager: SessionManager, principal: string, data = {}): Promise<Session> => {
    const session = manager.open([]);
    for (const [key, value] of Object.entries(data)) session.set(key, value);
    await session.authenticate(principal);
    await session.save();
    return session;
  };

  const onEach = (task: (redis: Redis) => Promise<unknown>) => Promise.all(probe.nodes.map(task));

  const placeOf = ({ handle, principal = '' }: Session) =>
    `{sess:${handle.slice(0, 2)}}:${principalPlace(principal)}`;

  it(
    `nothing is left of ${CYCLES} sessions that came and went: no record, no entry, no index`,
    async () => {
      const manager = manage({ idleTimeout: 60, absoluteTimeout: 250 });
      const limited = manage({ idleTimeout: 60, absoluteTimeout: 250, max: 3 });
      let ended = 0;
      await inParallel(CYCLES, 64, async (i) => {
        const session = await login(i % 3 ? manager : limited, `user-${i % 997}`, {
          tenant: `tenant-${i % 13}`,
        });
        const fate = i % 6;
        if (fate === 0) await session.destroy();
        if (fate === 1) await session.regenerate();
        if (fate === 2) session.set('tenant', `tenant-${i % 7}`);
        if (fate === 3) await manager.revoke(session.handle);
        if (fate === 4) await session.authenticate(`user-${(i + 1) % 997}`);
        // The rest ends by time. Some of them were ended meanwhile, to make room.
        if (await session.save()) ended++;
      });
      expect(ended).toBeGreaterThan(CYCLES / 3);
      await until('all ends have come', async () => (await probe.size()) === 0);
    },
    30_000 + CYCLES,
  );

  it('while sessions end by time, the entries of a principal who logs in again and again stay few', async () => {
    const manager = manage({ idleTimeout: 20, absoluteTimeout: 3_600_000 });
    let session: Session | undefined;
    for (let i = 0; i < 1_000; i++) session = await login(manager, 'alice');
    await until('they are over', async () => (await store.load(session!.handle)) === undefined);
    for (let i = 0; i < 1_000; i++) session = await login(manager, 'alice');
    const entries = await probe.client.zcard(placeOf(session!));
    const alive = await manager.forPrincipal('alice', nobody).count();
    expect(entries).toBeLessThan(2 * alive + 300);
    // Counting has looked at all of them.
    expect(await probe.client.zcard(placeOf(session!))).toBeLessThanOrEqual(alive);
  });

  it('an entry whose session was deleted or evicted drops out when the list is read', async () => {
    const manager = manage();
    const sessions = await inParallel(10, 1, () => login(manager, 'alice'));
    const place = placeOf(sessions[0]!);
    for (const { handle } of sessions.slice(0, 4)) {
      await probe.client.del(`{sess:${handle.slice(0, 2)}}:s:${handle}`);
    }
    expect(await probe.client.zcard(place)).toBe(10);
    const listed = await manager.forPrincipal('alice', nobody).list();
    expect(listed.map(({ handle }) => handle).sort()).toEqual(
      sessions
        .slice(4)
        .map(({ handle }) => handle)
        .sort(),
    );
    expect(await probe.client.zcard(place)).toBe(6);
  });

  it('an index that was evicted comes back with the sessions that are authenticated from then on', async () => {
    const manager = manage();
    const before = await login(manager, 'alice');
    await probe.client.del(placeOf(before));
    await login(manager, 'alice');
    expect(await manager.forPrincipal('alice', nobody).count()).toBe(1);
    // The one from before is not lost, and comes back to the list with its next id.
    const session = (await manager.openById(before.id))!;
    await session.regenerate();
    await session.save();
    expect(await manager.forPrincipal('alice', nobody).count()).toBe(2);
  });

  it('a session cannot go on under another handle between two steps of ending them all', async () => {
    const manager = manage();
    const sessions = await inParallel(1_200, 100, () => login(manager, 'alice'));
    const last = (await manager.forPrincipal('alice', nobody).list({ limit: 1 }))[0]!.handle;
    const session = sessions.find(({ handle }) => handle === last)!;
    let steps = 0;
    let escaped: boolean | undefined;
    const other = new RedisSessionStore(
      new Proxy(client, {
        get(target, name) {
          const value: unknown = Reflect.get(target, name, target);
          if (typeof value !== 'function' || name !== 'evalsha') return value;
          return async (...args: unknown[]) => {
            const reply: unknown = await Reflect.apply(value, target, args);
            if (steps++ === 0) {
              expect(await store.load(last)).toBeDefined();
              await session.regenerate();
              escaped = await session.save();
            }
            return reply;
          };
        },
      }) as never,
    );
    // Known to Redis beforehand: the first call of a script is refused otherwise.
    await store.endIn('00', principalPlace('alice'));
    await other.endIn(last.slice(0, 2), principalPlace('alice'));
    expect(escaped).toBe(false);
    expect(steps).toBe(3);
    expect(await probe.size()).toBe(0);
  });

  it('a server whose memory is full refuses a login, and nobody gives way for it', async () => {
    const manager = manage({ max: 2 });
    const before = [await login(manager, 'alice'), await login(manager, 'alice')];
    await onEach((redis) => redis.config('SET', 'maxmemory', '1'));
    try {
      await expect(login(manager, 'alice')).rejects.toMatchObject({
        code: 'SESSION_STORE_UNAVAILABLE',
      });
      const left = await manager.forPrincipal('alice', nobody).list();
      expect(left.map(({ handle }) => handle).sort()).toEqual(
        before.map(({ handle }) => handle).sort(),
      );
      // To end one needs no room.
      expect(await manager.revoke(before[0]!.handle)).toBe(true);
    } finally {
      await onEach((redis) => redis.config('SET', 'maxmemory', '0'));
    }
    await login(manager, 'alice');
    expect(await manager.forPrincipal('alice', nobody).count()).toBe(2);
  });

  it('100 devices are listed in one round trip', async () => {
    const manager = manage();
    for (let i = 0; i < 100; i++) await login(manager, 'alice', { text: 'x'.repeat(2_000) });
    const sessions = manager.forPrincipal('alice', nobody);
    await sessions.list({ limit: 1 });
    const commands = await probe.commandsDuring(async () => {
      expect(await sessions.list()).toHaveLength(100);
    });
    expect(commands.map(({ name }) => name)).toEqual(['evalsha']);
  });

  it(`ending 10,000 sessions of one principal, counting and changing them never blocks Redis for ${BUSY} ms`, async () => {
    /** What took longer, while all of it was done once. */
    const slow = async (): Promise<unknown[]> => {
      const manager = manage();
      await inParallel(10_000, 200, () => login(manager, 'alice', { text: 'x'.repeat(1_000) }));
      await onEach(async (redis) => {
        await redis.config('SET', 'slowlog-log-slower-than', BUSY * 1_000);
        await redis.config('SET', 'latency-monitor-threshold', BUSY);
        await redis.call('SLOWLOG', 'RESET');
        await redis.call('LATENCY', 'RESET');
      });
      const sessions = manager.forPrincipal('alice', nobody);
      expect(await sessions.count()).toBe(10_000);
      expect(await sessions.list({ limit: 1_000 })).toHaveLength(1_000);
      expect(await sessions.updateGrants({ roles: ['editor'] })).toBe(10_000);
      const commands = await probe.commandsDuring(async () => {
        expect(await sessions.revokeAll()).toBe(10_000);
      });
      expect(commands.length).toBeLessThan(30);
      expect(await probe.size()).toBe(0);
      const found: unknown[] = [];
      await onEach(async (redis) => {
        found.push(...((await redis.call('SLOWLOG', 'GET')) as unknown[]));
        found.push(...((await redis.call('LATENCY', 'LATEST')) as unknown[]));
      });
      return found;
    };
    // What blocks does so each time; a machine that has no time for Redis does not.
    let found = await slow();
    for (let again = 0; again < 2 && found.length > 0; again++) found = await slow();
    expect(found).toEqual([]);
  }, 180_000);
});
