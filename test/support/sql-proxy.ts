import { RedisProxy, type Link } from './redis-proxy.js';

/** Stands before a database server; the answer to a COMMIT can be lost, with the connection. */
export class SqlProxy extends RedisProxy {
  readonly #losing = new WeakSet<Link>();
  /** The next answer of which is lost. */
  loses: RegExp | undefined;
  /** Answers that were lost. */
  lost = 0;

  protected override toRedis(chunk: Buffer, link: Link): void {
    if (this.loses?.test(chunk.toString('latin1'))) {
      this.#losing.add(link);
      this.loses = undefined;
    }
    link.redis.write(chunk);
  }

  protected override toApplication(chunk: Buffer, link: Link): void {
    // It has answered, so it is done: nobody will hear of it.
    if (this.#losing.has(link)) {
      this.lost++;
      link.application.destroy();
    } else link.application.write(chunk);
  }
}
