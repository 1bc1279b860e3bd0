import { createCipheriv, createDecipheriv, randomFillSync, type KeyObject } from 'node:crypto';

const NONCE = 12;
const TAG = 16;

// One call into the random source serves many nonces.
const pool = Buffer.allocUnsafeSlow(NONCE * 256);
let used = pool.length;

function writeNonce(target: Buffer): void {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  used += pool.copy(target, 0, used, used + NONCE);
}

/**
 * Encrypts a text by AES-256-GCM (NIST SP 800-38D): nonce, ciphertext and tag, in base64url.
 *
 * @param key no bytes: with those a cipher takes 12 µs on Node 24, instead of 2
 * @param context has to be the same when it is opened
 */
export function sealText(key: KeyObject, text: string, context = ''): string {
  return sealBytes(key, text, context).toString('base64url');
}

/** The same, of a text or bytes, as bytes. */
export function sealBytes(key: KeyObject, plain: string | Buffer, context = ''): Buffer {
  const nonce = Buffer.allocUnsafe(NONCE);
  writeNonce(nonce);
  const cipher = createCipheriv('aes-256-gcm', key, nonce);
  cipher.setAAD(Buffer.from(context));
  const sealed = typeof plain === 'string' ? cipher.update(plain, 'utf8') : cipher.update(plain);
  cipher.final();
  return Buffer.concat([nonce, sealed, cipher.getAuthTag()]);
}

/** Reads what {@link sealText} wrote; `undefined` if the key or the context is another, or it was altered. */
export function openText(key: KeyObject, sealed: string, context = ''): string | undefined {
  return openBytes(key, Buffer.from(sealed, 'base64url'), context)?.toString('utf8');
}

/** The same of what {@link sealBytes} wrote. */
export function openBytes(key: KeyObject, bytes: Buffer, context = ''): Buffer | undefined {
  if (bytes.length < NONCE + TAG) return undefined;
  const nonce = bytes.subarray(0, NONCE);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG });
  decipher.setAAD(Buffer.from(context));
  decipher.setAuthTag(bytes.subarray(-TAG));
  const plain = decipher.update(bytes.subarray(NONCE, -TAG));
  try {
    decipher.final();
  } catch {
    return undefined;
  }
  return plain;
}
