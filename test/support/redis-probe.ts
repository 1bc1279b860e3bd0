import { Redis } from 'ioredis';

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
  #marker = 0;

  private constructor(
    readonly client: Redis,
    private readonly monitor: Redis,
    private readonly address: string,
  ) {
    monitor.on('monitor', (_time: string, args: string[], source: string) => {
      this.#lines.push(args.join(' '));
      if (source === 'lua') return;
      this.#seen.push({ name: (args[0] ?? '').toLowerCase(), args: args.slice(1) });
    });
  }

  static async start(port: number): Promise<RedisProbe> {
    const client = new Redis(port, '127.0.0.1', { retryStrategy: () => 20 });
    client.on('error', () => undefined);
    const info = String(await client.call('CLIENT', 'INFO'));
    const monitor = await client.monitor();
    monitor.on('error', () => undefined);
    return new RedisProbe(client, monitor, /\baddr=(\S+)/.exec(info)?.[1] ?? '');
  }

  async stop(): Promise<void> {
    this.monitor.disconnect();
    this.client.disconnect();
  }

  /** The commands that others send while `action` runs. */
  async commandsDuring(action: () => Promise<unknown>): Promise<SeenCommand[]> {
    await this.#catchUp();
    const from = this.#seen.length;
    await action();
    await this.#catchUp();
    return this.#seen.slice(from).filter(({ name, args }) => !isOwn(name, args));
  }

  /** All that clients sent and scripts did so far, values included. */
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

  /** Calls by command name, those of scripts included. */
  async commandStats(): Promise<Map<string, number>> {
    const text = await this.client.info('commandstats');
    const lines = text.matchAll(/^cmdstat_([^:]+):calls=(\d+)/gm);
    return new Map([...lines].map((match) => [match[1] as string, Number(match[2])]));
  }

  /** What Redis executed before this moment has arrived here when this resolves. */
  async #catchUp(): Promise<void> {
    const marker = `probe-${++this.#marker}-${this.address}`;
    const arrived = new Promise<void>((resolve) => {
      const look = (_time: string, args: string[]) => {
        if (args[1] !== marker) return;
        this.monitor.off('monitor', look);
        resolve();
      };
      this.monitor.on('monitor', look);
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
