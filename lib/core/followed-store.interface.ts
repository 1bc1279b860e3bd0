import type { FollowOptions, SessionStore } from './session-store.interface.js';

/** Who keeps copies of what a store has, and must know when they are out of date. */
export interface CopyKeeper {
  /**
   * A session was changed, or may have been.
   *
   * @param here by this store itself, and not asked to be followed
   */
  changed(handle: string, here?: boolean): void;
  /** Sessions of a bucket were changed, and it is not known which. */
  changedIn(bucket: string): void;
  /** Anything may have been changed. */
  lost(): void;
  /** The backend, or its user, cannot do it after all: that was not known when the keeper began to follow. */
  refused?(): void;
}

/** What tells a {@link CopyKeeper}. */
export interface Following {
  /**
   * What is loaded from now on with `follow` will be told of when somebody else changes it. Once that has come to an end
   * the keeper was told that it has lost all.
   */
  readonly isLive: boolean;
  /** Tells nothing any more. */
  stop(): void;
}

/** A store whose backend tells of changes, on whatever node they are made. */
export interface FollowedSessionStore extends SessionStore {
  /** `undefined` if the backend, or its user, cannot do it. */
  follow(keeper: CopyKeeper): Promise<Following | undefined>;

  touch(handle: string, ttl: number, options?: FollowOptions): Promise<boolean>;
}

/** Whether a store can be followed. */
export const isFollowed = (store: SessionStore): store is FollowedSessionStore =>
  typeof (store as Partial<FollowedSessionStore>).follow === 'function';
