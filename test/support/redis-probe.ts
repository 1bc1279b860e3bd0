import { Cluster, type Redis } from 'ioredis';
import type { RedisServer } from './redis-server.js';
import type { RedisUnderTest } from './redis-under-test.js';
import { inParallel, NEAR_CACHE } from './app.js';
import { expectNoIds } from './secrets.js';

/** A command as Redis received it. */
export interface SeenCommand {
  readonly name: string;
  readonly args: readonly string[];
}

/**
 * A look at Redis from beside the application: what is stored, and which commands clients send, on
 * all masters. Commands that a script runs inside Redis are not counted, they cost no round trip.
 */
export class RedisProbe {
  readonly #seen: (SeenCommand & { readonly source: string })[] = [];
  readonly #lines: string[] = [];
  /** Connections by which sentinels watch the servers. */
  readonly #watchers = new Set<string>();
  #monitors: Promise<Redis[]> | undefined;
  #marker = 0;

  private constructor(
    /** For commands of one key; without a Cluster, for all. */
    readonly client: Redis,
    /** The masters, one by one. */
    readonly nodes: readonly Redis[],
  ) {}

  static async start(redis: RedisUnderTest): Promise<RedisProbe> {
    const masters = await redis.currentMasters();
    const nodes = masters.map((master) => master.connect({ retryStrategy: () => 20 }));
    const probe = new RedisProbe(nodes.length > 1 ? clusterOf(masters) : nodes[0]!, nodes);
    await probe.ready();
    return probe;
  }

  /** Ends it; fails if Redis was ever told a session id, or has one. */
  async stop(): Promise<void> {
    if (this.nodes.every(({ status }) => status === 'ready')) {
      expectNoIds('Redis', [...(await this.dump())].flat());
      expectNoIds('a command', this.#lines);
    }
    for (const monitor of (await this.#monitors) ?? []) monitor.disconnect();
    for (const node of this.nodes) node.disconnect();
    this.client.disconnect();
  }

  /** Redis answers (again). */
  async ready(): Promise<void> {
    await this.#each((node) => node.ping());
    await this.client.ping();
  }

  /** Notes every command from now on; what asks for commands begins with this by itself. */
  watch(): Promise<readonly Redis[]> {
    this.#monitors ??= this.#each(async (node) => {
      const monitor = await node.monitor();
      monitor.on('error', () => undefined);
      monitor.on('monitor', (_time: string, args: string[], source: string) => {
        this.#lines.push(args.join(' '));
        if (source === 'lua') return;
        this.#seen.push({ name: (args[0] ?? '').toLowerCase(), args: args.slice(1), source });
      });
      return monitor;
    });
    return this.#monitors;
  }

  /** The commands that others send while `action` runs. */
  async commandsDuring(action: () => Promise<unknown>): Promise<SeenCommand[]> {
    await this.#catchUp();
    const from = this.#seen.length;
    await action();
    await this.#catchUp();
    const seen = this.#seen.slice(from);
    for (const line of await this.#clientList()) {
      if (/ name=sentinel-/.test(line)) this.#watchers.add(/ addr=(\S+)/.exec(line)?.[1] ?? '');
    }
    return seen
      .filter(({ name, args, source }) => !isOwn(name, args) && !this.#watchers.has(source))
      .map(({ name, args }) => ({ name, args }));
  }

  /** All that clients sent and scripts did since {@link watch}, values included. */
  async everythingSent(): Promise<readonly string[]> {
    await this.#catchUp();
    return this.#lines;
  }

  /** All strings by their keys, and what is told of sessions: hashes and streams. */
  async dump(pattern = '*'): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    await this.#each(async (node) => {
      for await (const keys of pages(node, pattern)) {
        const reads = node.pipeline();
        for (const key of keys) reads.get(key);
        const values = (await reads.exec()) ?? [];
        keys.forEach((key, i) => {
          const value = values[i]?.[1];
          if (typeof value === 'string') found.set(key, value);
        });
        for (const key of keys.filter((one) => /:[ne]$/.test(one))) {
          const told = key.endsWith('n') ? node.hgetall(key) : node.xrange(key, '-', '+');
          found.set(key, JSON.stringify(await told));
        }
      }
    });
    return found;
  }

  /** The stored sessions that are alive, by key; what is left of renewed ids does not count. */
  async liveRecords(pattern = '*'): Promise<Map<string, string>> {
    const all = await this.dump(pattern);
    return new Map([...all].filter(([key, value]) => key.includes(':s:') && value[14] === '1'));
  }

  async keys(pattern: string): Promise<string[]> {
    const found = new Set<string>();
    await this.#each(async (node) => {
      for await (const keys of pages(node, pattern)) keys.forEach((key) => found.add(key));
    });
    return [...found];
  }

  /** How many keys there are. */
  async size(): Promise<number> {
    return (await this.#each((node) => node.dbsize())).reduce((sum, size) => sum + size, 0);
  }

  /** Lets sessions end one after the other, from and until so many milliseconds from now. */
  async endOver(handles: readonly string[], from: number, until: number): Promise<void> {
    const step = (until - from) / handles.length;
    const now = Date.now();
    await inParallel(handles.length, 500, async (i) => {
      const handle = handles[i] as string;
      const at = Math.round(now + from + i * step);
      const bucket = `{sess:${handle.slice(0, 2)}}`;
      await this.client.pexpireat(`${bucket}:s:${handle}`, at);
      await this.client.zadd(`${bucket}:x`, at, handle);
    });
  }

  /** Deletes everything. */
  async flush(): Promise<void> {
    await this.#each((node) => node.flushall());
  }

  /**
   * How many clients are connected. A client of a Cluster has a connection to each master that it
   * talked to, besides those to which it gives names.
   */
  async connections(): Promise<number> {
    const lists = await this.#each(clientsOf);
    return Math.max(
      ...lists.map((lines) => lines.filter((line) => !line.includes(' name=ioredis-')).length),
    );
  }

  async #clientList(): Promise<string[]> {
    return (await this.#each(clientsOf)).flat();
  }

  #each<T>(task: (node: Redis) => Promise<T>): Promise<T[]> {
    return Promise.all(this.nodes.map(task));
  }

  /** What Redis executed before this moment has arrived here when this resolves. */
  async #catchUp(): Promise<void> {
    const monitors = await this.watch();
    const marker = `probe-${++this.#marker}`;
    const arrivals = monitors.map(
      (monitor) =>
        new Promise<void>((resolve) => {
          const look = (_time: string, args: string[]) => {
            if (args[1] !== marker) return;
            monitor.off('monitor', look);
            resolve();
          };
          monitor.on('monitor', look);
        }),
    );
    await this.#each((node) => node.echo(marker));
    await Promise.all(arrivals);
  }
}

