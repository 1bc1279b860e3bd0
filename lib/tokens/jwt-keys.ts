import { calculateJwkThumbprint } from 'jose';
import {
  createPrivateKey,
  createPublicKey,
  KeyObject,
  type JsonWebKey,
  type webcrypto,
} from 'node:crypto';
import { SessionOptionsError } from '../core/session.errors.js';

/** How tokens may be signed; each key is for one of them. */
export type JwtAlgorithm = 'EdDSA' | 'ES256' | 'RS256';
export const JWT_ALGORITHMS: readonly JwtAlgorithm[] = ['EdDSA', 'ES256', 'RS256'];

/** A key as JSON (RFC 7517), private or public. */
export interface JwtJwk {
  readonly kty?: string;
  readonly kid?: string;
  readonly alg?: string;
  readonly [member: string]: unknown;
}

/** PEM (PKCS #8, or SPKI for a public key), a JWK, or a key of `node:crypto` or Web Crypto. */
export type JwtKeyMaterial = string | KeyObject | webcrypto.CryptoKey | JwtJwk;

/** A key, and what it is called. */
export interface NamedJwtKey {
  readonly key: JwtKeyMaterial;
  /** @default that of a JWK, else the key's thumbprint (RFC 7638) */
  readonly kid?: string;
}

/** An Ed25519 key, one of the curve P-256, or RSA of at least 2048 bits. */
export type JwtKey = JwtKeyMaterial | NamedJwtKey;

/** A key that was read. */
export interface ReadJwtKey {
  readonly kid: string;
  readonly alg: JwtAlgorithm;
  /** `undefined`: it only verifies. */
  readonly privateKey: KeyObject | undefined;
  /** Nothing but what verifies, as it may be published. */
  readonly publicJwk: JwtJwk;
}

/**
 * Reads keys. What is wrong is told by place, never by content.
 *
 * @param place what the application calls the list
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`)
 */
export async function readJwtKeys(place: string, given: unknown): Promise<ReadJwtKey[]> {
  const all: readonly unknown[] = Array.isArray(given) ? given : [given];
  if (all.length === 0) throw problem(`${place} is empty: give at least one key`);
  const keys: ReadJwtKey[] = [];
  for (const [i, one] of all.entries()) {
    const key = await readKey(Array.isArray(given) ? `${place}[${i}]` : place, one);
    if (keys.some(({ kid }) => kid === key.kid)) {
      throw problem(`${place}[${i}] has the kid of another key: give each key once`);
    }
    keys.push(key);
  }
  return keys;
}

async function readKey(place: string, given: unknown): Promise<ReadJwtKey> {
  const { key = given, kid } = isNamed(given) ? given : {};
  const object = materialOf(place, key);
  const alg = algorithmOf(place, object);
  const said = isJwk(key) ? key : {};
  if (said.alg !== undefined && said.alg !== alg) {
    throw problem(`${place} says that it is for another algorithm than ${alg}: leave "alg" out`);
  }
  const isPrivate = object.type === 'private';
  const members = (isPrivate ? createPublicKey(object) : object).export({ format: 'jwk' });
  const name: unknown = kid ?? said.kid ?? (await calculateJwkThumbprint(members as JwtJwk & JWK));
  if (typeof name !== 'string' || name === '' || name.length > 256) {
    throw problem(`${place}: kid must be a string of 1 to 256 characters, or be left out`);
  }
  return {
    kid: name,
    alg,
    privateKey: isPrivate ? object : undefined,
    publicJwk: Object.freeze({ ...members, kid: name, alg, use: 'sig' }),
  };
}

type JWK = Parameters<typeof calculateJwkThumbprint>[0];

const isNamed = (given: unknown): given is NamedJwtKey =>
  typeof given === 'object' && given !== null && 'key' in given && !('kty' in given);

const isJwk = (key: unknown): key is JwtJwk =>
  typeof key === 'object' && key !== null && typeof (key as JwtJwk).kty === 'string';

function materialOf(place: string, key: unknown): KeyObject {
  let object: KeyObject | undefined;
  try {
    object = parsed(key);
  } catch {
    // What the parser says may quote what it was given.
  }
  if (object && object.type !== 'secret') return object;
  throw problem(
    `${place} cannot be used: give an Ed25519 or P-256 key as PEM (PKCS #8, not encrypted), JWK, KeyObject or CryptoKey; a shared secret is none, everybody who verifies could sign`,
  );
}

function parsed(key: unknown): KeyObject | undefined {
  if (typeof key === 'string') {
    return key.includes('PRIVATE KEY-----') ? createPrivateKey(key) : createPublicKey(key);
  }
  if (key instanceof KeyObject) return key;
  if (isJwk(key)) {
    const input = { format: 'jwk' as const, key: key as JsonWebKey };
    return 'd' in key ? createPrivateKey(input) : createPublicKey(input);
  }
  const isCryptoKey = Object.prototype.toString.call(key) === '[object CryptoKey]';
  return isCryptoKey ? KeyObject.from(key as webcrypto.CryptoKey) : undefined;
}

const FEWEST_RSA_BITS = 2_048;

/** One for each kind of key: a token has no say in how it is verified (RFC 8725, section 3.1). */
function algorithmOf(place: string, { asymmetricKeyType, asymmetricKeyDetails }: KeyObject) {
  const { namedCurve, modulusLength = 0 } = asymmetricKeyDetails ?? {};
  if (asymmetricKeyType === 'ed25519') return 'EdDSA';
  if (asymmetricKeyType === 'ec' && namedCurve === 'prime256v1') return 'ES256';
  if (asymmetricKeyType === 'rsa' && modulusLength >= FEWEST_RSA_BITS) return 'RS256';
  throw problem(
    `${place} is of a kind that is not used here: make an Ed25519 key, or one of P-256; RSA has to have ${FEWEST_RSA_BITS} bits`,
  );
}

const problem = (text: string): SessionOptionsError => new SessionOptionsError([text]);
