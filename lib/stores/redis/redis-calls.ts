import { setTimeout as delay } from 'node:timers/promises';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import { anyMasterOf, ownerOf } from './cluster-addresses.js';
import { ConfirmedWrites } from './confirmed-writes.js';
import { OneWriteATurn } from './one-write-a-turn.js';
import {
  COMMAND_TIMEOUT,
  toUnavailable,
  type Durability,
  type RedisClient,
  type RedisConnection,
} from './redis-client.js';
import { followed, type RedisScript } from './redis-script.js';
import { RedisTracking } from './redis-tracking.js';
import { ServerClock } from './server-clock.js';

/** What a node of a Cluster says of keys of a slot that is being moved, if a script comes to them. */
const UNDER_WAY = /non local key|TRYAGAIN/;
/** What a script says that came later than it was wanted. */
const LATE = /^(?:ERR )?LATE\b/;

/**
 * Calls to Redis that end in time, and fail as ours: from a client that would wait for ever, of a server
 * that forgot its scripts, of a slot that is under way to another master.
 */
export class RedisCalls {
  /** The servers may drop a place, and keep the sessions that stand there. */
  mayLosePlaces = false;
  /** A Cluster whose servers publish in the slot of a channel (from Redis 7 on). */
  isSharded: boolean;
  /** Milliseconds that a call may take. */
  readonly patience: number;
  readonly #raw: RedisClient;
  readonly #confirmed: ConfirmedWrites | undefined;
  readonly #clock: ServerClock;
  #tracking: RedisTracking | undefined;
  readonly #writes = new OneWriteATurn();
  readonly #isBounded: boolean;

  constructor(
    raw: RedisClient,
    durability: Durability | undefined,
    onTime?: (now: number) => void,
  ) {
    this.#raw = raw;
    this.#clock = new ServerClock({ time: () => this.#times(), onTime });
    const { commandTimeout, redisOptions } = raw.options ?? {};
    this.patience = commandTimeout ?? redisOptions?.commandTimeout ?? COMMAND_TIMEOUT;
    // A Cluster goes from node to node, and each has that time.
    this.#isBounded = commandTimeout !== undefined;
    this.isSharded = raw.nodes !== undefined;
    calmAsking(raw);
    this.#confirmed = durability && new ConfirmedWrites(raw, durability, this.patience);
  }

  /** Whether writes can be confirmed by replicas. */
  get confirms(): boolean {
    return this.#confirmed !== undefined;
  }

  /** Tells of changes to what was read; `undefined`: nobody has asked for it. */
  get tracking(): RedisTracking | undefined {
    return this.#tracking;
  }

