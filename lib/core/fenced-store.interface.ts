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
   * @param ttl the idle window from now on, in milliseconds
   */
  bring(handle: string, value: StoredValue, ttl: number): Promise<boolean>;
}

/** Whether a store has a fence. */
export const isFenced = (store: SessionStore): store is FencedSessionStore =>
  typeof (store as Partial<FencedSessionStore>).bring === 'function';
