import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';
import { openText, sealText } from './aes.js';

/** Encrypts a session id so that only who has another one can read it. */
export const sealWithId = (id: string, text: string): string => sealText(keyOf(id), text);

/** Reads what {@link sealWithId} wrote; `undefined` if it was made for another id or altered. */
export const openWithId = (id: string, sealed: string): string | undefined =>
  openText(keyOf(id), sealed);

function keyOf(id: string): KeyObject {
  const key = hkdfSync('sha256', id, '', 'nestjs-distributed-session/successor', 32);
  return createSecretKey(Buffer.from(key));
}
