import { RedisProxy, type Link } from './redis-proxy.js';

/**
 * Stands between an application and Redis, and can keep commands from arriving: what the
 * application does meanwhile, it does before they took effect. It can break connections, too.
 */
export class RedisGate extends RedisProxy {
  #held: (() => void)[] = [];
  #holding: RegExp | undefined;
  #cutting: RegExp | undefined;

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

  protected override toRedis(chunk: Buffer, { application, redis }: Link): void {
    const text = chunk.toString('latin1');
    if (this.#cutting?.test(text)) application.destroy();
    else if (this.holds || this.#holding?.test(text)) this.#held.push(() => redis.write(chunk));
    else redis.write(chunk);
  }
}
