import { Redis } from 'ioredis';
import { expectNoIds } from './secrets.js';

/** A command as Redis received it. */
export interface SeenCommand {
  readonly name: string;
  readonly args: readonly string[];
}

/**
 * A look at Redis from beside the application: what is stored, and which commands clients send.
 * Commands that a script runs inside Redis are not counted, they cost no round trip.
 */
export class RedisProbe {
  readonly #seen: SeenCommand[] = [];
  readonly #lines: string[] = [];
  #monitor: Redis | undefined;
  #marker = 0;

  private constructor(readonly client: Redis) {}

  static async start(port: number): Promise<RedisProbe> {
    const client = new Redis(port, '127.0.0.1', { retryStrategy: () => 20 });
    client.on('error', () => undefined);
    await client.ping();
    return new RedisProbe(client);
  }

  /** Ends it; fails if Redis was ever told a session id, or has one. */
  async stop(): Promise<void> {
    if (this.client.status === 'ready') {
      expectNoIds('Redis', [...(await this.dump())].flat());
      expectNoIds('a command', this.#lines);
    }
    this.#monitor?.disconnect();
    this.client.disconnect();
  }

  /** Notes every command from now on; what asks for commands begins with this by itself. */
  async watch(): Promise<Redis> {
    if (this.#monitor) return this.#monitor;
    const monitor = (this.#monitor = await this.client.monitor());
    monitor.on('error', () => undefined);
    monitor.on('monitor', (_time: string, args: string[], source: string) => {
      this.#lines.push(args.join(' '));
      if (source === 'lua') return;
      this.#seen.push({ name: (args[0] ?? '').toLowerCase(), args: args.slice(1) });
    });
    return monitor;
  }

  /** The commands that others send while `action` runs. */
  async commandsDuring(action: () => Promise<unknown>): Promise<SeenCommand[]> {
    await this.#catchUp();
    const from = this.#seen.length;
    await action();
    await this.#catchUp();
    return this.#seen.slice(from).filter(({ name, args }) => !isOwn(name, args));
  }

  /** All that clients sent and scripts did since {@link watch}, values included. */
  async everythingSent(): Promise<readonly string[]> {
    await this.#catchUp();
    return this.#lines;
  }

  /** All keys with what is stored under them. */
  async dump(pattern = '*'): Promise<Map<string, string>> {
    const found = new Map<string, string>();
    let cursor = '0';
    do {
      const [next, keys] = await this.client.scan(cursor, 'MATCH', pattern, 'COUNT', 1_000);
      if (keys.length > 0) {
        const values = await this.client.mget(...keys);
        keys.forEach((key, i) => {
          const value = values[i];
          if (typeof value === 'string') found.set(key, value);
        });
      }
      cursor = next;
    } while (cursor !== '0');
    return found;
  }

  /** The stored sessions that are alive, by key; what is left of renewed ids does not count. */
  async liveRecords(pattern = '*'): Promise<Map<string, string>> {
    const all = await this.dump(pattern);
    return new Map([...all].filter(([key, value]) => key.includes(':s:') && value[14] === '1'));
  }

  /** What Redis executed before this moment has arrived here when this resolves. */
  async #catchUp(): Promise<void> {
    const monitor = await this.watch();
    const marker = `probe-${++this.#marker}`;
    const arrived = new Promise<void>((resolve) => {
      const look = (_time: string, args: string[]) => {
        if (args[1] !== marker) return;
        monitor.off('monitor', look);
        resolve();
      };
      monitor.on('monitor', look);
    });
    await this.client.echo(marker);
    await arrived;
  }
}

/** Of this probe, or of a client that greets the server: not of a request. */
function isOwn(name: string, args: readonly string[]): boolean {
  if (name === 'echo' && args[0]?.startsWith('probe-')) return true;
  return ['hello', 'client', 'info', 'monitor', 'select', 'auth'].includes(name);
}