  /** The same, from now on. */
  followers(): RedisTracking {
    return (this.#tracking ??= new RedisTracking(this));
  }

  /** Whether what goes over the client's connection now is tracked. */
  get isTracked(): boolean {
    return this.#tracking?.isLive ?? false;
  }

  /** The client as it was given, to open connections beside it. */
  get rawClient(): RedisClient {
    return this.#raw;
  }

  /** Which node has a channel: of a Cluster the one that has keys of its name, else whichever the client goes to. */
  async whereIs(channel: string): Promise<string> {
    return this.isSharded ? ownerOf(this.#raw, channel) : anyMasterOf(this.#raw);
  }

  /** The time at the server that is furthest behind; `undefined`: none answers. */
  async earliestTime(): Promise<number | undefined> {
    const told = await this.#times().catch(() => []);
    const times = told.map(([seconds]) => Number(seconds) * 1_000);
    return times.length > 0 ? Math.min(...times) : undefined;
  }

  /** The client, to send a command now. */
  get client(): RedisClient {
    this.#writes.begin(this.#raw.stream);
    return this.#raw;
  }

  get masters(): RedisClient[] {
    return this.#raw.nodes?.('master') ?? [this.#raw];
  }

  /** What the client puts in front of every key. */
  get prefix(): string {
    return this.#raw.options?.keyPrefix ?? '';
  }

  /** Learns what is better known before the first request. */
  prepare(): Promise<void> {
    return this.#clock.learn();
  }

  /** Every failure leaves here as ours, and in time even from a client that would wait for ever. */
  bounded<T>(reply: Promise<T>): Promise<T> {
    return (this.#isBounded ? reply : inTime(reply, this.patience)).catch(refuse);
  }

  /** The same for a change whose record is followed from then on. */
  runFollowed(script: RedisScript, keys: readonly string[], ...args: Argument[]): Promise<unknown> {
    return this.run(this.isTracked ? followed(script) : script, keys, ...args);
  }

  run(script: RedisScript, keys: readonly string[], ...args: Argument[]): Promise<unknown> {
    const send: Send = (command, text, ...rest) =>
      this.client[command](text, keys.length, ...keys, ...rest);
    return this.bounded(this.#runBy(send, script, args));
  }

  /** The same, confirmed by replicas if that is asked for. */
  runConfirmed(
    script: RedisScript,
    keys: readonly string[],
    ...args: Argument[]
  ): Promise<unknown> {
    const confirmed = this.#confirmed;
    if (!confirmed) return this.run(script, keys, ...args);
    const until = performance.now() + this.patience;
    const send: Send = (command, text, ...rest) =>
      confirmed.send({ command, text, keys: keys.map((key) => this.prefix + key), rest, until });
    const reply = this.#runBy(send, script, args);
    return inTime(reply, this.patience + confirmed.timeout).catch(refuse);
  }

  async close(): Promise<void> {
    this.#tracking?.close();
    await this.#confirmed?.close();
  }

  async #runBy(send: Send, { sha, source, timed }: RedisScript, args: readonly Argument[]) {
    const until = performance.now() + this.patience;
    if (timed && this.#clock.isUnknown) {
      await this.#clock.learn();
      if (performance.now() >= until) throw new SessionStoreUnavailableError('timeout');
    }
    for (;;) {
      const all = timed ? [...args, this.#clock.at(until)] : args;
      try {
        return await send('evalsha', sha, ...all).catch((error: Error) => {
          if (!error.message.startsWith('NOSCRIPT')) throw error;
          return send('eval', source, ...all);
        });
      } catch (error) {
        const { message } = error as Error;
        if (performance.now() >= until) throw error;
        // In time, as far as this node knows: the server's clock was set.
        if (LATE.test(message)) await this.#clock.learn();
        // A record that a place names is on its way to another node already, or not yet there.
        else if (UNDER_WAY.test(message)) await delay(20);
        else throw error;
      }
    }
  }

  /** Of all masters that answer. */
  async #times() {
    const asked = await Promise.allSettled(this.masters.map((node) => this.bounded(node.time())));
    const told = asked.filter((one) => one.status === 'fulfilled').map(({ value }) => value);
    const [failure] = asked.filter((one) => one.status === 'rejected');
    if (told.length === 0 && failure) throw failure.reason;
    return told;
  }
}

/**
 * A Cluster's client asks a node whether it takes a slot, and does not wait for the answer: if that node
 * is gone, nobody would catch the failure, and it would end the process.
 */
function calmAsking(client: RedisClient): void {
  if (!client.nodes || calmed.has(client)) return;
  calmed.add(client);
  const calm = (node: RedisClient) => {
    const asking = node.asking?.bind(node);
    if (!asking) return;
    node.asking = () => {
      const reply = asking();
      reply.catch(() => undefined);
      return reply;
    };
  };
  client.nodes('all').forEach(calm);
  (client as RedisConnection).on('+node', calm);
}

/** Several stores may share a client. */
const calmed = new WeakSet<RedisClient>();

type Argument = string | number;
type Send = (command: 'evalsha' | 'eval', text: string, ...args: Argument[]) => Promise<unknown>;

function refuse(error: unknown): never {
  throw toUnavailable(error);
}

async function inTime<T>(reply: Promise<T>, deadline: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const error = new SessionStoreUnavailableError('timeout');
    timer = setTimeout(() => reject(error), deadline);
  });
  try {
    return await Promise.race([reply, late]);
  } finally {
    clearTimeout(timer);
  }
}
