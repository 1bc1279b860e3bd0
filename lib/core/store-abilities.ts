/**
 * What becomes of a session that is ended while somebody still has its token. `'at-once'`: the store has it no
 * more. `'by-list'`: a list of what was ended is asked with every load. `'none'`: only the client that ends it
 * forgets it, and a copy serves until its time is over.
 */
export type RevocationAbility = 'at-once' | 'by-list' | 'none';

/**
 * What a store can do. What it cannot is refused by a typed error, and told in the log at boot: nothing is
 * pretended.
 */
export interface StoreAbilities {
  /** Of two changes at once none is lost: a save on another version is told of it. @default true */
  readonly versioned: boolean;
  /** Sessions can be listed and found by whose they are. @default whether it has the verbs for it */
  readonly indexed: boolean;
  /** It tells what happens to sessions. @default whether it has `news` */
  readonly told: boolean;
  /** `count()` tells how many sessions there are. @default true */
  readonly counted: boolean;
  /** A session can be read and changed without a request of its client, by its id or handle. @default true */
  readonly reachable: boolean;
  /** @default 'at-once' */
  readonly revocation: RevocationAbility;
}

const SENTENCES = {
  versioned: 'of two changes at once the last answer wins',
  indexed: 'sessions cannot be listed',
  told: 'no events are told',
  counted: 'sessions are not counted',
  reachable: 'a session can be used in requests of its client only',
} as const;

/** What a store declares that it cannot do, for the log; `undefined`: nothing. */
export function describeLacks(abilities: Partial<StoreAbilities> = {}): string | undefined {
  const names = Object.keys(SENTENCES) as (keyof typeof SENTENCES)[];
  const lacks: string[] = names
    .filter((name) => abilities[name] === false)
    .map((n) => SENTENCES[n]);
  if (abilities.revocation === 'by-list') lacks.push('what was ended is refused by a list');
  if (abilities.revocation === 'none') lacks.push('nothing can be revoked');
  return lacks.length > 0 ? lacks.join(', ') : undefined;
}
