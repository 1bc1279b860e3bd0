/** Bits: 4 MiB, whatever comes. Of a million handles one in 5,000 is mistaken for known, of ten million one in four. */
const BITS = 2 ** 25;

/**
 * Handles that came by, in a bounded piece of memory (a Bloom filter): none of them is ever unknown; one that did
 * not come may count as known.
 */
export class HandleFilter {
  readonly #bits = new Uint8Array(BITS / 8);

  add(handle: string): void {
    for (const bit of bitsOf(handle)) this.#bits[bit >> 3]! |= 1 << (bit & 7);
  }

  has(handle: string): boolean {
    return bitsOf(handle).every((bit) => (this.#bits[bit >> 3]! & (1 << (bit & 7))) !== 0);
  }
}

/** A handle is a digest: its own bits are as good as any. */
function bitsOf(handle: string): number[] {
  const digest = Buffer.from(handle.slice(2), 'base64url');
  return [0, 4, 8, 12].map((at) => digest.readUInt32BE(at) % BITS);
}
