import { SessionRequiredError } from '../core/session.errors.js';
import { toGraphqlException } from '../http/session-http.exception.js';

type Step = IteratorResult<unknown, unknown>;

/** What a subscription of GraphQL emits, until its session is over: then it fails, so that clients know why. */
export class SessionBoundIterator implements AsyncIterableIterator<unknown> {
  readonly #source: AsyncIterator<unknown, unknown>;
  readonly #waiting = new Set<(error: unknown) => void>();
  #unfollow: (() => void) | undefined;
  #isOver = false;
  /** It ended while nobody waited. */
  #isToBeTold = false;

  /** @param follow calls when the session is over; returns how to stop that */
  constructor(source: AsyncIterable<unknown>, follow: (onEnd: () => void) => () => void) {
    this.#source = source[Symbol.asyncIterator]();
    const unfollow = follow(() => this.#end());
    if (this.#isOver) unfollow();
    else this.#unfollow = unfollow;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  async next(): Promise<Step> {
    if (this.#isToBeTold) {
      this.#isToBeTold = false;
      throw whyItEnds();
    }
    if (this.#isOver) return { done: true, value: undefined };
    const step = await this.#orEnd(() => this.#source.next());
    if (step.done) this.#close();
    return step;
  }

  async return(value?: unknown): Promise<Step> {
    this.#close();
    return (await this.#source.return?.(value)) ?? { done: true, value };
  }

  async throw(error?: unknown): Promise<Step> {
    this.#close();
    if (this.#source.throw) return this.#source.throw(error);
    throw error;
  }

  /** Whichever comes first; nothing is left of a step that is done, however many there are. */
  async #orEnd(step: () => Promise<Step>): Promise<Step> {
    let fail!: (error: unknown) => void;
    const end = new Promise<never>((_, reject) => (fail = reject));
    this.#waiting.add(fail);
    try {
      return await Promise.race([step(), end]);
    } finally {
      this.#waiting.delete(fail);
    }
  }

  #end(): void {
    if (this.#isOver) return;
    this.#close();
    this.#isToBeTold = true;
    for (const fail of this.#waiting) {
      this.#isToBeTold = false;
      fail(whyItEnds());
    }
    // It may hold what it listens to; what it says to that concerns nobody any more.
    void Promise.resolve(this.#source.return?.()).catch(() => undefined);
  }

  #close(): void {
    this.#isOver = true;
    this.#unfollow?.();
    this.#unfollow = undefined;
  }
}

const whyItEnds = (): unknown =>
  toGraphqlException(
    new SessionRequiredError(
      'The session has ended, and with it this subscription: log in, and subscribe anew.',
    ),
  );

export const isAsyncIterable = (value: unknown): value is AsyncIterable<unknown> =>
  typeof (value as Partial<AsyncIterable<unknown>> | undefined)?.[Symbol.asyncIterator] ===
  'function';
