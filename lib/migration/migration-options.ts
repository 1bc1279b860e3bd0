import { toMilliseconds, toText, type Duration } from '../core/duration.js';
import type { RedisClient, RedisConnectionOptions } from '../stores/redis/redis-client.js';
import type { LegacyCookieOptions } from './legacy-cookies.js';
import type { Attributes, MappedSession, SessionToUnmap } from './legacy-record.js';

/** Where the sessions of the other library are, and how they are to be understood. */
export interface MigrationOptions {
  /** Secrets that the other library signs its cookies with: the first signs, all verify. */
  secrets: string | readonly string[];
  /**
   * `'both'`: nodes of both libraries serve the same sessions side by side, and whichever is left at the end
   * has them all. `'forward'`: no node of the other library is left; what is converted is gone there.
   *
   * @default 'both'
   */
  mode?: 'both' | 'forward';
  /** Redis with the records: as the option `redis` of `SessionModule`. @default the same */
  redis?: string | RedisConnectionOptions | RedisClient;
  /** First part of the keys, as the store of the other library has it. @default 'sess:' */
  prefix?: string;
  /** The cookie of the other library: its name, or all that it is told of it. */
  cookie?: string | LegacyCookieOptions;
  /**
   * How long records live without `maxAge`, as the store of the other library has it; which counts in seconds: its
   * `ttl: 86400` is `'1d'` here. At least a minute; a number, of milliseconds, at least an hour.
   *
   * @default '24h'
   */
  ttl?: Duration;
  /** Whose session it is, and what is in it. Must only compute. @default whom passport has logged in; all attributes */
  map?: (legacy: Attributes) => MappedSession;
  /** The way back, for `mode: 'both'`. Must only compute. @default all attributes, and passport is told who it is */
  unmap?: (session: SessionToUnmap) => Attributes;
}

const MINUTE = 60_000;
/** Numbers below are what the other store has in seconds: those of a month are less than an hour of milliseconds. */
const HOUR = 3_600_000;

/** What is wrong with options, each with its remedy. */
export function problemsOf(options: MigrationOptions): string[] {
  const { secrets, mode, prefix, map, unmap } = options;
  const problems: string[] = [];
  const all: readonly unknown[] = [secrets].flat();
  const isSecret = (one: unknown) => typeof one === 'string' && one !== '';
  if (all.length === 0 || !all.every(isSecret)) {
    problems.push('migrateFrom.secrets: give the secrets that the other library signs with');
  }
  if (mode !== undefined && mode !== 'both' && mode !== 'forward') {
    problems.push("migrateFrom.mode: use 'both' or 'forward'");
  }
  if (prefix === '') {
    problems.push('migrateFrom.prefix is empty: records could not be told from other keys');
  } else if (prefix !== undefined && typeof prefix !== 'string') {
    problems.push("migrateFrom.prefix: use the text that the other store has, such as 'sess:'");
  }
  for (const [name, value] of Object.entries({ map, unmap })) {
    if (value !== undefined && typeof value !== 'function') {
      problems.push(`migrateFrom.${name}: use a function, or leave it out for passport`);
    }
  }
  return [...problems, ...problemsOfTtl(options.ttl), ...problemsOfCookie(options.cookie)];
}

function problemsOfTtl(ttl: unknown): string[] {
  if (ttl === undefined) return [];
  const milliseconds = toMilliseconds(ttl);
  if (milliseconds === undefined || !Number.isSafeInteger(milliseconds)) {
    return ["migrateFrom.ttl: use a duration such as '1d' or '12h', or a number of milliseconds"];
  }
  if (typeof ttl === 'number' && milliseconds > 0 && milliseconds < HOUR) {
    const inSeconds = toText(milliseconds * 1_000);
    return [
      `migrateFrom.ttl is ${ttl}, in milliseconds; connect-redis counts in seconds: write '${inSeconds}' for its ttl: ${ttl}, and what is less than an hour with its unit, such as '30m'`,
    ];
  }
  if (milliseconds >= MINUTE) return [];
  return [
    "migrateFrom.ttl is less than a minute: records would end while they are in use; give what the other store has, such as '1d'",
  ];
}

function problemsOfCookie(cookie: unknown): string[] {
  if (cookie === undefined || (typeof cookie === 'string' && cookie !== '')) return [];
  if (typeof cookie !== 'object' || cookie === null) {
    return ["migrateFrom.cookie: use the cookie's name, or { name, maxAge, … } as there"];
  }
  const { maxAge } = cookie as { readonly maxAge?: unknown };
  const isLength = Number.isSafeInteger(maxAge) && (maxAge as number) > 0;
  if (maxAge === undefined || isLength) return [];
  return [
    'migrateFrom.cookie.maxAge: use a whole number of milliseconds above 0, as the other library has it (86_400_000 is a day); leave it out if its cookie lasts until the browser is closed',
  ];
}
