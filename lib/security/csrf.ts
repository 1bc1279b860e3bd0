import { hash, randomFillSync, timingSafeEqual } from 'node:crypto';

/** What tells requests of the application's own pages from those of others, as it was decided at boot. */
export interface CsrfRules {
  /** Other origins that may send requests, as browsers write them. */
  readonly origins: ReadonlySet<string>;
  /** What comes from the application's own pages needs a token, too. */
  readonly always: boolean;
  readonly header: string;
  readonly field: string;
}

/** What browsers say about where a request comes from. */
export interface RequestSource {
  readonly method: string;
  /** `Sec-Fetch-Site`. */
  readonly site: string | undefined;
  /** `Origin`. */
  readonly origin: string | undefined;
  /** The origin that was asked, as browsers write it; `undefined`: not known. */
  readonly own: string | undefined;
}

/** `'token'`: where it comes from is not proof enough. */
export type CsrfVerdict = 'pass' | 'token' | 'refuse';

const SAFE: ReadonlySet<string> = new Set(['GET', 'HEAD', 'OPTIONS']);

/** Methods that change nothing (RFC 9110, section 9.2.1), and so need no protection. */
export const isSafeMethod = (method: string): boolean => SAFE.has(method);

/**
 * Judges by what no page can make a browser lie about. `Sec-Fetch-Site` comes first, since the browser
 * itself has compared; repeated or unknown values are nobody's.
 */
export function judgeSource(source: RequestSource, { origins, always }: CsrfRules): CsrfVerdict {
  const { method, site, origin, own } = source;
  if (isSafeMethod(method)) return 'pass';
  const isOwn = always ? 'token' : 'pass';
  if (site === 'same-origin' || site === 'none') return isOwn;
  if (site === undefined && origin === undefined) return 'token';
  if (site === undefined && origin === own) return isOwn;
  return origin !== undefined && origins.has(origin) ? 'token' : 'refuse';
}

/**
 * Whether a connection that stays open was begun by a page of another site. A host that is the same counts
 * as the same site where the scheme is not known for sure; what tells nothing is no browser.
 */
export function isForeignHandshake(
  { site, origin, own }: Omit<RequestSource, 'method'>,
  { origins }: Pick<CsrfRules, 'origins'>,
): boolean {
  if (origin !== undefined && origins.has(origin)) return false;
  if (site !== undefined) return site !== 'same-origin' && site !== 'none';
  if (origin === undefined || origin === own) return false;
  const isSecure = own?.startsWith('https:') ?? false;
  return isSecure || origin !== own?.replace(/^http:/, 'https:');
}

const BYTES = 16;
const TOKEN = /^[\w-]{43}$/;
const pool = Buffer.allocUnsafeSlow(BYTES * 128);
let used = pool.length;

/**
 * A CSRF token of the session with this seed. Each one looks different: what is the same in every
 * compressed answer could be guessed letter by letter from its length (BREACH).
 */
export function maskedCsrfToken(seed: string): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  const token = Buffer.allocUnsafe(BYTES * 2);
  used += pool.copy(token, 0, used, used + BYTES);
  token.set(xor(token, secretOf(seed)), BYTES);
  return token.toString('base64url');
}

/** Whether a token is one of the session with this seed; takes as long for any that has a token's shape. */
export function isCsrfTokenOf(seed: string, token: unknown): boolean {
  if (typeof token !== 'string' || !TOKEN.test(token)) return false;
  const bytes = Buffer.from(token, 'base64url');
  return timingSafeEqual(xor(bytes, bytes.subarray(BYTES)), secretOf(seed));
}

/** Not the seed itself: from a token nothing else that is made of it can be found out. */
const secretOf = (seed: string): Buffer =>
  hash('sha256', `csrf ${seed}`, 'buffer').subarray(0, BYTES);

function xor(one: Buffer, other: Buffer): Buffer {
  const result = Buffer.allocUnsafe(BYTES);
  for (let i = 0; i < BYTES; i++) result[i] = one[i]! ^ other[i]!;
  return result;
}
