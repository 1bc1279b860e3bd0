import { Injectable, Logger } from '@nestjs/common';
import { isFollowed } from './core/followed-store.interface.js';
import type { SessionStore } from './core/session-store.interface.js';
import { SessionEvents } from './events/session-events.js';
import type { ResolvedSessionOptions } from './options/resolve-session-options.js';
import { NearCache } from './stores/near-cache/near-cache.js';

/** The near caches of an application, one for the sessions of each name, and who tells them of changes. */
@Injectable()
export class NearCaches {
  readonly #logger = new Logger('SessionModule');
  readonly #caches = new Map<string | undefined, NearCache>();
  #isClosed = false;

  /** That of the sessions of a name; `undefined`: they have none. */
  of({ nearCache, clock }: ResolvedSessionOptions, name?: string): NearCache | undefined {
    const known = this.#caches.get(name);
    if (known || !nearCache) return known;
    const cache = new NearCache({ ...nearCache, clock });
    this.#caches.set(name, cache);
    return cache;
  }

  /** From then on copies are kept: by the store's own word or, where it has none, by what is told of sessions. */
  async follow(
    options: ResolvedSessionOptions,
    store: SessionStore,
    events: SessionEvents,
    name?: string,
  ): Promise<void> {
    const cache = this.of(options, name);
    if (!cache) return;
    const instead = () => {
      if (this.#isClosed) return;
      if (options.events?.modified) this.#followEvents(cache, events, name);
      else this.#logger.warn(NO_TRACKING);
    };
    const following = isFollowed(store)
      ? await store.follow({
          changed: (handle, here) => cache.changed(handle, here),
          changedIn: (bucket) => cache.changedIn(bucket),
          lost: () => cache.lost(),
          refused: instead,
        })
      : undefined;
    if (!following) instead();
    else if (this.#isClosed) following.stop();
    else cache.following = following;
  }

  /** What goes on beside requests is done, and nobody tells of changes any more: no copies are kept. */
  async close(): Promise<void> {
    this.#isClosed = true;
    const caches = [...this.#caches.values()];
    await Promise.all(caches.map((one) => one.settled()));
    for (const cache of caches) {
      cache.following?.stop();
      cache.following = undefined;
      cache.lost();
    }
  }

  #followEvents(cache: NearCache, events: SessionEvents, name?: string): void {
    const { events$, gaps$, deaf$ } = events;
    const heard = events$.subscribe((event) => {
      if (event.name !== name) return;
      for (const handle of [event.handle, event.previous]) if (handle) cache.changed(handle);
    });
    // A store of one's own may tell of a silence at its end only: until then copies are as old as they may be.
    heard.add(gaps$.subscribe(() => cache.lost()));
    heard.add(deaf$.subscribe((deaf) => deaf.name === name && cache.lost()));
    cache.following?.stop();
    const hears = () => events.hears(name);
    cache.following = {
      get isLive() {
        return hears();
      },
      stop: () => heard.unsubscribe(),
    };
  }
}

const NO_TRACKING =
  'Redis does not tell of changes (CLIENT TRACKING), or not this user, or it is not known whether two connections lead to the ' +
  'same server (INFO, behind Sentinels), so `nearCache` keeps no copies and every read asks Redis. ' +
  'Allow both (docs/near-cache.md), or set events: { modified: true }: then lifecycle events tell of them instead.';
