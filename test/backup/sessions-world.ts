import type { Redis } from 'ioredis';
import { systemClock } from '../../lib/core/clock.js';
import { jsonSessionCodec } from '../../lib/core/json-session.codec.js';
import type { LiveSession } from '../../lib/core/live-session.js';
import { SessionLifetime } from '../../lib/core/session-lifetime.js';
import { SessionManager } from '../../lib/core/session-manager.js';
import { SessionNews } from '../../lib/core/session-news.js';
import { SessionRecords } from '../../lib/core/session-records.js';
import { AesRecordSealer } from '../../lib/security/aes-record.sealer.js';
import { Keyring } from '../../lib/security/keyring.js';
import { HmacSessionIdSigner } from '../../lib/security/session-id.signer.js';
import type { RedisClient } from '../../lib/stores/redis/redis-client.js';
import { RedisSessionStore } from '../../lib/stores/redis/redis-session.store.js';

export type Encryption = 'none' | 'keys' | 'store-blind';

export interface ManageOptions {
  readonly encryption?: Encryption;
  readonly events?: boolean;
  readonly keyPrefix?: string;
}

/** Sessions of an application over a Redis: with an index, in some encryption, perhaps with events. */
export class SessionsWorld {
  readonly store: RedisSessionStore;
  readonly manager: SessionManager;

  constructor(client: Redis, options: ManageOptions = {}) {
    const { encryption = 'none', events = false, keyPrefix } = options;
    this.store = new RedisSessionStore(client as unknown as RedisClient, { keyPrefix });
    const keyring = new Keyring(['a secret of the application that is long enough']);
    const blind = encryption === 'store-blind';
    const sealing = { blind, acceptsPlain: false };
    const records = new SessionRecords(
      encryption === 'none' ? undefined : new AesRecordSealer(keyring, sealing),
    );
    this.manager = new SessionManager({
      store: this.store,
      records,
      codec: jsonSessionCodec,
      signer: new HmacSessionIdSigner(keyring),
      lifetime: new SessionLifetime({
        idleTimeout: 1_800_000,
        absoluteTimeout: 86_400_000,
        touchAfter: 0,
      }),
      clock: systemClock,
      maxBytes: 65_536,
      grace: 30_000,
      indexes: { tenant: (session) => session.data.tenant as string | undefined },
      ...(events && {
        news: new SessionNews({ clock: systemClock, records, modified: false }),
      }),
    });
  }

  async begin(data: Record<string, unknown> = {}): Promise<LiveSession> {
    const session = this.manager.open([]) as LiveSession;
    for (const [key, value] of Object.entries(data)) session.set(key, value);
    await session.save();
    return session;
  }

  async login(principal: string, data: Record<string, unknown> = {}): Promise<LiveSession> {
    const session = this.manager.open([]) as LiveSession;
    for (const [key, value] of Object.entries(data)) session.set(key, value);
    await session.authenticate(principal, { clientKind: 'web' });
    await session.save();
    return session;
  }

  /** What the client of a session finds when it comes back with the id that it has; nothing if it has none. */
  async comesBack(id: string): Promise<{ principal?: string; n?: unknown } | undefined> {
    const session = await this.manager.open([this.manager.tokenOf(id)]).load();
    if (session.isNew) return undefined;
    return { principal: session.principal, n: session.get('n') };
  }

  async devicesOf(principal: string): Promise<string[]> {
    const all = await this.manager.forPrincipal(principal, () => undefined).list();
    return all.map(({ handle }) => handle).sort();
  }
}

/** Everything that a Redis has, but what it remembers of restoring and of what was told. */
export async function contentsOf(client: Redis, { ends = false } = {}) {
  const found = new Map<string, [value: unknown, end: number]>();
  let cursor = '0';
  do {
    const [next, keys] = await client.scan(cursor, 'COUNT', 1_000);
    for (const key of keys) {
      if (/:lease\}|:e$/.test(key)) continue;
      found.set(key, [await valueOf(client, key), ends ? await endOf(client, key) : 0]);
    }
    cursor = next;
  } while (cursor !== '0');
  return new Map([...found].sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** When a key ends, in milliseconds since the epoch, by the clock of its server. */
export async function endOf(client: Redis, key: string): Promise<number> {
  const [time, left] = (await client.multi().time().pttl(key).exec()) ?? [];
  const [s, us] = time![1] as [string, string];
  return Number(s) * 1_000 + Number(us) / 1_000 + Number(left![1]);
}

async function valueOf(client: Redis, key: string): Promise<unknown> {
  const type = await client.type(key);
  if (type === 'string') return client.get(key);
  if (type === 'hash') return client.hgetall(key);
  if (key.endsWith(':x')) return (await client.zrange(key, '0', '-1')).sort();
  return client.zrange(key, '0', '-1', 'WITHSCORES');
}
