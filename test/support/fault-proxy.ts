import { setTimeout as pause } from 'node:timers/promises';
import { RedisProxy, type Link } from './redis-proxy.js';

/**
 * A bad network between applications and Redis. It never takes bytes out of a stream that goes on:
 * no network does that. What is kept back by {@link stall} is lost only with its connection.
 */
export class FaultProxy extends RedisProxy {
  /** Connections that were broken. */
  resets = 0;
  #delay = 0;
  #stalled = false;
  #storm: NodeJS.Timeout | undefined;
  #losing: RegExp | undefined;
  /** Connections on whose next reply the network breaks. */
  readonly #doomed = new WeakSet<Link>();
  /** What is under way to the application, in its order. */
  readonly #underWay = new WeakMap<Link, Promise<void>>();

  /** Every reply takes this much longer, in milliseconds. */
  delay(milliseconds: number): void {
    this.#delay = milliseconds;
  }

  /** Connections are open, and nothing passes, until {@link calm} breaks them. */
  stall(): void {
    this.#stalled = true;
    for (const link of this.links) hush(link);
  }

  /** Breaks all connections again and again, until {@link calm}. */
  resetEvery(milliseconds: number): void {
    this.#storm = setInterval(() => this.resetAll(), milliseconds);
  }

  resetAll(): void {
    for (const link of this.links) this.#reset(link);
  }

  /**
   * Lets the next command that fits arrive at Redis, and breaks its connection when the reply is there. A
   * test sees to it that nothing else is under way on that connection.
   */
  loseReply(pattern: RegExp): void {
    this.#losing = pattern;
  }

  /** The network is well again. */
  calm(): void {
    clearInterval(this.#storm);
    this.#delay = 0;
    this.#losing = undefined;
    if (this.#stalled) this.resetAll();
    this.#stalled = false;
  }

  override stop(): Promise<void> {
    this.calm();
    return super.stop();
  }

  protected override joined(link: Link): void {
    super.joined(link);
    if (this.#stalled) hush(link);
  }

  protected override toRedis(chunk: Buffer, link: Link): void {
    if (this.#losing?.test(chunk.toString('latin1'))) {
      this.#losing = undefined;
      this.#doomed.add(link);
    }
    link.redis.write(chunk);
  }

  protected override toApplication(chunk: Buffer, link: Link): void {
    if (this.#doomed.has(link)) return this.#reset(link);
    const before = this.#underWay.get(link);
    if (this.#delay === 0 && !before) return super.toApplication(chunk, link);
    const due = performance.now() + this.#delay;
    const arrival = (before ?? Promise.resolve()).then(async () => {
      const left = due - performance.now();
      if (left > 0) await pause(left);
      super.toApplication(chunk, link);
    });
    this.#underWay.set(link, arrival);
  }

  #reset({ application, redis }: Link): void {
    this.resets++;
    application.resetAndDestroy();
    redis.destroy();
  }
}

/** The bytes stay in the sockets. */
function hush({ application, redis }: Link): void {
  application.pause();
  redis.pause();
}
