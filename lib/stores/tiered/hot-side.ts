import { randomBytes } from 'node:crypto';
import type { HotCopies, LeftBehind, Marked } from '../../core/hot-copies.interface.js';
import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import { OwedDrops } from './owed-drops.js';
import type { Tier } from './tier.js';

/**
 * What happens while Redis does not answer. `'reject'`: what would make a copy in Redis out of date is refused (503), as
 * other nodes may still see it. `'bypass'`: it is written to the database all the same.
 */
export type OnHotFailure = 'reject' | 'bypass';

/** A change that was announced; `undefined` where that was not possible and is done without. */
export interface Announcement extends Marked {
  readonly token: string;
}

/** Announces changes at the copies, and tells them what came of it; knows what is to be told when they can be reached again. */
export class HotSide {
  readonly #owed: OwedDrops;
  /** What is done when nobody waits for it any more. */
  readonly #beside = new Set<Promise<unknown>>();

  constructor(
    private readonly hot: Tier<HotCopies>,
    private readonly onHotFailure: OnHotFailure,
  ) {
    this.#owed = new OwedDrops(hot);
  }

  /** This node has written past the copy of this session: it asks the base. */
  isPast(handle: string): boolean {
    return this.#owed.has(handle);
  }

  /** @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) if it has to be announced and cannot be */
  async announce(handle: string): Promise<Announcement | undefined> {
    const token = newToken();
    try {
      const [marked] = await this.hot.ask((copies) => copies.mark([handle], token));
      return { ...marked, token };
    } catch (error) {
      const isBypassed = this.onHotFailure === 'bypass' && !this.#owed.isFull;
      if (!isOutage(error) || !isBypassed) throw error;
      // Whatever is there, and be it newer than the base: what is written now is written on what the base has.
      this.owe([handle]);
      return undefined;
    }
  }

  /** Whatever can be ended is; if this fails it is told when that is done. */
  async announceEnd(handles: readonly string[]) {
    const token = newToken();
    try {
      return { token, marked: await this.hot.ask((copies) => copies.mark(handles, token)) };
    } catch (failure) {
      if (!isOutage(failure)) throw failure;
      return { token, marked: [], failure };
    }
  }

  /** What remains if it fails is a mark: the base is asked for as long as it stays, and the drop made up for. */
  async done(handles: readonly string[], token: string, left: LeftBehind): Promise<void> {
    await this.hot
      .ask((copies) => copies.release(handles, token, left))
      .catch(() => this.#owed.add(handles, left === 'gone'));
  }

  /** `false` if that cannot be done now: then it is as soon as it can. */
  async drop(handles: readonly string[]): Promise<boolean> {
    try {
      await this.hot.ask((copies) => copies.drop(handles, true));
      return true;
    } catch (error) {
      if (!isOutage(error)) throw error;
      this.owe(handles);
      return false;
    }
  }

  /** They are over, or changed past their copies, and may still be served elsewhere. */
  owe(handles: readonly string[]): void {
    this.#owed.add(handles, true);
  }

  /** Nobody waits for this, and nobody is told if it fails. */
  beside(work: Promise<unknown>): void {
    const done = work
      .catch(() => undefined)
      .finally(() => {
        this.#beside.delete(done);
      });
    this.#beside.add(done);
  }

  /** Resolves when all of that is done. */
  async settled(): Promise<void> {
    await Promise.all(this.#beside);
  }

  close(): void {
    this.#owed.close();
  }
}

const newToken = (): string => randomBytes(12).toString('base64url');

export const isOutage = (error: unknown): error is SessionStoreUnavailableError =>
  error instanceof SessionStoreUnavailableError;
