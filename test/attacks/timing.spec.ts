import { describe, expect, it } from '@jest/globals';
import { newSessionId } from '../../lib/core/session-id.js';
import type { SessionIdSigner } from '../../lib/core/session-id-signer.interface.js';
import { systemClock } from '../../lib/core/clock.js';
import { Keyring } from '../../lib/security/keyring.js';
import { HmacSessionIdSigner } from '../../lib/security/session-id.signer.js';
import { MemorySessionStore } from '../../lib/stores/memory/memory-session.store.js';
import { SECRET } from '../support/app.js';
import { World } from '../support/session-world.js';
import { correlationOf, timeGuesses } from '../support/timing.js';

/*
 * The procedure. An attacker who sends guesses learns something if refusing them takes longer the more of
 * their beginning is right. So 40,000 guesses, each sharing 0 to 42 leading characters with one of 5,000
 * valid tokens, both drawn anew for each, are refused and timed one by one. Spearman's rank correlation of
 * the two is a normal variable if they have nothing to do with each other, whatever else the machine does.
 * Beyond 4.5 standard deviations (1 in 147,000 by chance) it counts as a leak, unless one of two further
 * runs says otherwise: a leak is there in each of them.
 */
const GUESSES = 40_000;
/** So many that what they begin with is as varied as what guesses begin with. */
const TOKENS = 5_000;
const RUNS = 3;
const BOUND = 4.5;

type Refuse = (guess: string, right: string) => unknown;

/** Whether time tells what was shared, and how strongly in each run until one says that it does not. */
async function measure(refuse: Refuse, right: readonly string[], known: number) {
  const runs: number[] = [];
  do {
    const timings = await timeGuesses({ right, known, count: GUESSES, refuse });
    runs.push(Math.abs(correlationOf(timings)));
  } while (runs.length < RUNS && runs.at(-1)! >= BOUND);
  return { runs, leaks: Math.min(...runs) >= BOUND };
}

/** As somebody might write it: stops at the first character that differs. */
function leakyEquals(one: string, other: string): boolean {
  if (one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) if (one[i] !== other[i]) return false;
  return true;
}

const IDS = Array.from({ length: TOKENS }, () => newSessionId());
/** Characters up to and with the dot. */
const ID_PART = IDS[0]!.length + 1;

const unsigned = new HmacSessionIdSigner(new Keyring([]));
const signed = new HmacSessionIdSigner(new Keyring([SECRET]));
const rotating = new HmacSessionIdSigner(new Keyring([`new-${SECRET}`, SECRET]));

/** Compares a signature as somebody might write it. */
class LeakySigner extends HmacSessionIdSigner {
  override verify(token: string) {
    const id = token.slice(0, ID_PART - 1);
    return leakyEquals(token, this.sign(id)) ? { id, stale: false } : undefined;
  }
}

/** A manager over memory that has sessions, and their tokens. */
async function managerWith(signer: SessionIdSigner) {
  const clock = systemClock;
  const store = new MemorySessionStore(clock);
  const { manager } = new World({ store, clock, signer, onRejected: undefined });
  const right: string[] = [];
  for (let i = 0; i < TOKENS; i++) {
    const session = await manager.open([]).load();
    await manager.store(session);
    right.push(manager.tokenOf(session.id));
  }
  const open = (token: string) => manager.open([token]).load();
  return { right, open };
}

describe('how long it takes to refuse a token tells nothing of a valid one', () => {
  it.each<[what: string, signer: SessionIdSigner, makes: SessionIdSigner, known: number]>([
    ['an id without a secret', unsigned, unsigned, 0],
    ['an id with a secret', signed, signed, 0],
    ['a signature', signed, signed, ID_PART],
    ['a signature of an older secret', rotating, signed, ID_PART],
  ])('the signer, of %s', async (_, signer, makes, known) => {
    const right = IDS.map((id) => makes.sign(id));
    expect(signer.verify(right[0]!)).toMatchObject({ id: IDS[0] });
    const { runs, leaks } = await measure((guess) => signer.verify(guess), right, known);
    expect({ runs, leaks }).toEqual({ runs, leaks: false });
  });

  it.each<[what: string, signer: SessionIdSigner, known: number]>([
    ['an id without a secret', unsigned, 0],
    ['an id with a secret', signed, 0],
    ['a signature', signed, ID_PART],
  ])('opening and loading a session, of %s', async (_, signer, known) => {
    const { open, right } = await managerWith(signer);
    expect((await open(right[0]!)).isNew).toBe(false);
    const { runs, leaks } = await measure(open, right, known);
    expect({ runs, leaks }).toEqual({ runs, leaks: false });
  });
});

describe('the same procedure finds out', () => {
  const leaky = new LeakySigner(new Keyring([SECRET]));

  it('who compares an id up to the first character that differs', async () => {
    const find: Refuse = (guess, right) => unsigned.verify(guess) && leakyEquals(guess, right);
    const { runs, leaks } = await measure(find, IDS, 0);
    expect({ runs, leaks }).toEqual({ runs, leaks: true });
  });

  it('who compares a signature up to the first character that differs', async () => {
    const right = IDS.map((id) => leaky.sign(id));
    expect(leaky.verify(right[0]!)).toMatchObject({ id: IDS[0] });
    const { runs, leaks } = await measure((guess) => leaky.verify(guess), right, ID_PART);
    expect({ runs, leaks }).toEqual({ runs, leaks: true });
  });

  it('the same, where a session is opened and loaded', async () => {
    const { open, right } = await managerWith(leaky);
    expect((await open(right[0]!)).isNew).toBe(false);
    const { runs, leaks } = await measure(open, right, ID_PART);
    expect({ runs, leaks }).toEqual({ runs, leaks: true });
  });
});
