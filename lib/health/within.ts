import { setTimeout as delay } from 'node:timers/promises';

/** An answer, if it comes in so many milliseconds; else it is an error. Keeps no process alive. */
export async function within<T>(milliseconds: number, answer: Promise<T>): Promise<T> {
  const late = new AbortController();
  const timeout = delay(milliseconds, undefined, { signal: late.signal, ref: false }).then(() => {
    throw new Error('late');
  });
  try {
    return await Promise.race([answer, timeout]);
  } finally {
    late.abort();
    timeout.catch(() => undefined);
  }
}
