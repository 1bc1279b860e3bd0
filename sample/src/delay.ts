import { setTimeout as sleep } from 'node:timers/promises';

/** Longest time that a client may make a request wait, in milliseconds. */
const LONGEST = 5_000;

/** Waits as long as a client asked for, within bounds; tells how long that was. */
export async function delay(milliseconds: number): Promise<number> {
  const bounded = Math.min(Math.max(milliseconds, 0), LONGEST);
  if (bounded > 0) await sleep(bounded);
  return bounded;
}
