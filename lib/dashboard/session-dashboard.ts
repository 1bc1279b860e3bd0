import { Logger } from '@nestjs/common';
import { setTimeout as delay } from 'node:timers/promises';
import type { NearCacheFigures } from '../core/near-cache-figures.js';
import type { OutageCounters } from '../core/outage-counters.js';
import type { ListedSession } from '../core/principal-sessions.js';
import { PRINCIPAL } from '../core/session-places.js';
import type { ExpiryFigures } from '../core/session-observer.interface.js';
import { isIndexed, type IndexedSessionStore } from '../core/session-store.interface.js';
import {
  SessionError,
  SessionOptionsError,
  SessionStoreUnavailableError,
} from '../core/session.errors.js';
import type { EventWork } from '../session.event-work.js';
import type { ObservedSessions, Observation } from '../session.observation.js';
import { SessionService } from '../session.service.js';
import type { DashboardVisitor } from './dashboard-visitor.js';
import { DOWN, type Done } from './words.js';

/** What is known of sessions on this node right now. */
export interface Figures {
  /** Milliseconds since the epoch. */
  readonly now: number;
  readonly store: 'up' | 'down';
  /** Milliseconds that the store took to answer; `undefined` if it did not. */
  readonly latency: number | undefined;
  /** Told by the node that looks for sessions that are over. */
  readonly expiry: ExpiryFigures | undefined;
  readonly nearCache: Pick<NearCacheFigures, 'hits' | 'misses'> | undefined;
  /** The state of the circuit breaker, as the answer of the store has left it. */
  readonly breaker: 'closed' | 'open' | 'half-open';
  readonly counters: OutageCounters;
}

/** A principal, and where they are logged in. */
export interface PrincipalDevices {
  readonly principal: string;
  readonly sessions: readonly ListedSession[];
  /** How many there are. */
  readonly count: number;
}

/** What is shown of principals. */
export interface People {
  /** Whose sessions were asked for; `undefined`: whoever's were found first. */
  readonly searched: string | undefined;
  readonly found: readonly PrincipalDevices[];
  /** There may be more. */
  readonly cut: boolean;
  /** Why nothing can be shown. */
  readonly trouble: string | undefined;
}

/** What it works with. */
export interface SessionDashboardParts {
  /** Of the sessions that are shown; `undefined`: those of `forRoot`. */
  readonly name: string | undefined;
  readonly observation: Observation;
  readonly work: EventWork;
}

/** Milliseconds within which the store has to answer a ping. */
const PATIENCE = 2_000;
/** Principals that are shown to who searches for nobody. */
const BROWSED = 50;
/** Sessions of one of them, and of who is searched for. */
const FEW = 20;
const MANY = 100;
/** Principals that are asked about at the same time. */
const WIDTH = 8;

/** What the page shows and does. */
export class SessionDashboard {
  readonly #logger = new Logger('SessionDashboard');
  #counting: Promise<number> | undefined;
  #shown!: ObservedSessions;
  #sessions!: SessionService;

  constructor(private readonly parts: SessionDashboardParts) {}

  /**
   * Before anything else, once the sessions of all names are there.
   *
   * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) if there are none of the name
   */
  open(): void {
    const { name, observation } = this.parts;
    const shown = observation.of(name);
    if (!shown) {
      throw new SessionOptionsError([
        `SessionDashboardModule: there are no sessions named "${name}" to show: import SessionModule.forFeature('${name}', …), or leave \`name\` out for those of forRoot`,
      ]);
    }
    this.#shown = shown;
    this.#sessions = new SessionService(shown.manager);
  }

  /** Milliseconds since the epoch. */
  now(): number {
    return this.#shown.manager.now();
  }

  async figures(): Promise<Figures> {
    const sessions = this.#sessions;
    const asked = performance.now();
    const isUp = await within(PATIENCE, sessions.ping()).then(
      () => true,
      () => false,
    );
    const took = Math.round((performance.now() - asked) * 100) / 100;
    const nearCache = sessions.nearCache();
    return {
      now: this.now(),
      store: isUp ? 'up' : 'down',
      latency: isUp ? took : undefined,
      expiry: this.parts.work.expiryOf(this.parts.name),
      nearCache: nearCache && { hits: nearCache.hits, misses: nearCache.misses },
      breaker: this.#shown.guard.breaker,
      counters: sessions.counters(),
    };
  }

  /** How many sessions there are, or why that is not known. Walks the store, once for all who ask meanwhile. */
  async count(): Promise<number | string> {
    this.#counting ??= this.#sessions.count().finally(() => (this.#counting = undefined));
    return this.#counting.catch(troubleOf);
  }

