import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';

/** A connection of an application, and the one to Redis that belongs to it. */
export interface Link {
  readonly application: Socket;
  readonly redis: Socket;
}

/** Stands between applications and Redis; what it does to what passes is for its kinds to say. */
export abstract class RedisProxy {
  protected readonly links = new Set<Link>();
  readonly #server = createServer();

  /** Begins on a free port, in front of the server on another. */
  static async start<T extends RedisProxy>(this: new () => T, redisPort: number): Promise<T> {
    const proxy = new this();
    await proxy.#listen(redisPort);
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  async stop(): Promise<void> {
    for (const { application, redis } of this.links) {
      application.destroy();
      redis.destroy();
    }
    this.#server.close();
    await once(this.#server, 'close');
  }

  protected abstract toRedis(chunk: Buffer, link: Link): void;

  protected toApplication(chunk: Buffer, { application }: Link): void {
    application.write(chunk);
  }

  protected joined(link: Link): void {
    this.links.add(link);
  }

  async #listen(redisPort: number): Promise<void> {
    this.#server.on('connection', (application) => {
      const link: Link = { application, redis: connect(redisPort, '127.0.0.1') };
      for (const [one, other] of [
        [link.application, link.redis],
        [link.redis, link.application],
      ] as const) {
        one.setNoDelay(true);
        one.on('error', () => undefined);
        one.on('close', () => {
          this.links.delete(link);
          other.destroy();
        });
      }
      link.redis.on('data', (chunk) => this.toApplication(chunk, link));
      link.application.on('data', (chunk) => this.toRedis(chunk, link));
      this.joined(link);
    });
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
  }
}
