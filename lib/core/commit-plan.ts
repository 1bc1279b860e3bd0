import type { Renewal } from './session-renewal.js';

/** What is known about a session when it is to be written. */
export interface CommitFacts {
  /** The store has a record for it, as far as this request has seen. */
  readonly stored: boolean;
  /** Its id gave way to an authenticated successor that this request may not follow. */
  readonly superseded: boolean;
  /** A commit found that another request ended it. */
  readonly ended: boolean;
  readonly destroyed: boolean;
  readonly renewal: Renewal['kind'] | undefined;
  readonly changed: boolean;
  /** There is nothing in it. */
  readonly empty: boolean;
}

/** The one thing that a commit does. */
export type CommitPlan = 'nothing' | 'create' | 'save' | 'replace' | 'delete' | 'refuse';

/** Decides what a commit does. The only place that decides it; does nothing itself. */
export function commitPlan(facts: CommitFacts): CommitPlan {
  if (facts.destroyed) return 'delete';
  if (facts.ended) return 'nothing';
  // To leave everything behind and begin with nothing needs no new session.
  if (facts.renewal === 'start-over' && facts.empty) return facts.stored ? 'delete' : 'nothing';
  if (facts.renewal && facts.stored) return 'replace';
  if (facts.renewal === 'authenticate') return 'create';
  if (!facts.changed) return 'nothing';
  if (facts.stored) return 'save';
  return facts.superseded && facts.renewal !== 'start-over' ? 'refuse' : 'create';
}
