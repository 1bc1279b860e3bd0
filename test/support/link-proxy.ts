import { RedisProxy, type Link } from './redis-proxy.js';

/** What a connection is for: it hears what is told, or it is asked. */
export type LinkKind = 'ear' | 'data';

/** Knows what connections are for, and can let those of one kind hang while new ones work. */
export class LinkProxy extends RedisProxy {
  readonly #ears = new WeakSet<Link>();

  /** They are open, and nothing passes any more: nobody is told that the other end is gone. */
  swallow(kind: LinkKind): void {
    for (const link of this.links) {
      if (this.#ears.has(link) !== (kind === 'ear')) continue;
      link.application.pause();
      link.redis.pause();
    }
  }

  protected override toRedis(chunk: Buffer, link: Link): void {
    if (/\bsubscribe\b/i.test(chunk.toString('latin1'))) this.#ears.add(link);
    link.redis.write(chunk);
  }
}
