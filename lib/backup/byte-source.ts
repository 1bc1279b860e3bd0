/** Bytes as they are wanted, from bytes as they come. */
export class ByteSource {
  readonly #from: AsyncIterator<Buffer>;
  #chunks: Buffer[] = [];
  #held = 0;
  #position = 0;

  constructor(bytes: AsyncIterable<Buffer>) {
    this.#from = bytes[Symbol.asyncIterator]();
  }

  /** Bytes that were taken. */
  get position(): number {
    return this.#position;
  }

  /** So many bytes; `undefined` if there are not as many. */
  async take(count: number): Promise<Buffer | undefined> {
    while (this.#held < count) {
      const { value, done } = (await this.#from.next()) as IteratorResult<Buffer, undefined>;
      if (done) return undefined;
      this.#chunks.push(value);
      this.#held += value.length;
    }
    const all = this.#chunks.length === 1 ? this.#chunks[0]! : Buffer.concat(this.#chunks);
    this.#chunks = all.length > count ? [all.subarray(count)] : [];
    this.#held = all.length - count;
    this.#position += count;
    return all.subarray(0, count);
  }
}
