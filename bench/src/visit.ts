/** What every contender keeps in a session: who it is, a number that changes, and a cart. */
export interface Visit {
  readonly user: string;
  visits: number;
  readonly cart: readonly Item[];
}

interface Item {
  readonly sku: string;
  readonly title: string;
  readonly price: number;
}

/** Sessions of each user, where users look at all of theirs. */
export const DEVICES = 10;

/** Counts from a number of six digits: a change leaves the size as it is. */
const SIX_DIGITS = 100_000;

const NOBODY = 'user-000000';
const carts = new Map<number, readonly Item[]>();

/** A visit whose JSON is of exactly this many bytes, for a user whose name is as long as all names are. */
export function visitOf(user: string, bytes: number): Visit {
  const cart = carts.get(bytes) ?? cartFor(bytes);
  carts.set(bytes, cart);
  return { user, visits: SIX_DIGITS, cart };
}

/** Letters of a title at least, where there is room for them. */
const TITLE = 40;

/** As many items as fit, their titles filled up. */
function cartFor(bytes: number): Item[] {
  const letters = bytes < 500 ? 0 : TITLE;
  const cart: Item[] = [];
  const size = () => JSON.stringify({ user: NOBODY, visits: SIX_DIGITS, cart }).length;
  do cart.push({ sku: `sku-${1_000 + cart.length}`, title: 'x'.repeat(letters), price: 1_999 });
  while (size() + letters + 70 < bytes);
  const missing = bytes - size();
  if (missing < 0) throw new RangeError(`a visit has at least ${size()} bytes`);
  return cart.map((item, i) => {
    const share = Math.floor(missing / cart.length) + (i < missing % cart.length ? 1 : 0);
    return { ...item, title: titleOf(i, letters + share) };
  });
}

/**
 * A title of so many letters, like no other: it must not be easier to compress than titles are. Its syllables come
 * from a generator of Park and Miller's, the same ones each time.
 */
function titleOf(item: number, letters: number): string {
  let state = item + 1;
  const one = (of: string): string => {
    state = (state * 48_271) % 2_147_483_647;
    return of[(state >> 8) % of.length] as string;
  };
  let title = '';
  while (title.length < letters) {
    title += one('bcdfghjklmnprstvw') + one('aaeeiou') + one('lnrst  ');
  }
  return title.slice(0, letters);
}

/** What `GET /read` answers: short, and only to be known from the session. */
export const summaryOf = (visit: Visit) => ({ user: visit.user, items: visit.cart.length });
