import { createHash } from 'node:crypto';

/**
 * A server-side script; its replies are bulk strings and integers only. All keys that the caller can
 * know are in KEYS. Those that it cannot, the records whose handles stand in an index, are named by
 * the index and lie in its slot.
 */
export interface RedisScript {
  readonly source: string;
  readonly sha: string;
  /** Its last argument says until when it is wanted, by the server's clock. */
  readonly timed: boolean;
  /** The same, which tells what it has done. */
  readonly telling?: RedisScript;
}

export function script(...parts: readonly string[]): RedisScript {
  const source = parts.join('\n');
  return { source, sha: createHash('sha1').update(source).digest('hex'), timed: false };
}

/**
 * A change of the record `KEYS[1]` after which this connection is told of the next one: Redis tells each reader of a key
 * once, and this reads it last.
 */
export function followed(change: RedisScript): RedisScript {
  let known = FOLLOWED.get(change);
  if (!known) {
    const { timed } = change;
    known = { ...script('local reply = (function()', change.source, FOLLOW), timed };
    FOLLOWED.set(change, known);
  }
  return known;
}

const FOLLOWED = new WeakMap<RedisScript, RedisScript>();
const FOLLOW = `end)()
redis.call('EXISTS', KEYS[1])
return reply`;