/** Led to the master of each key. */
function clusterOf(masters: readonly RedisServer[]): Redis {
  const { username, password } = masters[0]!.connect({ lazyConnect: true }).options;
  const nodes = masters.map(({ port }) => ({ host: '127.0.0.1', port }));
  const cluster = new Cluster(nodes, { redisOptions: { username, password } });
  cluster.on('error', () => undefined);
  return cluster as unknown as Redis;
}

async function* pages(node: Redis, pattern: string): AsyncGenerator<string[]> {
  let cursor = '0';
  do {
    const [next, keys] = await node.scan(cursor, 'MATCH', pattern, 'COUNT', 1_000);
    yield keys;
    cursor = next;
  } while (cursor !== '0');
}

const clientsOf = async (node: Redis): Promise<string[]> =>
  String(await node.client('LIST'))
    .trim()
    .split('\n');

/** Of this probe, of a client that greets the server, or what nodes do now and then: not of a request. */
function isOwn(name: string, args: readonly string[]): boolean {
  if (name === 'echo' && args[0]?.startsWith('probe-')) return true;
  if (isOfEvents(name, args)) return true;
  // Who keeps copies asks now and then whether it would still be told of changes.
  if (NEAR_CACHE && name === 'ping') return true;
  const names = ['hello', 'client', 'info', 'monitor', 'select', 'auth', 'cluster', 'time'];
  return names.includes(name);
}

/** Who holds a lease, who has ended by time, and reading for handlers what was told: nobody asks for it. */
function isOfEvents(name: string, args: readonly string[]): boolean {
  const key = (name === 'evalsha' || name === 'eval' ? args[2] : args[0]) ?? '';
  const isRecall = args.length === 5 && key.endsWith('}:e');
  return isRecall || /:lease\}:|\}:x$|\}:h:/.test(key);
}
