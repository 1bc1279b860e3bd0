import { timingSafeEqual } from 'node:crypto';
import type { SessionIdSigner, VerifiedToken } from '../core/session-id-signer.interface.js';
import { isSessionId } from '../core/session-id.js';
import { Hmac } from './hmac.js';
import { HmacSessionReferences } from './hmac-session.references.js';
import type { Keyring } from './keyring.js';
import { openWithId, sealWithId } from './successor.sealer.js';

const ID_LENGTH = 44;
const TOKEN_LENGTH = ID_LENGTH + 1 + 43;

/**
 * With secrets a token is `<id>.<HMAC-SHA-256>`: a forged one is refused without asking the
 * store. Without secrets the token is the id itself, 255 random bits that nobody can guess.
 */
export class HmacSessionIdSigner implements SessionIdSigner {
  readonly #macs: readonly Hmac[];
  readonly references: HmacSessionReferences;

  constructor(keyring: Keyring) {
    this.references = new HmacSessionReferences(keyring);
    this.#macs = keyring.keysFor('session-id').map((key) => new Hmac(key));
  }

  sign(id: string): string {
    const [mac] = this.#macs;
    return mac ? `${id}.${mac.of(id).toString('base64url')}` : id;
  }

  verify(token: string): VerifiedToken | undefined {
    if (this.#macs.length === 0) {
      return isSessionId(token) ? { id: token, stale: false } : undefined;
    }
    const id = token.slice(0, ID_LENGTH);
    if (token.length !== TOKEN_LENGTH || token[ID_LENGTH] !== '.' || !isSessionId(id)) {
      return undefined;
    }
    const mac = Buffer.from(token.slice(ID_LENGTH + 1), 'base64url');
    // 43 characters of base64url carry two spare bits: only the canonical spelling counts.
    if (mac.length !== 32 || mac.toString('base64url') !== token.slice(ID_LENGTH + 1)) {
      return undefined;
    }
    const index = this.#macs.findIndex((own) => timingSafeEqual(own.of(id), mac));
    return index < 0 ? undefined : { id, stale: index > 0 };
  }

  sealSuccessor(oldId: string, successorId: string): string {
    return sealWithId(oldId, successorId);
  }

  openSuccessor(oldId: string, sealed: string): string | undefined {
    const id = openWithId(oldId, sealed);
    return id !== undefined && isSessionId(id) ? id : undefined;
  }
}
