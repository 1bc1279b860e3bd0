import type { RedisClient, RedisConnection } from './redis-client.js';
import { ASK_EVERY, sideConnection } from './side-connection.js';

/** Who is told what a line hears. */
export interface LineEars {
  heard(channel: string, payload: string): void;
  /** These channels are heard no more; for how long nothing may have been heard already, in milliseconds. */
  lost(channels: readonly string[], silent: number): void;
}

/** A connection that only hears channels. One that ends is not used again. */
export class RedisLine {
  readonly #connection: RedisConnection;
  readonly #channels = new Set<string>();
  readonly #asking: NodeJS.Timeout;
  #connecting: Promise<void> | undefined;
  #aliveAt = performance.now();
  #moves = 0;
  isClosed = false;

  /**
   * @param address of a node of a Cluster; empty: where the client goes
   * @param isSharded each channel lives where keys of its name do
   */
  constructor(
    client: RedisClient,
    readonly address: string,
    private readonly isSharded: boolean,
    private readonly ears: LineEars,
  ) {
    const [node = client] = client.nodes?.('all') ?? [];
    this.#connection = sideConnection(node, address);
    // What is wrong is told by who asks, and by the end.
    this.#connection.on('error', () => undefined);
    this.#connection.on('end', () => this.#ended());
    this.#connection.on(isSharded ? 'smessage' : 'message', (channel: string, payload: string) =>
      this.ears.heard(channel, payload),
    );
    // A slot moves, and with it its channel.
    this.#connection.on('moved', () => {
      this.#moves++;
      this.#lose([...this.#channels]);
    });
    this.#asking = setInterval(() => void this.#ask(), ASK_EVERY).unref();
  }

  async subscribe(channel: string): Promise<void> {
    await (this.#connecting ??= this.#connect());
    const moves = this.#moves;
    await this.#connection[this.isSharded ? 'ssubscribe' : 'subscribe'](channel);
    // It may be this one that has moved away meanwhile.
    if (this.isClosed || moves !== this.#moves) throw new Error('moved');
    this.#channels.add(channel);
  }

  close(): void {
    clearInterval(this.#asking);
    this.isClosed = true;
    this.#connection.disconnect();
  }

  /** Sentinels may still lead to who was master: what the next one tells may never come there. */
  async #connect(): Promise<void> {
    await this.#connection.connect();
    const told = this.isSharded ? '' : await this.#connection.info('replication').catch(() => '');
    if (!told.includes('role:slave')) return;
    this.#connection.disconnect();
    throw new Error('no master');
  }

  async #ask(): Promise<void> {
    if (this.#channels.size === 0) return;
    const asked = performance.now();
    try {
      await this.#connection.ping();
      this.#aliveAt = asked;
    } catch {
      // Half of it may be gone, and nobody says so.
      this.#connection.disconnect();
    }
  }

  #ended(): void {
    const closed = this.isClosed;
    this.close();
    if (!closed) this.#lose([...this.#channels]);
  }

  #lose(channels: readonly string[]): void {
    for (const one of channels) this.#channels.delete(one);
    this.ears.lost(channels, performance.now() - this.#aliveAt);
  }
}
