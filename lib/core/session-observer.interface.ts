import type { MigrationFigures } from './migration-figures.js';
import type { NearCacheFigures } from './near-cache-figures.js';
import type { OutageCounters } from './outage-counters.js';
import type { RejectionReason } from './rejection.js';

/** A step that sessions take on this node. */
export interface SessionStep {
  /** `session.load`, `session.touch` or `session.commit`; or `store.` and a verb: what the store was asked for. */
  readonly name: string;
  /** Name of the sessions; `undefined` for those of `forRoot`. */
  readonly realm: string | undefined;
  /** How it ended, in a word, by what it resolved to. */
  outcomeOf(result: unknown): string;
}

/** What is known of sessions that end by time, as of the last round of the node that looks for them. */
export interface ExpiryFigures {
  /** Sessions that are alive. */
  readonly sessions: number;
  /**
   * Principals who have a session that is alive, as of the last minute; estimated where there are many. `undefined` until
   * all are counted, while some cannot be, without an observer, and if the store cannot tell.
   */
  readonly principals: number | undefined;
  /** How long the one that waited longest was over before that was noticed, in milliseconds. */
  readonly lag: number;
}

/** What can be asked about sessions on this node at any time. */
export interface SessionFigures {
  /** See `SessionService.counters`. */
  counters(): OutageCounters;
  /** See `SessionService.nearCache`. */
  nearCache(): NearCacheFigures | undefined;
  /** Calls fail at once: the store has not answered lately. */
  isCutOff(): boolean;
  /** `undefined` without `events`, and on all nodes but the one that looks for sessions that are over. */
  expiry(): ExpiryFigures | undefined;
  /** `undefined` without `migrateFrom`, and for sessions of a name. */
  migration(): MigrationFigures | undefined;
}

/**
 * Sees what happens to sessions on this node, as names, words and numbers: never an id, a handle, a principal
 * or data. For metrics and traces, as `openTelemetry` of `nestjs-distributed-session/telemetry` makes them.
 */
export interface SessionObserver {
  /** Runs a step and hands on its result or its error. */
  step<T>(step: SessionStep, run: () => Promise<T>): Promise<T>;
  /** Something that came as a session was refused. */
  rejected(reason: RejectionReason, realm: string | undefined): void;
  /** The application has started. Returns what is called when it ends. */
  watch(figures: SessionFigures, realm: string | undefined): () => void;
}
