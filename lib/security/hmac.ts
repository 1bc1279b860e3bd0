import { hash } from 'node:crypto';

const BLOCK = 64;
const DIGEST = 32;

/**
 * HMAC-SHA-256 (RFC 2104) of short ASCII texts under one key, by two one-shot hashes. Node's
 * `createHmac` makes a native object each time; with a key of bytes it takes 12 µs on Node 24.
 */
export class Hmac {
  // The one buffer serves every call: nothing here waits.
  #inner = Buffer.alloc(BLOCK, 0x36);
  readonly #outer = Buffer.alloc(BLOCK + DIGEST, 0x5c);

  /** @param key of at most 64 bytes; a longer one would have to be hashed first */
  constructor(key: Buffer) {
    if (key.length > BLOCK) throw new RangeError('an HMAC key of more than 64 bytes');
    key.forEach((byte, i) => {
      this.#inner[i]! ^= byte;
      this.#outer[i]! ^= byte;
    });
  }

  of(text: string): Buffer {
    return hash('sha256', this.#around(text), 'buffer');
  }

  /** The same in base64url: no memory outside of the heap is taken for it. */
  textOf(text: string): string {
    return hash('sha256', this.#around(text), 'base64url');
  }

  #around(text: string): Buffer {
    this.#outer.write(hash('sha256', this.#messageOf(text), 'binary'), BLOCK, 'latin1');
    return this.#outer;
  }

  #messageOf(text: string): Buffer {
    const length = BLOCK + text.length;
    if (this.#inner.length !== length) {
      const longer = Buffer.alloc(length);
      this.#inner.copy(longer, 0, 0, BLOCK);
      this.#inner = longer;
    }
    this.#inner.write(text, BLOCK, 'latin1');
    return this.#inner;
  }
}
