/** How many are asked again at once. */
const FEW = 4;

/**
 * Buckets that could not be read. They are asked again a few at a time: a server that does not answer lets
 * each call wait, and those of others are not to wait behind them.
 */
export class FailedBuckets {
  readonly #buckets = new Set<string>();

  has(bucket: string): boolean {
    return this.#buckets.has(bucket);
  }

  /** Once more, or for the first time. */
  add(bucket: string): void {
    this.#buckets.delete(bucket);
    this.#buckets.add(bucket);
  }

  /** It could be read; `true` if it could not before. */
  delete(bucket: string): boolean {
    return this.#buckets.delete(bucket);
  }

  /** Those whose turn it is to be asked again. */
  few(): string[] {
    return [...this.#buckets].slice(0, FEW);
  }

  all(): string[] {
    return [...this.#buckets];
  }
}
