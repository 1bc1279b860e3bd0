import assert from 'node:assert/strict';
import { NEAR_CACHE } from './app.js';

const ID = '[\\w-]{44}';
/** The newest version that its client has seen, by which a node knows that its copy is older. */
const SEEN = NEAR_CACHE ? '~[1-9a-z][0-9a-z]*' : '';

/** A token in this run, where the application has no secret. */
export const TOKEN = new RegExp(`^${ID}${SEEN}$`);
/** The same, where it has one. */
export const SIGNED_TOKEN = new RegExp(`^${ID}${SEEN}\\.[\\w-]{43}$`);

/** The id that a token has in front. */
export const idIn = (token: string): string => token.slice(0, 44);

/**
 * What an answer tells of the token after a write that changes nothing about the id: nothing or, where nodes keep
 * copies, the same id with what its client has seen now.
 */
export function expectNoNewId(told: string | undefined, before: string | undefined): void {
  if (!NEAR_CACHE) assert.equal(told, undefined);
  else assert.equal(idIn(told ?? 'nothing'), idIn(before ?? 'no id'));
}
