import { SessionStoreCannotError, SessionUnavailableError } from '../../core/session.errors.js';

/** Whether a client can be handed anything. */
export interface Recipient {
  /** It never can: why, and what to do instead. */
  readonly takesNothing: string | undefined;
  /** The headers have left: it cannot any more. */
  readonly isAnswered: () => boolean;
}

/**
 * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) if what is written would reach nobody; after the headers
 * have left as a SessionStoreCannotError
 */
export function mustTake({ takesNothing, isAnswered }: Recipient): void {
  if (takesNothing !== undefined) throw new SessionUnavailableError(takesNothing);
  if (isAnswered()) throw new SessionStoreCannotError(ANSWERED);
}

export const takesAny = ({ takesNothing, isAnswered }: Recipient): boolean =>
  takesNothing === undefined && !isAnswered();

/** What is not handed out has moved no idle window: the next request is to do it. */
export function notMoved(): Promise<never> {
  const moving = Promise.reject(new SessionStoreCannotError(ANSWERED));
  // Whoever does not look at it is not told.
  moving.catch(() => undefined);
  return moving;
}

const ANSWERED =
  'the client carries its session, and the headers of the answer, which hand it out, have left; change or end it before the first byte, or by another request';
