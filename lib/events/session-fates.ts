import { Logger } from '@nestjs/common';
import { isEnd, type SessionEvent } from '../core/session.events.js';

const logger = new Logger('SessionEvents');

/** Something that stays open as long as a session lives: a socket, a stream, a subscription. */
export interface Follower {
  /** Whose session it was when it began. */
  readonly principal: string | undefined;
  /** It is over, or has become somebody else's. Told once. */
  onEnd(event: SessionEvent): void;
  /** It goes on under another handle. */
  onMoved?(handle: string): void;
}

/** What stays open, by the session that it belongs to; kept up to date by events. */
export class SessionFates {
  readonly #followers = new Map<string, Set<Follower>>();

  /** Follows a session until it is over, or until the returned function is called. */
  follow(handle: string, follower: Follower): () => void {
    const place = { handle };
    const entry: Follower = {
      principal: follower.principal,
      onEnd: (event) => safely(() => follower.onEnd(event)),
      onMoved: (next) => {
        place.handle = next;
        safely(() => follower.onMoved?.(next));
      },
    };
    this.#add(handle, entry);
    return () => {
      const followers = this.#followers.get(place.handle);
      followers?.delete(entry);
      if (followers?.size === 0) this.#followers.delete(place.handle);
    };
  }

  /** Sessions that are followed. */
  get handles(): string[] {
    return [...this.#followers.keys()];
  }

  /** What an event means for whom follows its session. */
  hear(event: SessionEvent): void {
    const { handle, previous } = event;
    if (handle === undefined) return;
    if (isEnd(event)) this.#end(handle, event, () => true);
    else if (previous !== undefined) this.#move(previous, handle, event);
  }

  #end(handle: string, event: SessionEvent, ends: (one: Follower) => boolean): void {
    const followers = this.#followers.get(handle);
    if (!followers) return;
    for (const one of followers) {
      if (!ends(one)) continue;
      followers.delete(one);
      one.onEnd(event);
    }
    if (followers.size === 0) this.#followers.delete(handle);
  }

  /** Whoever followed somebody else's session, or nobody's, does not go on with this one. */
  #move(previous: string, handle: string, event: SessionEvent): void {
    const changesHands = event.type === 'authenticated';
    if (changesHands) this.#end(previous, event, (one) => one.principal !== event.principal);
    const followers = this.#followers.get(previous);
    if (!followers) return;
    this.#followers.delete(previous);
    for (const one of followers) {
      this.#add(handle, one);
      one.onMoved?.(handle);
    }
  }

  #add(handle: string, follower: Follower): void {
    const followers = this.#followers.get(handle) ?? new Set();
    followers.add(follower);
    this.#followers.set(handle, followers);
  }
}

/** The failure of one keeps nothing from others. */
function safely(tell: () => void): void {
  try {
    tell();
  } catch (error) {
    logger.error(error);
  }
}