  /** The sessions of a principal. */
  async search(principal: string): Promise<People> {
    const about = { searched: principal, cut: false, trouble: undefined };
    try {
      const theirs = await this.#devicesOf(principal, MANY);
      return { ...about, found: [theirs] };
    } catch (error) {
      return { ...about, found: [], trouble: troubleOf(error) };
    }
  }

  /** Principals as the store comes upon them. Walks it until there are enough. */
  async browse(): Promise<People> {
    const { store } = this.#shown;
    const about = { searched: undefined, cut: false, trouble: undefined };
    if (!isIndexed(store)) return { ...about, found: [], trouble: NO_INDEX };
    try {
      const principals = await this.#firstOf(store);
      const found: PrincipalDevices[] = [];
      for (let i = 0; i < principals.length; i += WIDTH) {
        const some = principals.slice(i, i + WIDTH);
        found.push(...(await Promise.all(some.map((one) => this.#devicesOf(one, FEW)))));
      }
      const live = found.filter(({ count }) => count > 0);
      return { ...about, found: live, cut: principals.length >= BROWSED };
    } catch (error) {
      return { ...about, found: [], trouble: troubleOf(error) };
    }
  }

  /** Ends a session of a principal. */
  async end(principal: string, handle: string, by: DashboardVisitor): Promise<Done> {
    const what = `the session with handle ${quoted(handle)} of ${this.#called(principal)}`;
    const ended = await this.#told(by, what, () =>
      this.#sessions.forPrincipal(principal).revoke(handle),
    );
    return ended ? 'ended' : 'none';
  }

  /** Ends all sessions of a principal. */
  async endAll(principal: string, by: DashboardVisitor): Promise<Done> {
    const what = `all sessions of ${this.#called(principal)}`;
    const ended = await this.#told(by, what, () =>
      this.#sessions.forPrincipal(principal).revokeAll(),
    );
    return `all-${ended}`;
  }

  #called(principal: string): string {
    const { name } = this.parts;
    const whose = quoted(principal);
    return name === undefined ? whose : `${whose} among the sessions named ${quoted(name)}`;
  }

  /** In the log stands who has done it, and also who has tried. */
  async #told<T extends number | boolean>(
    by: DashboardVisitor,
    what: string,
    act: () => Promise<T>,
  ): Promise<T> {
    try {
      const done = await act();
      const count = typeof done === 'number' ? ` (${done})` : done ? '' : ': there was none';
      this.#logger.log(`${nameOf(by)} ended ${what}${count}`);
      return done;
    } catch (error) {
      const code = error instanceof SessionError ? error.code : 'an error';
      this.#logger.warn(`${nameOf(by)} wanted to end ${what}: ${code}`);
      throw error;
    }
  }

  async #devicesOf(principal: string, limit: number): Promise<PrincipalDevices> {
    const theirs = this.#sessions.forPrincipal(principal);
    const sessions = await theirs.list({ limit });
    const count = sessions.length < limit ? sessions.length : await theirs.count();
    return { principal, sessions, count };
  }

  /** Places tell no names: those are in the sessions that stand there. */
  async #firstOf(store: IndexedSessionStore): Promise<string[]> {
    const principals = new Set<string>();
    for await (const { bucket, place } of store.placesOf(PRINCIPAL)) {
      const [first] = await store.list(bucket, place, { limit: 1 });
      const session = first && (await this.#sessions.find(first.handle));
      if (session?.principal !== undefined) principals.add(session.principal);
      if (principals.size >= BROWSED) break;
    }
    return [...principals];
  }
}

const NO_INDEX =
  'The session store keeps no lists of principals: sessions can be counted here, but not shown.';

/** Principals are what users have typed: in quotes a line of the log stays one line. */
const quoted = (text: string): string => JSON.stringify(text.slice(0, 200));

function nameOf({ principal, actor }: DashboardVisitor): string {
  if (principal === undefined) return 'Somebody whom the guards let in without a session';
  return actor === undefined ? quoted(principal) : `${quoted(actor)} as ${quoted(principal)}`;
}

/** What is the matter, for people; errors of others could tell anything. */
function troubleOf(error: unknown): string {
  if (error instanceof SessionStoreUnavailableError) return DOWN;
  if (error instanceof SessionError) return error.message;
  throw error;
}

async function within<T>(milliseconds: number, answer: Promise<T>): Promise<T> {
  const late = new AbortController();
  const timeout = delay(milliseconds, undefined, { signal: late.signal, ref: false }).then(() => {
    throw new SessionStoreUnavailableError('late');
  });
  try {
    return await Promise.race([answer, timeout]);
  } finally {
    late.abort();
    timeout.catch(() => undefined);
  }
}
