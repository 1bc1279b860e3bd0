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
export async function toldEnds(news: StoreNews): Promise<Set<string>> {
  const ended = new Set<string>();
  for (let at = 0; at < BUCKETS.length; at += WIDTH) {
    const some = BUCKETS.slice(at, at + WIDTH);
    await Promise.all(some.map((bucket) => endsOf(news, bucket, ended)));
  }
  return ended;
}

async function endsOf(news: StoreNews, bucket: string, ended: Set<string>): Promise<void> {
  let after: string | undefined;
  for (;;) {
    const told = await news.recall(bucket, after, AT_ONCE);
    for (const { kind, text } of told) if (kind === 'told') endsIn(text, ended);
    if (told.length < AT_ONCE) return;
    after = told.at(-1)?.position;
  }
}

/** A message, and a line for each session that it is about; others may have written it. */
function endsIn(text: string, ended: Set<string>): void {
  let isEnd = false;
  for (const line of text.split('\n')) {
    if (line[0] === '{') {
      const { types, previous } = readMessage(line);
      isEnd = types.some((type) => ENDS.includes(type));
      if (previous !== undefined) ended.add(previous);
      continue;
    }
    const handle = line.split(' ', 1)[0] as string;
    if (isEnd && isHandle(handle)) ended.add(handle);
  }
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
