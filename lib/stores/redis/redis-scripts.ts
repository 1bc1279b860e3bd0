import { createHash } from 'node:crypto';
import { VERSION_LENGTH } from '../../core/session-store.interface.js';

/** A server-side script: all its keys in KEYS, its replies bulk strings and integers only. */
export interface RedisScript {
  readonly source: string;
  readonly sha: string;
  readonly keys: number;
}

function script(keys: number, source: string): RedisScript {
  return { keys, source, sha: createHash('sha1').update(source).digest('hex') };
}

const LAST = VERSION_LENGTH - 1;

/**
 * KEYS record · ARGV value, ttl. 1 if stored, 0 if the key is taken. A create that is sent twice,
 * because its reply was lost, finds its own value.
 */
export const CREATE = script(
  1,
  `if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.call('GETRANGE', KEYS[1], 0, ${LAST}) == string.sub(ARGV[1], 1, ${VERSION_LENGTH}) then return 1 end
return 0`,
);

/**
 * KEYS record · ARGV expected version, value, ttl (empty: keep). 1 if stored, 0 if there is no
 * record, else the record that is there. A save that is sent twice finds its own version.
 */
export const SAVE = script(
  1,
  `local version = redis.call('GETRANGE', KEYS[1], 0, ${LAST})
if version == ARGV[1] then
  if ARGV[3] == '' then
    redis.call('SET', KEYS[1], ARGV[2], 'KEEPTTL')
  else
    redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  end
  return 1
end
if version == '' then return 0 end
if version == string.sub(ARGV[2], 1, ${VERSION_LENGTH}) then return 1 end
return redis.call('GET', KEYS[1])`,
);

/** KEYS record. The record and the milliseconds that it still has, or nothing. */
export const LOAD_REMAINING = script(
  1,
  `local value = redis.call('GET', KEYS[1])
if not value then return {} end
return {value, redis.call('PTTL', KEYS[1])}`,
);
