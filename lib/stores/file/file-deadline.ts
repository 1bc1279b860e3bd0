import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import { asFailure } from './file-failure.js';

/**
 * Until when a call is wanted. Whoever called has been told that it failed, and may have gone on from there: so
 * nothing that counts begins after it. What the file system was given before cannot be taken back.
 */
export class Deadline {
  #isOver = false;

  /** Its time is over. */
  pass(): SessionStoreUnavailableError {
    this.#isOver = true;
    return new SessionStoreUnavailableError('no answer');
  }

  /** Before each step that changes something. */
  check(): void {
    if (this.#isOver) throw new SessionStoreUnavailableError('no answer');
  }
}

/**
 * Fails if it takes too long: a mount whose server is away answers nothing, for hours.
 *
 * @param timeout milliseconds; `undefined`: it may take as long as it takes
 */
export async function within<T>(
  timeout: number | undefined,
  work: (deadline: Deadline) => Promise<T>,
): Promise<T> {
  const deadline = new Deadline();
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    if (timeout === undefined) return;
    timer = setTimeout(() => reject(deadline.pass()), timeout);
  });
  try {
    return await Promise.race([work(deadline), late]);
  } catch (error) {
    throw asFailure(error);
  } finally {
    clearTimeout(timer);
  }
}
