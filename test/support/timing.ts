import { randomBytes, randomInt } from 'node:crypto';
import { newSessionId } from '../../lib/core/session-id.js';

/** A guess that shares so many leading characters with what is right, and how long its refusal took. */
export interface Timing {
  readonly shared: number;
  readonly took: number;
}

export interface Guessing {
  /** Tokens that are valid: an attacker wants to find out one of them, character by character. */
  readonly right: readonly string[];
  /** How many characters of it are known already. @default 0 */
  readonly known?: number;
  /** How many guesses. */
  readonly count: number;
  /** Refuses a guess, that was made from one of the right ones. */
  readonly refuse: (guess: string, right: string) => unknown;
}

/** Most characters that a guess shares beyond the known part; with one more it could be right. */
const LONGEST = 42;

/**
 * Times refusals of guesses. Which token each is made from, and how much it has in common with that, is
 * drawn anew for each: whatever else slows this machine down, or depends on what a guess consists of, has
 * nothing to do with it.
 */
export async function timeGuesses({ right, known = 0, count, refuse }: Guessing) {
  const shared = Array.from({ length: count }, () => randomInt(LONGEST + 1));
  const targets = shared.map(() => right[randomInt(right.length)]!);
  const guesses = targets.map((target, i) => guessOf(target, known, shared[i]!));
  const took = new Float64Array(count);
  for (let i = 0; i < count; i++) {
    const [guess, target] = [guesses[i]!, targets[i]!];
    const start = performance.now();
    const pending = refuse(guess, target);
    if (pending instanceof Promise) await pending;
    took[i] = performance.now() - start;
  }
  // Until the code is compiled, it takes as long as that takes.
  return shared.map((length, i) => ({ shared: length, took: took[i]! })).slice(count / 10);
}

/** Begins as the right one does, differs in the next character, and goes on as any other could. */
function guessOf(right: string, known: number, shared: number): string {
  const at = known + shared;
  let other: string;
  do {
    const id = known > 0 ? right.slice(0, right.indexOf('.')) : newSessionId();
    other = right.includes('.') ? `${id}.${randomBytes(32).toString('base64url')}` : id;
  } while (other[at] === right[at]);
  // One flat string, as those that come with a request.
  return Buffer.from(right.slice(0, at) + other.slice(at), 'latin1').toString('latin1');
}

/**
 * Spearman's rank correlation of what was shared and the time that the refusal took, in standard
 * deviations of what chance alone gives. Ranks: a pause of the machine is one slow guess among others.
 */
export function correlationOf(timings: readonly Timing[]): number {
  const x = ranksOf(timings.map(({ shared }) => shared));
  const y = ranksOf(timings.map(({ took }) => took));
  const mean = (timings.length + 1) / 2;
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < timings.length; i++) {
    const [dx, dy] = [x[i]! - mean, y[i]! - mean];
    xy += dx * dy;
    xx += dx * dx;
    yy += dy * dy;
  }
  return (xy / Math.sqrt(xx * yy)) * Math.sqrt(timings.length - 1);
}

/** Equal values have the same rank, the middle of those that they take up. */
function ranksOf(values: readonly number[]): Float64Array {
  const order = values.map((_, i) => i).sort((a, b) => values[a]! - values[b]!);
  const ranks = new Float64Array(values.length);
  for (let from = 0; from < order.length;) {
    let to = from;
    while (to + 1 < order.length && values[order[to + 1]!] === values[order[from]!]) to++;
    for (let i = from; i <= to; i++) ranks[order[i]!] = (from + to) / 2 + 1;
    from = to + 1;
  }
  return ranks;
}
