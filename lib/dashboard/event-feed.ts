import type { MessageEvent } from '@nestjs/common';
import {
  bufferTime,
  concat,
  concatMap,
  filter,
  from,
  interval,
  map,
  merge,
  of,
  takeUntil,
  type Observable,
} from 'rxjs';
import type { SessionEvent } from '../core/session.events.js';
import type { SessionEvents } from '../events/session-events.js';
import { deviceNameOf } from './words.js';

/** An event as it is shown: nothing of the session's data, nothing that could be used as a token. */
export interface ShownEvent {
  readonly id: string;
  readonly at: number;
  readonly type: string;
  readonly reason: string | undefined;
  readonly principal: string | undefined;
  readonly actor: string | undefined;
  readonly device: string | undefined;
  readonly handle: string | undefined;
  /** Name of the sessions, if they are not those of `forRoot`. */
  readonly name: string | undefined;
}

/** Events that are remembered for a page that is opened, or comes back. */
const REMEMBERED = 100;
/** Milliseconds for which events are gathered, and how many of these are sent: nobody reads more. */
const GATHERED = 100;
const MOST = 50;
const HEARTBEAT = 25_000;

/** What happens to sessions, for pages that are open; remembers the latest. */
export class EventFeed {
  readonly #recent: ShownEvent[] = [];

  /** @param name of the sessions that are told of; `undefined`: all, with their names */
  constructor(
    private readonly events: SessionEvents,
    private readonly name: string | undefined,
  ) {}

  get isOn(): boolean {
    const { events, name } = this;
    return name === undefined ? events.on : events.sources.some((one) => one.name === name);
  }

  /** Begins to remember; ends with the application. */
  start(): void {
    if (!this.isOn) return;
    this.#ours.subscribe((event) => {
      this.#recent.push(shown(event));
      if (this.#recent.length > REMEMBERED) this.#recent.shift();
    });
  }

  /** The latest, newest first. */
  recent(most: number): ShownEvent[] {
    return this.#recent.slice(-most).toReversed();
  }

  /**
   * Events as they happen, behind one that the page has. `gap` tells it that some are missing.
   *
   * @param after the id of the last event that the page has; `''`: it has none, and there were none
   */
  stream(after: string | undefined): Observable<MessageEvent> {
    const live = this.#ours.pipe(
      map(shown),
      bufferTime(GATHERED),
      filter((some) => some.length > 0),
      concatMap((some) => from(this.#thinned(some))),
    );
    const missed = this.events.gaps$.pipe(
      filter(({ complete }) => !complete),
      map(() => GAP),
    );
    const signs = interval(HEARTBEAT).pipe(map(() => SIGN));
    const missing = from(this.#since(after));
    return concat(of(FIRST), merge(missing, live, missed, signs)).pipe(
      takeUntil(this.events.leaving$),
    );
  }

  get #ours(): Observable<SessionEvent> {
    const { name } = this;
    return this.events.events$.pipe(filter((one) => name === undefined || one.name === name));
  }

  #since(after: string | undefined): MessageEvent[] {
    if (after === undefined) return [];
    const at = this.#recent.findIndex(({ id }) => id === after);
    const behind = this.#recent.slice(at + 1).map(message);
    return at < 0 && after !== '' ? [GAP, ...behind] : behind;
  }

  #thinned(some: readonly ShownEvent[]): MessageEvent[] {
    const messages = some.slice(-MOST).map(message);
    return some.length > MOST ? [GAP, ...messages] : messages;
  }
}

// Without an id: the browser goes on behind the last event that had one.
const GAP: MessageEvent = { type: 'gap', data: '' };
const SIGN: MessageEvent = { type: 'heartbeat', data: '' };
/** Shows that it is open, and how soon to come back when it is cut. */
const FIRST: MessageEvent = { ...SIGN, retry: 1_000 };

const message = (event: ShownEvent): MessageEvent => ({
  id: event.id,
  type: 'session',
  data: event,
});

function shown(event: SessionEvent): ShownEvent {
  const { id, at, type, reason, principal, actor, handle, name } = event;
  const device = deviceNameOf(event);
  return { id, at, type, reason, principal, actor, device, handle, name };
}
