import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { Cluster, Redis } from 'ioredis';
import {
  RedisSessionStore,
  type IndexedSessionStore,
  type LoadOptions,
  type RedisClient,
  type SessionStore,
} from 'nestjs-distributed-session';
import { describeSessionStore, FakeClock } from 'nestjs-distributed-session/testing';
import { systemClock } from '../../lib/core/clock.js';
import { bucketOfHandle, handleOf, newSessionId } from '../../lib/core/session-id.js';
import { LIVE, nextVersion } from '../../lib/core/session-record.js';
import { NearCache } from '../../lib/stores/near-cache/near-cache.js';
import type { NearCopiesOptions } from '../../lib/stores/near-cache/near-copies.js';
import { until } from '../support/app.js';
import { freePort } from '../support/redis-server.js';
import { clientOf, startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

const runner = { describe, it };
const HOUR = 3_600_000;

type Client = RedisClient & { disconnect(): void; on(event: 'error', done: () => void): unknown };

/** What an application has of one: a connection, and a near cache in front of its store. */
class Node {
  readonly cache: NearCache;
  readonly store: RedisSessionStore;
  readonly #told = new Set<string>();
  readonly cached: IndexedSessionStore;

  constructor(client: Client, keyPrefix: string, options: Partial<NearCopiesOptions> = {}) {
    const bounds = { maxEntries: 1_000, maxBytes: 2 ** 26, maxAge: 60_000 };
    this.cache = new NearCache({ ...bounds, clock: systemClock, ...options });
    this.store = new RedisSessionStore(client, {
      keyPrefix,
      close: async () => client.disconnect(),
    });
    this.cached = this.cache.before(asObject<IndexedSessionStore>(this.store));
  }

  static async over(redis: RedisUnderTest, ...rest: [string, Partial<NearCopiesOptions>?]) {
    // The suite sends thousands of commands at once, and a busy machine takes its time.
    const patient = { commandTimeout: 10_000 };
    const client = clientOf({ Redis, Cluster }, redis.connection(), patient) as Client;
    const node = new Node(client, ...rest);
    node.cache.following = await node.store.follow({
      changed: (handle, here) => {
        if (!here) node.#told.add(handle);
        node.cache.changed(handle, here);
      },
      changedIn: (bucket) => node.cache.changedIn(bucket),
      lost: () => node.cache.lost(),
    });
    await until('copies are kept', () => node.cache.following?.isLive);
    await node.store.prepare();
    return node;
  }

  /** Resolves when what another node has changed so far is known here: this change is told after it. */
  async hearsOf(writer: Node, handle: string): Promise<void> {
    const mark = handleOf(newSessionId(parseInt(bucketOfHandle(handle), 16)));
    await writer.store.create(mark, `${nextVersion()}${LIVE}`, { ttl: HOUR });
    await this.store.load(mark, { follow: true });
    await writer.store.delete(mark);
    await until('the change is told', () => this.#told.delete(mark));
  }
}

/** Verbs that change the session of a handle. */
const CHANGES = ['create', 'admit', 'save', 'touch', 'replace'] as const;

/** A store as the requests of some nodes see it, which take turns: every load may be served from a copy. */
function asRequestsSeeIt(nodes: readonly Node[]): SessionStore {
  let turn = 0;
  const next = () => nodes[turn++ % nodes.length]!;
  // Only of what tells how long it lives a copy is served to who does not know it.
  const near = ({ cached }: Node, handle: string, options?: LoadOptions) =>
    cached.load(handle, { ...options, remaining: true, near: { strong: false } });

  const load: SessionStore['load'] = async (handle, options) => {
    const reader = next();
    for (const other of nodes) if (other !== reader) await reader.hearsOf(other, handle);
    const loaded = await near(reader, handle, options);
    await reader.cache.settled();
    return loaded;
  };
  const followedByReads = (verb: (typeof CHANGES)[number]) => {
    return async (handle: string, ...rest: unknown[]) => {
      const change = next().cached[verb] as (...all: unknown[]) => Promise<unknown>;
      const answer = await change(handle, ...rest);
      // So that what comes next meets copies.
      await Promise.all(nodes.map((node) => near(node, handle)));
      return answer;
    };
  };
  const changes = Object.fromEntries(CHANGES.map((verb) => [verb, followedByReads(verb)]));
  const remove: SessionStore['delete'] = (...all) => next().cached.delete(...all);
  const close = async () => {
    await Promise.all(nodes.map(({ store }) => store.close()));
  };
  const { cached, store } = nodes[0]!;
  return { ...cached, news: store.news, ...changes, load, delete: remove, close } as SessionStore;
}

/** A store without a class, as the guard makes one that stands between both in an application. */
function asObject<Store extends object>(store: Store): Store {
  const verbs = Object.entries(Object.getOwnPropertyDescriptors(Object.getPrototypeOf(store)));
  const bound = verbs.filter(([, { value }]) => typeof value === 'function');
  return Object.fromEntries(bound.map(([name, { value }]) => [name, value.bind(store)])) as Store;
}

/** Stores that know nothing of each other, with keys that the user of Redis may touch. */
const keyPrefix = () => `sess:${randomUUID()}`;

describe('behind a near cache', () => {
  let redis: RedisUnderTest;
  let deadPort: number;
  const nodes: Node[] = [];

  const open = async (prefix: string, options?: Partial<NearCopiesOptions>) => {
    const node = await Node.over(redis, prefix, options);
    nodes.push(node);
    return node;
  };

  beforeAll(async () => {
    redis = await startRedis();
    deadPort = await freePort();
  }, 60_000);

  afterAll(() => redis.stop());

  describe('of one node', () => {
    describeSessionStore('RedisSessionStore', {
      runner,
      create: async () => asRequestsSeeIt([await open(keyPrefix())]),
      unreachable: () => {
        const lost = clientOf({ Redis, Cluster }, `redis://127.0.0.1:${deadPort}`, {
          maxRetriesPerRequest: 1,
          disconnectTimeout: 1,
        }) as Client;
        lost.on('error', () => undefined);
        return asRequestsSeeIt([new Node(lost, keyPrefix())]);
      },
    });
  });

  describe('of two nodes in turn, each told of what the other has changed', () => {
    describeSessionStore('RedisSessionStore', {
      runner,
      create: async () => {
        const prefix = keyPrefix();
        return asRequestsSeeIt([await open(prefix), await open(prefix)]);
      },
    });
  });

  it('no copy is served for longer than its window, nor than its age', async () => {
    const clock = new FakeClock();
    const node = await open(keyPrefix(), { clock, maxAge: 200 });
    const handle = handleOf(newSessionId());
    await node.store.create(handle, `${nextVersion()}${LIVE}`, { ttl: HOUR });
    const isServed = async () =>
      (await node.cached.load(handle, { remaining: true, near: { strong: false } }))?.served ===
      true;
    expect([await isServed(), await isServed()]).toEqual([false, true]);
    clock.advance(HOUR);
    expect(await isServed()).toBe(false);
    const keptAt = performance.now();
    expect(await isServed()).toBe(true);
    await until('it is too old', async () => !(await isServed()));
    expect(performance.now() - keptAt).toBeLessThan(1_000);
    await node.store.close();
  });

  it('served copies all the while: a suite that met none would prove nothing', () => {
    expect(nodes.reduce((sum, { cache }) => sum + cache.figures.hits, 0)).toBeGreaterThan(50);
  });
});
