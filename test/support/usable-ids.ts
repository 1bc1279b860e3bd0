import { appendFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { handleOf } from '../../lib/core/session-id.js';

const ID_LENGTH = 44;
const RUNS = new RegExp(`[A-Za-z0-9_-]{${ID_LENGTH},}`, 'g');

/**
 * Looks for session ids in everything that a Redis has, without knowing any: whatever has the shape
 * of an id is one if a session with its handle exists.
 */
export async function usableIdsIn(client: Redis): Promise<{ places: string[]; handles: string[] }> {
  const texts = new Map<string, string>();
  let cursor = '0';
  do {
    const [next, keys] = await client.scan(cursor, 'COUNT', 1_000);
    for (const key of keys) texts.set(key, await textOf(client, key));
    cursor = next;
  } while (cursor !== '0');
  const handles = new Set([...texts.keys()].map((key) => key.slice(key.lastIndexOf(':') + 1)));
  const places = [...texts].flatMap(([key, value]) => [
    ...(hasId(key, handles) ? [`the key ${key}`] : []),
    ...(hasId(value, handles) ? [`the value of ${key}`] : []),
    ...(process.env.SESSION_ENCRYPTION && legible(key, value) ? [`${key}, which is legible`] : []),
  ]);
  return { places, handles: [...handles] };
}

/** A record, or the handles of a place. */
async function textOf(client: Redis, key: string): Promise<string> {
  const record = await client.get(key).catch(() => undefined);
  if (record !== undefined) return record ?? '';
  return (await client.zrange(key, '0', '-1').catch(() => [])).join('\n');
}

/** Tells the gate which sessions there were, so that it can look for their ids in the run's log. */
export function noteHandles(handles: readonly string[]): void {
  const file = process.env.SESSION_HANDLES_FILE;
  if (file && handles.length > 0) appendFileSync(file, handles.join('\n') + '\n');
}

/**
 * Records of which anything can be read, in a run with encryption: of a sealed one there is nothing but its
 * version, and letters that say nothing.
 */
const legible = (key: string, value: string): boolean =>
  key.includes(':s:') &&
  value[14] === '1' &&
  !/^[0-9a-f]{8}[\w-]{6}1\*[\w-]+\n\+?[\w-]+$/.test(value);

function hasId(text: string, handles: ReadonlySet<string>): boolean {
  for (const [run] of text.matchAll(RUNS)) {
    for (let at = 0; at + ID_LENGTH <= run.length; at++) {
      if (handles.has(handleOf(run.slice(at, at + ID_LENGTH)))) return true;
    }
  }
  return false;
}
