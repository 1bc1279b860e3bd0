import { BUCKETS, isHandle } from '../core/session-id.js';
import type { StoreNews } from '../core/store-news.interface.js';

/** What ends a session for good. */
const ENDS = ['destroyed', 'revoked', 'expired'];
const AT_ONCE = 500;
/** Buckets that are asked together. */
const WIDTH = 16;

/**
 * Handles that nobody may use any more, as far as a store remembers what it has told: of sessions that ended,
 * and of ids that were renewed. A handle that has ended never lives again, so it does not matter when that was.
 */
export class ToldEnds {
  readonly #ended = new Set<string>();
  /** Up to where each bucket was heard. */
  readonly #positions = new Map<string, string>();

  constructor(private readonly news: StoreNews) {}

  has(handle: string): boolean {
    return this.#ended.has(handle);
  }

  /**
   * Hears what was told since the last time; at first all that is remembered.
   *
   * @returns handles that were not known to have ended
   */
  async catchUp(buckets: readonly string[] = BUCKETS): Promise<string[]> {
    const fresh: string[] = [];
    for (let at = 0; at < buckets.length; at += WIDTH) {
      const some = buckets.slice(at, at + WIDTH);
      const told = await Promise.all(some.map((bucket) => this.#heardFrom(bucket)));
      fresh.push(...told.flat());
    }
    return fresh;
  }

  async #heardFrom(bucket: string): Promise<string[]> {
    const fresh: string[] = [];
    for (;;) {
      const told = await this.news.recall(bucket, this.#positions.get(bucket), AT_ONCE);
      for (const { kind, text } of told) if (kind === 'told') fresh.push(...this.#learn(text));
      const last = told.at(-1);
      if (last) this.#positions.set(bucket, last.position);
      if (told.length < AT_ONCE) return fresh;
    }
  }

  #learn(text: string): string[] {
    const fresh = endsIn(text).filter((handle) => !this.#ended.has(handle));
    for (const handle of fresh) this.#ended.add(handle);
    return fresh;
  }
}

/** A message, and a line for each session that it is about; others may have written it. */
function endsIn(text: string): string[] {
  const ended: string[] = [];
  let isEnd = false;
  for (const line of text.split('\n')) {
    if (line[0] === '{') {
      const { types, previous } = readMessage(line);
      isEnd = types.some((type) => ENDS.includes(type));
      if (previous !== undefined) ended.push(previous);
      continue;
    }
    const handle = line.split(' ', 1)[0] as string;
    if (isEnd && isHandle(handle)) ended.push(handle);
  }
  return ended;
}

/** As `SessionNews` writes it. */
function readMessage(line: string): { types: readonly string[]; previous: string | undefined } {
  try {
    const { t, h } = JSON.parse(line) as { t?: unknown; h?: unknown };
    const types = Array.isArray(t) ? (t as unknown[]).map(String) : [];
    return { types, previous: typeof h === 'string' && isHandle(h) ? h : undefined };
  } catch {
    return { types: [], previous: undefined };
  }
}
