/** As many are remembered; then the older half is due again. */
const REMEMBERED = 50_000;

/** When this node has moved the idle window of which record. */
export class RecentTouches {
  #recent = new Map<string, number>();
  #older = new Map<string, number>();

  constructor(private readonly touchAfter: number) {}

  /** Whether it is to be moved now; asked twice, only once. */
  isDue(id: string, now: number): boolean {
    const last = this.#recent.get(id) ?? this.#older.get(id);
    if (last !== undefined && now >= last && now - last < this.touchAfter) return false;
    if (this.#recent.size >= REMEMBERED / 2) {
      this.#older = this.#recent;
      this.#recent = new Map();
    }
    this.#recent.set(id, now);
    return true;
  }
}
