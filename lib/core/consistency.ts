/**
 * What a request makes of the copies that a near cache keeps: `near`, a copy on its node will do, which is as it was some
 * milliseconds ago; `strong`, the store itself is asked.
 */
export type SessionConsistency = 'near' | 'strong';

export const CONSISTENCIES: readonly SessionConsistency[] = ['near', 'strong'];

/** What one request makes of copies. */
export class UseOfCopies {
  consistency: SessionConsistency = 'strong';
  /** The count of the newest version that its client has seen, or has written now. */
  seen: number | undefined;
  /** The same, as its token says. */
  told: number | undefined;
  /** The session was served from one. */
  served = false;
}
