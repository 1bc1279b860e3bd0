import type { FencedSessionStore } from '../../core/fenced-store.interface.js';
import type { HotCopies, WindowedValue } from '../../core/hot-copies.interface.js';
import type { StoredValue } from '../../core/session-store.interface.js';
import { isOutage, type HotSide } from './hot-side.js';
import type { Tier } from './tier.js';

const LAPSED = { lapsed: true } as const;

/**
 * Brings what a copy knows better. The copy tells that the session is in use: so its idle window may be over in the base,
 * where nobody could move it for a while.
 */
export const bringTo = (
  base: FencedSessionStore,
  handle: string,
  { value, remaining }: WindowedValue,
): Promise<boolean> => base.bring(handle, value, remaining, LAPSED);

/** Moves idle windows in the base when they were moved at a copy; what cannot be moved now is brought later. */
export class IdleWindows {
  /** @param kept is told of sessions whose window is to be brought */
  constructor(
    private readonly base: Tier<FencedSessionStore>,
    private readonly hot: Tier<HotCopies>,
    private readonly side: HotSide,
    private readonly kept: (handle: string) => void,
  ) {}

  /**
   * A copy with this value was served and its window moved; whether the base knows the session. What it does not know is
   * served no more.
   */
  async moved(handle: string, value: StoredValue, ttl: number): Promise<boolean> {
    try {
      const isThere = await this.base.ask(
        async (base) =>
          (await base.touch(handle, ttl)) ||
          (await bringTo(base, handle, { value, remaining: ttl })) ||
          // Somebody else has brought something newer meanwhile.
          base.touch(handle, ttl),
      );
      if (!isThere) await this.side.drop([handle]);
      return isThere;
    } catch (error) {
      if (isOutage(error) && (await this.keep(handle))) return true;
      throw error;
    }
  }

  /** The base does not answer: the copy, if there is one, keeps the window until it does. */
  async keep(handle: string): Promise<boolean> {
    const isKept = await this.hot
      .ask((copies) => copies.keep(handle))
      .catch((error: unknown) => {
        if (!isOutage(error)) throw error;
        return false;
      });
    if (isKept) this.kept(handle);
    return isKept;
  }
}
