import { hash, randomFillSync } from 'node:crypto';

/**
 * A session id is one bucket byte, one bit that tells whether the session is a lasting one, and 255
 * random bits (OWASP ASVS 7.2.3 asks for 128), base64url: 44 characters. Only the client has it;
 * everything else sees the handle.
 *
 * Lasting sessions ("remember me") have an idle window of their own. It must be known before the
 * record is read: the read itself starts the window anew.
 */
const ID_BYTES = 33;
const ID_SHAPE = /^[A-Za-z0-9_-]{44}$/;
const HANDLE_SHAPE = /^[0-9a-v][0-9a-f][A-Za-z0-9_-]{43}$/;

// One call into the random source serves many ids (0.1 instead of 1.6 µs each).
const pool = Buffer.allocUnsafeSlow(ID_BYTES * 128);
let used = pool.length;

/** A new id; in the given bucket, or in a random one. */
export function newSessionId(bucket?: number, lasting = false): string {
  if (used === pool.length) {
    randomFillSync(pool);
    used = 0;
  }
  if (bucket !== undefined) pool[used] = bucket;
  const flagged = pool[used + 1] as number;
  pool[used + 1] = lasting ? flagged | 0x80 : flagged & 0x7f;
  const id = pool.toString('base64url', used, used + ID_BYTES);
  pool.fill(0, used, used + ID_BYTES);
  used += ID_BYTES;
  return id;
}

/** True for a string of the shape of an id; says nothing about whether such a session exists. */
export const isSessionId = (value: string): boolean => ID_SHAPE.test(value);

/** True for a string of the shape of a handle. */
export const isHandle = (value: string): boolean => HANDLE_SHAPE.test(value);

const SIXTET = new Map(
  Array.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_', (char, i) => [
    char,
    i,
  ]),
);
const DIGITS = '0123456789abcdefghijklmnopqrstuv';

/**
 * The handle of an id: its bucket in hex and the id's SHA-256 in base64url. Safe to list, to log
 * and to use in a key: it names a session but does not open it. The bucket leads, so that the
 * handle alone tells which keys belong to it; the first digit of a lasting session's is 16 higher.
 */
export function handleOf(id: string): string {
  const [first, second] = [SIXTET.get(id[0]!)!, SIXTET.get(id[1]!)!];
  const high = (first >> 2) | ((second & 0b1000) << 1);
  const low = ((first & 0b11) << 2) | (second >> 4);
  return DIGITS[high]! + DIGITS[low]! + hash('sha256', id, 'base64url');
}

/** A digest of an id that tells neither the id nor its handle, 128 bit. */
export const seedOf = (id: string): string =>
  hash('sha256', `seed ${id}`, 'base64url').slice(0, 22);

/** Whether a handle is of a lasting session. */
export const isLasting = (handle: string): boolean => handle[0]! > 'f';

/** The bucket that a principal's sessions live in: all of them together, in one Cluster slot. */
export const bucketOf = (principal: string): number =>
  hash('sha256', principal, 'buffer')[0] as number;

/** The bucket of a handle, as it stands in a key. */
export const bucketOfHandle = (handle: string): string =>
  DIGITS[DIGITS.indexOf(handle[0]!) & 0xf]! + handle[1]!;

/** A bucket as it stands in a key. */
export const bucketName = (bucket: number): string => bucket.toString(16).padStart(2, '0');

/** All buckets there are. */
export const BUCKETS: readonly string[] = Array.from({ length: 256 }, (_, i) => bucketName(i));
