import { createPublicKey, createSecretKey } from 'node:crypto';
import { carriedParts, problemsOfCarried, type CarriedSessionOptions } from './cookie.js';
import { toMilliseconds, type Duration } from './core/duration.js';
import type { SessionIdTransport } from './core/session-id-transport.interface.js';
import { SessionOptionsError } from './core/session.errors.js';
import type { SessionStore } from './core/session-store.interface.js';
import { AuthorizationTransport } from './http/header.transport.js';
import { Keyring } from './security/keyring.js';
import { CarriedSessions } from './stores/carried/carried-sessions.store.js';
import { JwtForm, type JwtFormKey } from './stores/carried/jwt.form.js';
import type { JwtKeys } from './tokens/jwt-issuer.js';
import { readJwtKeys, type JwtJwk } from './tokens/jwt-keys.js';

export { JwksModule, type JwksOptions } from './tokens/jwks.module.js';
export { JwtIssuer, type JwtIssuerOptions, type JwtKeys } from './tokens/jwt-issuer.js';
export type {
  JwtAlgorithm,
  JwtJwk,
  JwtKey,
  JwtKeyMaterial,
  NamedJwtKey,
} from './tokens/jwt-keys.js';
export { JwtSessionGuard } from './tokens/jwt-session.guard.js';
export { JwtSessionModule } from './tokens/jwt-session.module.js';
export type { JwtSessionOptions, RemoteJwks } from './tokens/jwt-session.options.js';
export { JwtVerifier } from './tokens/jwt-verifier.js';
export type { SessionTokenClaims } from './tokens/token-claims.js';
export { TokenClaims, TokenPrincipal } from './tokens/token.decorators.js';
export { tokenSidOf } from './core/session-token.js';
export type {
  SessionTokenIssuer,
  SessionTokenSubject,
  SessionTokenTerms,
} from './core/session-token-issuer.interface.js';

/** How sessions are carried in JWTs. */
export interface CarriedJwtOptions extends CarriedSessionOptions {
  /** Who issues the tokens (`iss`), as a URL; tokens of anybody else are refused. */
  issuer: string;
  /** For whom they are (`aud`); tokens for anybody else are refused. */
  audience: string;
  /**
   * The first signs, all verify, each by its `kid` and by one algorithm only: Ed25519 keys by EdDSA, keys of P-256
   * by ES256, RSA by RS256.
   *
   * @default HS256 under keys made of the option `secret`
   */
  keys?: JwtKeys;
  /** By how much clocks of nodes may differ. Expiry goes by the node's own. @default '30s' */
  clockTolerance?: Duration;
}

/**
 * Sessions in signed JWTs at the client, and nowhere else. **The client, and whoever sees the token, can read all
 * data in them**: `sealedCookie` is for what is nobody's business. All else is as there. The token travels in the
 * session cookie, or with the transport {@link bearer} in `Authorization: Bearer`.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`); for wrong keys at boot
 * @example
 * const store = jwtSession({ issuer: 'https://shop.example', audience: 'https://shop.example', revocation: { redis } });
 * SessionModule.forRoot({ secret: process.env.SESSION_SECRET, store, transport: bearer() });
 */
export function jwtSession(options: CarriedJwtOptions): SessionStore {
  const {
    issuer,
    audience,
    keys,
    clockTolerance = '30s',
    ...carried
  } = Object(options) as CarriedJwtOptions;
  const tolerance = toMilliseconds(clockTolerance) ?? -1;
  const problems = [
    ...problemsOfCarried(carried, ['issuer', 'audience', 'keys', 'clockTolerance']),
    ...(isText(issuer) ? [] : ["issuer is missing: give a URL, such as 'https://shop.example'"]),
    ...(isText(audience)
      ? []
      : ["audience is missing: give a URL, such as 'https://shop.example'"]),
    ...(tolerance >= 0 && tolerance <= 300_000
      ? []
      : ["clockTolerance cannot be used: use a duration such as '30s', of at most five minutes"]),
  ];
  if (problems.length > 0) {
    throw new SessionOptionsError(problems.map((problem) => `jwtSession: ${problem}`));
  }
  const terms = { issuer, audience, clockTolerance: tolerance / 1_000 };
  return new CarriedSessions({
    ...carriedParts(carried, 'JWT', keys === undefined),
    form: async ({ secrets }) =>
      new JwtForm(keys === undefined ? sharedKeys(secrets) : await ownKeys(keys), terms),
  });
}

/**
 * The token as `Authorization: Bearer <token>`, for clients that are no browsers. A new one, which follows each
 * change and now and then each use, comes with the answer as `Authentication-Info: session="<token>"`; the client
 * sends that from then on. An empty one: the session is over.
 *
 * @example SessionModule.forRoot({ store: jwtSession(options), transport: [bearer(), 'cookie'] })
 */
export const bearer = (): SessionIdTransport => new AuthorizationTransport('Bearer');

type FormKeys = [JwtFormKey, ...JwtFormKey[]];

/** Characters of a key's name. */
const NAME = 6;

function sharedKeys(secrets: readonly string[]): FormKeys {
  const keyring = new Keyring(secrets);
  const names = keyring.keysFor('key-name').map((key) => key.toString('base64url'));
  return keyring.keysFor('carried-jwt').map((bytes, i) => {
    const key = createSecretKey(bytes);
    return { kid: (names[i] as string).slice(0, NAME), alg: 'HS256', signs: key, verifies: key };
  }) as FormKeys;
}

async function ownKeys(given: JwtKeys): Promise<FormKeys> {
  const keys = await readJwtKeys('jwtSession: keys', given);
  if (!keys[0]?.privateKey) {
    throw new SessionOptionsError([
      'jwtSession: the first of keys signs, and is a public key: put a private one in front',
    ]);
  }
  return keys.map(({ kid, alg, privateKey, publicJwk }) => ({
    kid,
    alg,
    signs: privateKey,
    verifies: createPublicKey({ format: 'jwk', key: publicJwk as JwtJwk & { kty: string } }),
  })) as FormKeys;
}

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';
