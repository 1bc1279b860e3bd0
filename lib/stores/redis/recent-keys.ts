/** Keys that are remembered for certain; twice as many at most, some megabytes. */
const REMEMBERED = 50_000;

/**
 * What SCAN has told lately. It tells a key twice only while its table becomes smaller, and then soon after the
 * first time: the few buckets that are walked just then become one. To remember them is enough, and takes the
 * same memory however many keys there are.
 */
export class RecentKeys {
  #young = new Set<string>();
  #old = new Set<string>();

  /** @param most keys that are remembered for certain */
  constructor(private readonly most = REMEMBERED) {}

  /** Whether it is new, as far as is remembered. */
  add(key: string): boolean {
    if (this.#young.has(key) || this.#old.has(key)) return false;
    if (this.#young.size >= this.most) [this.#old, this.#young] = [this.#young, new Set()];
    this.#young.add(key);
    return true;
  }
}

/** A command was refused since the key holds something else than it is for. */
export const isOtherType = ({ message }: Error): boolean => message.startsWith('WRONGTYPE');
