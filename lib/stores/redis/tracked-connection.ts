import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { RedisClient, RedisConnection } from './redis-client.js';
import { ASK_EVERY, sideConnection } from './side-connection.js';

/** Who is told. */
export interface TrackingEars {
  /** A key that was read over the connection has changed. */
  changed(key: string): void;
  /** Any of them may have. */
  lost(): void;
  /** The server does not do it, or not for this user. */
  refused(): void;
}

/** Where Redis says which keys have changed; without keys: all. */
const CHANNEL = '__redis__:invalidate';
/** Milliseconds until it is tried again; and where the server has refused. */
const AGAIN = 100;
const AGAIN_REFUSED = 5_000;
/** What a server says that will do it later, or of a connection that is gone by now. */
const PASSES =
  /^(?:LOADING|BUSY|MASTERDOWN|CLUSTERDOWN|UNBLOCKED)|does not exist|max number of clients/;

/**
 * A connection whose reads are tracked, and a second one beside it that hears of changes: messages of
 * RESP3 never reach an application through ioredis. Both are asked for signs of life: of a connection
 * whose other end is gone nothing is heard any more, and nobody says so.
 */
export class TrackedConnection {
  isArmed = false;
  /** The server was asked, and has said no. */
  isRefused = false;
  #ear: RedisConnection | undefined;
  /** That which is to become the one beside. */
  #coming: RedisConnection | undefined;
  #isClosed = false;
  #arming = false;
  /** Of the connection beside: how often it was made anew. */
  #life = 0;
  readonly #asking: NodeJS.Timeout;
  readonly #onReady = () => void this.#arm();
  readonly #onClose = () => {
    this.#life++;
    this.#disarm();
  };

  constructor(
    private readonly data: RedisClient,
    private readonly patience: number,
    private readonly ears: TrackingEars,
  ) {
    const events = data as unknown as EventEmitter;
    events.on('ready', this.#onReady);
    events.on('close', this.#onClose);
    this.#asking = setInterval(() => void this.#ask(), ASK_EVERY).unref();
    void this.#arm();
  }

  close(): void {
    this.#isClosed = true;
    clearInterval(this.#asking);
    const events = this.data as unknown as EventEmitter;
    events.off('ready', this.#onReady);
    events.off('close', this.#onClose);
    // It may be on its way for as long as no Sentinel answers.
    this.#coming?.disconnect();
    this.#disarm();
  }

  /** Goes on until it is armed, or there is no connection that could be. */
  async #arm(): Promise<void> {
    if (this.#arming) return;
    this.#arming = true;
    try {
      // Of a Cluster, a connection that nobody has used yet.
      if (this.data.status === 'wait') await this.#sent(this.data.ping()).catch(() => undefined);
      while (!this.#isClosed && !this.isArmed && this.data.status === 'ready') {
        const again = await this.#armOnce();
        if (again > 0) await delay(again * (0.5 + Math.random()), undefined, { ref: false });
      }
    } finally {
      this.#arming = false;
    }
  }

  /** @returns milliseconds after which to try again; 0: it is done */
  async #armOnce(): Promise<number> {
    if (!this.data.duplicate || !this.data.call) return this.#refuse();
    const life = this.#life;
    try {
      const ear = (this.#coming = this.#newEar());
      await ear.connect();
      const id = Number(await ear.call('CLIENT', 'ID'));
      await this.#mustBeTheSame(ear);
      await ear.subscribe(CHANNEL);
      await this.#sent(this.data.call('CLIENT', 'TRACKING', 'ON', 'REDIRECT', id, 'NOLOOP'));
      if (this.#isClosed || life !== this.#life || ear.status !== 'ready') throw new Error('lost');
      this.#ear = ear;
      this.isArmed = true;
      this.isRefused = false;
      return 0;
    } catch (error) {
      this.#coming?.disconnect();
      if (this.#isClosed) return AGAIN;
      return error instanceof UnknownServerError || isRefusal(error) ? this.#refuse() : AGAIN;
    } finally {
      this.#coming = undefined;
    }
  }

  #refuse(): number {
    if (!this.isRefused) this.ears.refused();
    this.isRefused = true;
    return AGAIN_REFUSED;
  }

  #newEar(): RedisConnection {
    const ear = sideConnection(this.data);
    // What is wrong is told by who asks, and by the end.
    ear.on('error', () => undefined);
    ear.on('end', () => {
      if (this.#ear !== ear) return;
      this.#disarm();
      void this.#arm();
    });
    // An array, or nothing: listeners of `message` would get neither.
    ear.on('messageBuffer', (_: Buffer, keys: readonly Buffer[] | null) => {
      if (keys === null) this.ears.lost();
      else for (const key of keys) this.ears.changed(key.toString());
    });
    return ear;
  }

  /** A name may lead to several servers, and Sentinels to who was master: there the other one is not known. */
  async #mustBeTheSame(ear: RedisConnection): Promise<void> {
    const [id, otherId] = await Promise.all([this.#serverOf(ear), this.#serverOf(this.data)]);
    if (id !== otherId) throw new Error('another server');
    if (id === undefined && !areAtOneAddress(ear, this.data)) throw new UnknownServerError();
  }

  /** Which process answers; `undefined` if it does not say so to this user, or to nobody. */
  async #serverOf(client: RedisClient | RedisConnection): Promise<string | undefined> {
    const told = await this.#sent(client.info('server')).catch((error: unknown) => {
      if (isRefusal(error)) return '';
      throw error;
    });
    return /run_id:(\w+)/.exec(told)?.[1];
  }

  async #ask(): Promise<void> {
    const ear = this.#ear;
    if (!ear) return void this.#arm();
    try {
      // What was to be heard before the answer is heard before it.
      await Promise.all([ear.ping(), this.#sent(this.data.ping())]);
    } catch {
      if (this.#ear !== ear) return;
      this.#disarm();
      void this.#arm();
    }
  }

  #disarm(): void {
    const ear = this.#ear;
    this.#ear = undefined;
    if (!this.isArmed) return;
    this.isArmed = false;
    this.ears.lost();
    ear?.disconnect();
  }

  /** From a client that would wait for ever. */
  async #sent<T>(reply: Promise<T>): Promise<T> {
    const late = new AbortController();
    try {
      const timeout = delay(this.patience, undefined, { ref: false, signal: late.signal });
      return await Promise.race([
        reply,
        timeout.then(() => {
          throw new Error('timeout');
        }),
      ]);
    } finally {
      late.abort();
    }
  }
}

/** Neither connection was told which server it leads to, and they may be two. */
class UnknownServerError extends Error {}

function isRefusal(error: unknown): boolean {
  const { name, message } = error as Error;
  return name === 'ReplyError' && !PASSES.test(message);
}

/** Sentinels lead a name to one server after the other, and each connection to who was it then. */
function areAtOneAddress(one: RedisConnection, other: RedisClient): boolean {
  const { sentinels, path } = (other.options ?? {}) as { sentinels?: unknown; path?: string };
  if (sentinels) return false;
  const address = peerOf(one);
  return Boolean(path) || (address !== undefined && address === peerOf(other));
}

function peerOf({ stream }: RedisClient | RedisConnection): string | undefined {
  const { remoteAddress, remotePort } = (stream ?? {}) as Partial<Socket>;
  return remoteAddress && `${remoteAddress} ${remotePort}`;
}
