import type { IndexedSessionStore, SessionStore, StoredValue } from './session-store.interface.js';

/**
 * A store whose values may arrive late, from a copy that is kept elsewhere: the counter that each version
 * begins with is a fence, which nothing older passes.
 */
export interface FencedSessionStore extends IndexedSessionStore {
  /**
   * Replaces the value of a session that exists by one whose counter is higher, whatever version came in
   * between. `false`, and nothing done, if there is no such session or what is stored is as new. Never creates.
   *
   * `lapsed`: a copy tells that the idle window was moved while that could not be said here. So a session whose window is
   * over here, and that is still kept, counts as there; and if the same version is stored, its window is moved, never to an
   * earlier end. What was deleted, or ended with its place, stays so.
   *
   * @param ttl the idle window from now on, in milliseconds
   */
  bring(
    handle: string,
    value: StoredValue,
    ttl: number,
    options?: { readonly lapsed?: boolean },
  ): Promise<boolean>;

  /**
   * Keeps sessions for so many milliseconds after their idle window is over here: no verb sees them but `bring`, and
   * `endIn`, which ends them and tells their handles with the others. The longest that was asked for counts.
   */
  keepLapsed?(milliseconds: number): void;

  /** Milliseconds that its slowest change may take. @default 30000 */
  readonly slowestChange?: number;
}

/** Whether a store has a fence. */
export const isFenced = (store: SessionStore): store is FencedSessionStore =>
  typeof (store as Partial<FencedSessionStore>).bring === 'function';
