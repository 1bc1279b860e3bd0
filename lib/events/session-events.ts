import {
  Injectable,
  Logger,
  type BeforeApplicationShutdown,
  type MessageEvent,
  type OnApplicationShutdown,
} from '@nestjs/common';
import {
  EMPTY,
  filter,
  interval,
  map,
  merge,
  Observable,
  ReplaySubject,
  Subject,
  takeUntil,
} from 'rxjs';
import { bucketName, bucketOf } from '../core/session-id.js';
import { timeOfEventId, type PrincipalCall, type SessionNews } from '../core/session-news.js';
import type { SessionEvent, SessionEventGap, SessionEventReason } from '../core/session.events.js';
import { SessionUnavailableError } from '../core/session.errors.js';
import type { EventSource } from './event-source.js';
import type { Follower } from './session-fates.js';
import { SessionWatch } from './session-watch.js';

/** From where on to listen. */
export interface ResumeOptions {
  /** The id of the last event that was heard; what came after it, as far as that is remembered, comes first. */
  after?: string | undefined;
  /** Told if that event is not remembered any more: then what came after it may be missing. */
  onGap?: () => void;
  /** Name of the sessions, if they are not those of `forRoot`. */
  name?: string | undefined;
}

/** How a stream of events is sent. */
export interface EventStreamOptions {
  /** What `Last-Event-ID` said. */
  after?: string | undefined;
  /** Milliseconds between signs of life, which show both sides that the connection still stands. @default 25000 */
  heartbeat?: number;
  /** Name of the sessions, if they are not those of `forRoot`. */
  name?: string | undefined;
}

const RECALLED_AT_ONCE = 1_000;
const REFUSED =
  'Redis does not let its user listen any more (SUBSCRIBE, SSUBSCRIBE), so this node does not hear what becomes of sessions: ' +
  'what stays open outlives its session, and copies that events tell of are not kept. Give the right back ' +
  '(docs/stores.md): it is tried again every few seconds, and what was missed is caught up.';
const HEARD_AGAIN = 'Redis lets its user listen again: this node hears what becomes of sessions.';
/** Milliseconds by which the clocks of nodes and stores may differ where it is looked for an event. */
const CLOCKS_DIFFER = 10_000;

/**
 * What happens to sessions, on whatever node. Needs the option `events`.
 *
 * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) from all methods without it
 * @example
 * constructor(events: SessionEvents) {
 *   events.events$.subscribe(({ type, principal }) => console.log(type, principal));
 * }
 */
@Injectable()
export class SessionEvents implements BeforeApplicationShutdown, OnApplicationShutdown {
  readonly #sources: EventSource[] = [];
  readonly #events = new Subject<SessionEvent>();
  readonly #gaps = new Subject<SessionEventGap>();
  readonly #calls = new Subject<PrincipalCall>();
  readonly #told = new Subject<{ source: EventSource; bucket: string }>();
  readonly #deaf = new Subject<EventSource>();
  /** Sources of which not all is heard now. */
  readonly #unheard = new Set<EventSource>();
  /** Of these, those that the server refuses. */
  readonly #refused = new Set<EventSource>();
  readonly #leaving = new ReplaySubject<void>(1);
  readonly #watch = new SessionWatch(this.#sources);
  readonly #logger = new Logger(SessionEvents.name);

  /** Who tells of sessions here; none: the option `events` is off. */
  get sources(): readonly EventSource[] {
    return this.#sources;
  }

  /** Whether anything is told. */
  get on(): boolean {
    return this.#sources.length > 0;
  }

  /** All events of all sessions, each once as long as this node hears them. */
  get events$(): Observable<SessionEvent> {
    this.#mustBeOn();
    return this.#events.asObservable();
  }

  /** Times in which this node heard nothing; what was told meanwhile came before it. */
  get gaps$(): Observable<SessionEventGap> {
    this.#mustBeOn();
    return this.#gaps.asObservable();
  }

  /** What was sent to principals by {@link callPrincipal}, on whatever node. */
  get calls$(): Observable<PrincipalCall> {
    this.#mustBeOn();
    return this.#calls.asObservable();
  }

