import type { RedisClient } from '../stores/redis/redis-client.js';
import type { Finding } from './finding.js';
import { lookAt, lookIn, walkKeys, type WalkedKey } from './key-walk.js';

/** What was seen of keys. */
export interface KeyFacts {
  /** Keys that were looked at. */
  readonly looked: number;
  /** There are more. */
  readonly isPart: boolean;
  readonly records: number;
  /** Keys of another type than sessions have there. */
  readonly foreign: number;
  readonly withoutEnd: number;
  readonly large: number;
  readonly largest: number;
  readonly entries: number;
  readonly dead: number;
}

/** Bytes that are a lot: the library refuses 64 KiB by default. */
export const LARGE = 32 * 1_024;
/** Entries of one place that are looked at. */
const OF_A_PLACE = 1_000;

/** Looks at keys, at most so many. */
export async function keysOf(
  client: RedisClient,
  prefix: string,
  most: number,
  onPage?: (passed: number) => void,
): Promise<KeyFacts> {
  const facts = {
    looked: 0,
    isPart: false,
    records: 0,
    foreign: 0,
    withoutEnd: 0,
    large: 0,
    largest: 0,
    entries: 0,
    dead: 0,
  };
  for await (const page of walkKeys(client, prefix, onPage)) {
    await Promise.all(page.map((one) => count(one, prefix, facts)));
    facts.looked += page.length;
    if (facts.looked >= most) return { ...facts, isPart: true };
  }
  return facts;
}

async function count(
  one: WalkedKey,
  prefix: string,
  facts: { -readonly [K in keyof KeyFacts]: KeyFacts[K] },
): Promise<void> {
  if (one.kind === 'place') {
    const place = await lookIn(one, prefix, OF_A_PLACE);
    if (!place) facts.foreign++;
    facts.entries += place?.entries ?? 0;
    facts.dead += place?.dead ?? 0;
  }
  if (one.kind !== 'record') return;
  const look = await lookAt(one);
  if (!look) return;
  if (look.isForeign) return void facts.foreign++;
  facts.records++;
  if (look.remaining === -1) facts.withoutEnd++;
  const bytes = look.bytes ?? 0;
  if (bytes > LARGE) facts.large++;
  facts.largest = Math.max(facts.largest, bytes);
}

/** Entries that lead nowhere and are no trouble: they drop out as they are met. */
const DEAD_SHARE = 0.5;
const DEAD_FEW = 100;

/** What grows, or will not go. */
export function checkKeys(facts: KeyFacts): Finding[] {
  const { records, withoutEnd, large, largest, entries, dead, isPart, looked, foreign } = facts;
  const of = isPart ? ` (of ${looked} keys that were looked at)` : '';
  const findings: Finding[] = [];
  if (foreign > 0) {
    findings.push({
      code: 'FOREIGN_KEYS',
      severity: 'error',
      seen: `${foreign} keys that are named as those of sessions hold something else${of}`,
      why: 'commands about such a session or principal are refused (WRONGTYPE): its requests answer 503',
      remedy:
        'find out who writes under this prefix, and give one of both another one (option keyPrefix); UNLINK these keys: records ({…}:s:…) are strings, and places ({…}:p:… and others) sorted sets, so SCAN … MATCH … TYPE hash and the like tell them',
    });
  }
  if (withoutEnd > 0) {
    findings.push({
      code: 'NO_EXPIRY',
      severity: 'error',
      seen: `${withoutEnd} of ${records} records have no TTL${of}`,
      why: 'they never end and fill the memory; somebody else has written or PERSISTed them',
      remedy:
        'find out who writes under this prefix; give other data another one, and PEXPIRE or revoke these',
    });
  }
  if (dead > DEAD_FEW && dead > entries * DEAD_SHARE) {
    findings.push({
      code: 'DEAD_ENTRIES',
      severity: 'warning',
      seen: `${dead} of ${entries} index entries lead to sessions that are over${of}`,
      why: 'they take memory, and lists and limits pass over them',
      remedy: 'npx nestjs-distributed-session sweep',
    });
  }
  if (large > 0) {
    findings.push({
      code: 'LARGE_RECORDS',
      severity: 'warning',
      seen: `${large} of ${records} records are larger than ${LARGE / 1_024} KiB, the largest ${Math.ceil(largest / 1_024)} KiB${of}`,
      why: 'each request of such a session carries it to and fro',
      remedy:
        'keep large values elsewhere and a reference in the session; option maxBytes bounds it',
    });
  }
  return findings;
}
