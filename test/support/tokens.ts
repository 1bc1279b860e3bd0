import { decodeJwt } from 'jose';
import assert from 'node:assert/strict';
import { Keyring } from '../../lib/security/keyring.js';
import { SealedForm } from '../../lib/stores/carried/sealed.form.js';
import { NEAR_CACHE, SECRET } from './app.js';
import { STORE } from './store-under-test.js';

const ID = '[\\w-]{44}';
/** The newest version that its client has seen, by which a node knows that its copy is older. */
const SEEN = NEAR_CACHE ? '~[1-9a-z][0-9a-z]*' : '';

/** A token in this run, where the application has no secret. */
export const TOKEN = new RegExp(`^${ID}${SEEN}$`);
/** The same, where it has one. */
export const SIGNED_TOKEN = new RegExp(`^${ID}${SEEN}\\.[\\w-]{43}$`);

/** The id that a token has in front, or in it. */
export const idIn = (token: string): string => CARRIED[STORE ?? '']?.(token) ?? token.slice(0, 44);

/** How a run reads it whose clients carry their sessions, under the usual secret and name. */
const CARRIED: Readonly<Record<string, (token: string) => string | undefined>> = {
  cookie: (token) => SEALED.read(token)?.id,
  jwt: (token) => (token.startsWith('ey') ? decodeJwt(token).jti : undefined),
};
const SEALED = new SealedForm(new Keyring([SECRET]), {
  realm: '__Host-session ',
  compressAbove: 1_024,
  mostBytes: 131_072,
});

/**
 * What an answer tells of the token after a write that changes nothing about the id: nothing or, where nodes keep
 * copies, the same id with what its client has seen now.
 */
export function expectNoNewId(told: string | undefined, before: string | undefined): void {
  if (!NEAR_CACHE) assert.equal(told, undefined);
  else assert.equal(idIn(told ?? 'nothing'), idIn(before ?? 'no id'));
}
