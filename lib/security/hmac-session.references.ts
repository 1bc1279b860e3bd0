import { hash, timingSafeEqual } from 'node:crypto';
import { isHandle } from '../core/session-id.js';
import type { ReadReference, SessionReferences } from '../core/session-references.interface.js';
import { Hmac } from './hmac.js';
import type { Keyring } from './keyring.js';

/** Characters of an owner's mark, 132 bits. */
const MARK = 22;
const SHAPE = /^([\w-]{45})\.([\w-]{22})\.([\w-]{43})$/;

/**
 * With secrets a reference is `<handle>.<mark of the owner>.<HMAC-SHA-256>`: a service believes it only if
 * somebody with the secrets has made it, and only as long as the session is the same one's. The keys have a
 * purpose of their own, so a reference is no token of a client, nor the other way round. Without secrets it
 * is the handle, and everybody who can send a message is believed.
 */
export class HmacSessionReferences implements SessionReferences {
  readonly #macs: readonly Hmac[];

  constructor(keyring: Keyring) {
    this.#macs = keyring.keysFor('reference').map((key) => new Hmac(key));
  }

  make(handle: string, owner: string): string {
    const [mac] = this.#macs;
    if (!mac) return handle;
    const mark = markOf(mac, owner);
    return `${handle}.${mark}.${proofBy(mac, handle, mark)}`;
  }

  read(reference: string): ReadReference | undefined {
    if (this.#macs.length === 0) {
      if (!isHandle(reference)) return undefined;
      return { handle: reference, proven: false, isOf: () => true };
    }
    const [, handle = '', mark = '', proof = ''] = SHAPE.exec(reference) ?? [];
    if (!isHandle(handle)) return undefined;
    const mac = this.#macs.find((one) => isSame(proofBy(one, handle, mark), proof));
    if (!mac) return undefined;
    return { handle, proven: true, isOf: (owner) => isSame(markOf(mac, owner), mark) };
  }
}

const proofBy = (mac: Hmac, handle: string, mark: string): string =>
  mac.of(`session ${handle} ${mark}`).toString('base64url');

/** Of texts of any length and any letters, so a digest first. */
const markOf = (mac: Hmac, owner: string): string =>
  mac
    .of(`owner ${hash('sha256', owner, 'base64url')}`)
    .toString('base64url')
    .slice(0, MARK);

const isSame = (one: string, other: string): boolean =>
  one.length === other.length && timingSafeEqual(Buffer.from(one), Buffer.from(other));
