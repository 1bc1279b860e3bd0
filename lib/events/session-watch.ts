import { Logger } from '@nestjs/common';
import { Observable } from 'rxjs';
import type { SessionWhereabouts } from '../core/session-trail.js';
import type { SessionEvent } from '../core/session.events.js';
import type { EventSource } from './event-source.js';
import { SessionFates, type Follower } from './session-fates.js';

/** Sessions that are asked about at the same time. */
const ASKED_AT_ONCE = 32;

/** Knows what stays open for which session, and asks the store where events alone do not suffice. */
export class SessionWatch {
  readonly #logger = new Logger('SessionEvents');
  readonly #fates = new SessionFates();

  constructor(private readonly sources: readonly EventSource[]) {}

  hear(event: SessionEvent): void {
    this.#fates.hear(event);
  }

  follow(handle: string, follower: Follower): () => void {
    return this.#fates.follow(handle, follower);
  }

  /** Emits once, when a session is over or has become another principal's. */
  ended(session: {
    readonly handle: string;
    readonly principal?: string | undefined;
  }): Observable<SessionEvent> {
    const { handle, principal } = session;
    return new Observable((to) => {
      let stop = () => {};
      let isOver = false;
      const end = (event: SessionEvent) => {
        if (isOver) return;
        isOver = true;
        stop();
        to.next(event);
        to.complete();
      };
      const follow = (at: string) => {
        stop();
        stop = this.follow(at, { principal, onEnd: end, onMoved: ask });
        ask(at);
      };
      // For what happened before it was followed; and anybody may say that it has moved.
      const ask = (at: string): void => {
        this.#whereIs(at).then(
          (found) => {
            if (isOver) return;
            const isTheirs = found !== undefined && found.principal === principal;
            if (!isTheirs) end(this.#lost(at));
            else if (found.handle !== at) follow(found.handle);
          },
          // An outage is not an end.
          (error: unknown) => this.#logger.warn(error),
        );
      };
      follow(handle);
      return () => {
        isOver = true;
        stop();
      };
    });
  }

  /** What was missed may have been the end of a session that something is open for. */
  async askWhereAllAre(): Promise<void> {
    const { handles } = this.#fates;
    for (let i = 0; i < handles.length; i += ASKED_AT_ONCE) {
      const some = handles.slice(i, i + ASKED_AT_ONCE);
      await Promise.all(
        some.map(async (previous) => {
          const found = await this.#whereIs(previous).catch((error: unknown) => {
            this.#logger.warn(error);
            return null;
          });
          if (found === null || found?.handle === previous) return;
          const lost = this.#lost(previous);
          // It belongs to whom it belonged before, or is no more.
          this.#fates.hear(found ? { ...lost, ...found, type: 'authenticated', previous } : lost);
        }),
      );
    }
  }

  async #whereIs(handle: string): Promise<SessionWhereabouts | undefined> {
    for (const { whereIs } of this.sources) {
      const found = await whereIs(handle);
      if (found) return found;
    }
    return undefined;
  }

  /** The end of a session that nobody has told. */
  #lost(handle: string): SessionEvent {
    const [source] = this.sources;
    return (source as EventSource).news.local('expired', 'idle', handle);
  }
}
