import { timingSafeEqual } from 'node:crypto';
import type { SessionIdSigner, VerifiedToken } from '../core/session-id-signer.interface.js';
import { isSessionId } from '../core/session-id.js';
import { Hmac } from './hmac.js';
import { HmacSessionReferences } from './hmac-session.references.js';
import type { Keyring } from './keyring.js';
import { openWithId, sealWithId } from './successor.sealer.js';

const ID_LENGTH = 44;
/** What a client has seen, between id and MAC: a count, in base 36. */
const SEEN = /^~([1-9a-z][0-9a-z]{0,6})$/;
const MAC_LENGTH = 1 + 43;
const MAC_SHAPE = /^\.[A-Za-z0-9_-]{43}$/;
// Both serve every call: nothing here waits.
const GIVEN = Buffer.alloc(MAC_LENGTH);
const OWN = Buffer.alloc(MAC_LENGTH, '.');

/**
 * With secrets a token is `<id>.<HMAC-SHA-256>`: a forged one is refused without asking the
 * store. Without secrets the token is the id itself, 255 random bits that nobody can guess.
 *
 * Behind the id may stand `~<count>`, the newest version that the client has seen; the MAC is of both. Without secrets
 * only who has the id could alter it, and would merely see an older copy of their own session, or none.
 */
export class HmacSessionIdSigner implements SessionIdSigner {
  readonly #macs: readonly Hmac[];
  readonly references: HmacSessionReferences;

  constructor(keyring: Keyring) {
    this.references = new HmacSessionReferences(keyring);
    this.#macs = keyring.keysFor('session-id').map((key) => new Hmac(key));
  }

  sign(id: string, seen?: number): string {
    const text = seen === undefined ? id : `${id}~${seen.toString(36)}`;
    const [mac] = this.#macs;
    return mac ? `${text}.${mac.textOf(text)}` : text;
  }

  verify(token: string): VerifiedToken | undefined {
    const isSigned = this.#macs.length > 0;
    const text = isSigned ? token.slice(0, -MAC_LENGTH) : token;
    const id = text.slice(0, ID_LENGTH);
    if (!isSessionId(id)) return undefined;
    const [, count] = text.length > ID_LENGTH ? (SEEN.exec(text.slice(ID_LENGTH)) ?? []) : [];
    if (text.length > ID_LENGTH && count === undefined) return undefined;
    const index = isSigned ? this.#signedBy(text, token.slice(-MAC_LENGTH)) : 0;
    if (index < 0) return undefined;
    const verified = { id, stale: index > 0 };
    return count === undefined ? verified : { ...verified, seen: parseInt(count, 36) };
  }

  /** Which key has signed a text; -1: none. Spelled in another way the same MAC is none. */
  #signedBy(text: string, given: string): number {
    if (!MAC_SHAPE.test(given)) return -1;
    GIVEN.write(given, 'latin1');
    return this.#macs.findIndex((own) => {
      OWN.write(own.textOf(text), 1, 'latin1');
      return timingSafeEqual(OWN, GIVEN);
    });
  }

  sealSuccessor(oldId: string, successorId: string): string {
    return sealWithId(oldId, successorId);
  }

  openSuccessor(oldId: string, sealed: string): string | undefined {
    const id = openWithId(oldId, sealed);
    return id !== undefined && isSessionId(id) ? id : undefined;
  }
}
