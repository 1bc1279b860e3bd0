import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';

/**
 * Stands between an application and Redis, and can keep commands from arriving: what the
 * application does meanwhile, it does before they took effect. It can break connections, too.
 */
export class RedisGate {
  readonly #sockets = new Set<Socket>();
  #held: (() => void)[] = [];
  #holding: RegExp | undefined;
  #cutting: RegExp | undefined;

  private constructor(private readonly server: Server) {}

  static async start(redisPort: number): Promise<RedisGate> {
    const server = createServer();
    const gate = new RedisGate(server);
    server.on('connection', (socket) => gate.#join(socket, connect(redisPort, '127.0.0.1')));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return gate;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get url(): string {
    return `redis://127.0.0.1:${this.port}`;
  }

  /** From the next command that fits on, nothing arrives at Redis until {@link release}. */
  hold(pattern: RegExp): void {
    this.#holding = pattern;
  }

  /** Until {@link release}, the connection breaks at each command that fits; Redis never gets it. */
  cut(pattern: RegExp): void {
    this.#cutting = pattern;
  }

  /** True when a command is being kept back. */
  get holds(): boolean {
    return this.#held.length > 0;
  }

  release(): void {
    this.#holding = this.#cutting = undefined;
    const held = this.#held;
    this.#held = [];
    for (const deliver of held) deliver();
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.server.close();
    await once(this.server, 'close');
  }

  #join(application: Socket, redis: Socket): void {
    for (const [one, other] of [
      [application, redis],
      [redis, application],
    ] as const) {
      this.#sockets.add(one);
      one.setNoDelay(true);
      one.on('error', () => undefined);
      one.on('close', () => {
        this.#sockets.delete(one);
        other.destroy();
      });
    }
    redis.on('data', (chunk) => application.write(chunk));
    application.on('data', (chunk) => {
      const text = chunk.toString('latin1');
      if (this.#cutting?.test(text)) application.destroy();
      else if (this.holds || this.#holding?.test(text)) this.#held.push(() => redis.write(chunk));
      else redis.write(chunk);
    });
  }
}