  /** Emits when this node goes down: what stays open ends. */
  get leaving$(): Observable<void> {
    return this.#leaving;
  }

  /** Of whose sessions not all is heard from now on; {@link gaps$} tells when that is over. */
  get deaf$(): Observable<EventSource> {
    return this.#deaf.asObservable();
  }

  /** Whether all that is told of sessions of a name is heard on this node now. */
  hears(name?: string): boolean {
    const source = this.#sources.find((one) => one.name === name);
    return source !== undefined && !this.#unheard.has(source);
  }

  /** In which bucket something was told. */
  get told$(): Observable<{ source: EventSource; bucket: string }> {
    return this.#told.asObservable();
  }

  /**
   * What happens to the sessions of a principal, those included in which somebody else acts as them or
   * they as somebody else.
   *
   * @example events.of('alice').subscribe((event) => …);
   */
  of(principal: string, options: ResumeOptions = {}): Observable<SessionEvent> {
    const { after, onGap, name } = options;
    const source = this.#sourceOf(name);
    const isTheirs = (event: SessionEvent) =>
      event.name === name && (event.principal === principal || event.actor === principal);
    const live = this.#events.pipe(filter(isTheirs));
    if (after === undefined) return live;
    return new Observable((to) => {
      const seen = new Set<string>();
      let meanwhile: SessionEvent[] | undefined = [];
      const listening = live.subscribe({
        next: (event) => (meanwhile ? meanwhile.push(event) : to.next(event)),
        complete: () => to.complete(),
      });
      const give = (event: SessionEvent) => {
        if (seen.has(event.id)) return;
        seen.add(event.id);
        to.next(event);
      };
      this.#since(source, bucketName(bucketOf(principal)), after).then(
        (events) => {
          if (!events) onGap?.();
          events?.filter(isTheirs).forEach(give);
          meanwhile?.forEach(give);
          meanwhile = undefined;
        },
        (error: unknown) => to.error(error),
      );
      return () => listening.unsubscribe();
    });
  }

  /**
   * The same as a stream for `@Sse`, which a browser goes on with where it was cut: each event has its
   * type, its id and itself as data; `gap` tells that some may be missing, `heartbeat` nothing.
   *
   * @example
   * \@Sse('events') stream(@Principal() principal: string, @Headers('last-event-id') after?: string) {
   *   return this.events.stream(principal, { after });
   * }
   */
  stream(principal: string, options: EventStreamOptions = {}): Observable<MessageEvent> {
    const { after, heartbeat = 25_000, name } = options;
    const gaps = new Subject<void>();
    // What comes between has the id of the last event: behind that the browser goes on.
    let id = after ?? this.#sourceOf(name).news.newId();
    const events = this.of(principal, { after, onGap: () => gaps.next(), name }).pipe(
      map((event): MessageEvent => {
        ({ id } = event);
        return { id, type: event.type, data: event };
      }),
    );
    const missed = this.#gaps.pipe(filter(({ complete }) => !complete));
    const gap = merge(gaps, missed).pipe(
      map((): MessageEvent => {
        id = this.#sourceOf(name).news.newId();
        return { id, type: 'gap', data: '' };
      }),
    );
    const signs = heartbeat > 0 ? interval(heartbeat) : EMPTY;
    const alive = signs.pipe(map((): MessageEvent => ({ id, type: 'heartbeat', data: '' })));
    return merge(gap, events, alive).pipe(takeUntil(this.#leaving));
  }

  /**
   * Emits once, when a session is over or has become another principal's, whatever new ids it gets until
   * then. For what stays open: `source.pipe(takeUntil(events.ended(session)))`.
   */
  ended(session: {
    readonly handle: string;
    readonly principal?: string | undefined;
  }): Observable<SessionEvent> {
    this.#mustBeOn();
    return this.#watch.ended(session);
  }

  /** Follows a session until it is over, or until the returned function is called. */
  follow(handle: string, follower: Follower): () => void {
    this.#mustBeOn();
    return this.#watch.follow(handle, follower);
  }

  /** Sends something to all who listen to {@link calls$}, on whatever node; nobody remembers it. */
  async callPrincipal(
    principal: string,
    event: string,
    data: unknown,
    name?: string,
  ): Promise<void> {
    const { store, news } = this.#sourceOf(name);
    await store.call(bucketName(bucketOf(principal)), news.call(principal, event, data));
  }

  /** Begins to hear what a store tells. */
  async listenTo(source: EventSource): Promise<void> {
    const { store, news } = source;
    this.#sources.push(source);
    await store.listen({
      told: (text, bucket) => {
        for (const event of news.read(text)) this.tell(event);
        this.#told.next({ source, bucket });
      },
      called: (text) => {
        const call = news.readCall(text);
        if (call) this.#calls.next(call);
      },
      missed: ({ duration, complete }) => void this.#missed(source, duration, complete),
      hears: (all) => this.#hears(source, all),
      refused: () => {
        this.#refused.add(source);
        this.#logger.warn(REFUSED);
      },
    });
  }

  /** Something happened, or is known on this node alone. */
  tell(event: SessionEvent): void {
    // Before what it ends is closed: that tells of its own end, too.
    this.#events.next(event);
    this.#watch.hear(event);
  }

  /** A refusal: told on this node only, or whoever sends rubbish would make all nodes work. */
  reject(
    news: SessionNews | undefined,
    reason: SessionEventReason,
    handle: string | undefined,
  ): void {
    if (news) this.tell(news.local('rejected', reason, handle));
  }

  /** Streams would keep the server from closing. */
  beforeApplicationShutdown(): void {
    this.#leaving.next();
  }

  onApplicationShutdown(): void {
    this.#events.complete();
    this.#gaps.complete();
    this.#calls.complete();
    this.#deaf.complete();
  }

  #hears(source: EventSource, all: boolean): void {
    if (all) {
      this.#unheard.delete(source);
      if (this.#refused.delete(source)) this.#logger.log(HEARD_AGAIN);
    } else {
      this.#unheard.add(source);
      this.#deaf.next(source);
    }
  }

  async #missed(source: EventSource, duration: number, complete: boolean): Promise<void> {
    const to = source.news.now();
    // A server may have lost what it would have told.
    await this.#watch.askWhereAllAre();
    this.#gaps.next({ from: to - duration, to, complete });
  }

  /** What a bucket has told behind an event; `undefined` if that is not remembered any more. */
  async #since(
    { store, news, retention }: EventSource,
    bucket: string,
    after: string,
  ): Promise<SessionEvent[] | undefined> {
    const time = timeOfEventId(after);
    if (time === undefined || news.now() - time > retention) return undefined;
    const events = new Map<string, SessionEvent>();
    const withdrawn = new Set<string>();
    for (let from = `${Math.max(0, time - CLOCKS_DIFFER)}-0`; ;) {
      const told = await store.recall(bucket, from, RECALLED_AT_ONCE);
      for (const { kind, text } of told) {
        if (kind === 'withdrawn') news.idsOf(text).forEach((id) => withdrawn.add(id));
        else for (const event of news.read(text)) events.set(event.id, event);
      }
      from = told.at(-1)?.position ?? from;
      if (told.length < RECALLED_AT_ONCE) break;
    }
    const all = [...events.values()].filter(
      ({ id }) => !withdrawn.has(id.split('.', 1)[0] as string),
    );
    const known = all.findIndex(({ id }) => id === after);
    // An id that is no event's here tells at least the time.
    return known >= 0
      ? all.slice(known + 1)
      : all.filter(({ id }) => (timeOfEventId(id) ?? 0) >= time);
  }

  #sourceOf(name: string | undefined): EventSource {
    this.#mustBeOn();
    const source = this.#sources.find((one) => one.name === name);
    if (source) return source;
    throw new SessionUnavailableError(
      `There are no sessions named "${name}" that tell of events: import SessionModule.forFeature('${name}', …).`,
    );
  }

  #mustBeOn(): void {
    if (this.on) return;
    throw new SessionUnavailableError(
      'Nothing is told of sessions: set the option `events` of SessionModule.',
    );
  }
}
