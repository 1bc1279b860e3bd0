import { Logger } from '@nestjs/common';
import {
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  errors,
  type FetchImplementation,
  type JSONWebKeySet,
  type JWTVerifyGetKey,
} from 'jose';
import { SessionOptionsError, SessionStoreUnavailableError } from '../core/session.errors.js';
import { readJwtKeys } from './jwt-keys.js';
import {
  remoteOf,
  type JwtSessionOptions,
  type ResolvedRemoteJwks,
} from './jwt-session.options.js';

const logger = new Logger('JwtSessionModule');

/** Milliseconds after a failed fetch in which nobody fetches again. */
const PAUSE = 1_000;

/** What is wrong with the token, not with the keys. */
const OF_THE_TOKEN = [
  errors.JWKSNoMatchingKey,
  errors.JWKSMultipleMatchingKeys,
  errors.JOSENotSupported,
];

/**
 * The key that a token names by its `kid`, of those that were given or are fetched; whatever else its header
 * says of keys (`jwk`, `jku`, `x5u`, `x5c`) is not looked at (RFC 8725, section 3.10).
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for keys that cannot be used
 */
export async function issuerKeys(
  jwks: JwtSessionOptions['jwks'],
  now: () => number,
): Promise<JWTVerifyGetKey> {
  const remote = remoteOf(jwks);
  const find = remote ? fetched(remote, now) : await given(jwks);
  return async (header, token) => {
    if (typeof header.kid !== 'string') throw new errors.JWKSNoMatchingKey();
    try {
      return await find(header, token);
    } catch (error) {
      if (OF_THE_TOKEN.some((kind) => error instanceof kind)) throw error;
      // That the token is wrong is not known: a 401 would make its client give it up.
      throw new SessionStoreUnavailableError('keys of the token issuer');
    }
  };
}

async function given(jwks: JwtSessionOptions['jwks']): Promise<JWTVerifyGetKey> {
  const list: unknown = Array.isArray(jwks) ? jwks : (Object(jwks) as { keys?: unknown }).keys;
  const keys = await readJwtKeys('JwtSessionModule: jwks', list);
  if (keys.some(({ privateKey }) => privateKey)) {
    throw new SessionOptionsError([
      'JwtSessionModule: jwks holds a private key: give public keys only, the issuer alone signs',
    ]);
  }
  return createLocalJWKSet({ keys: keys.map(({ publicJwk }) => publicJwk) } as JSONWebKeySet);
}

function fetched(
  { url, maxAge, cooldown, timeout }: ResolvedRemoteJwks,
  now: () => number,
): JWTVerifyGetKey {
  let failedAt: number | undefined;
  const failed = (why: string): never => {
    failedAt = now();
    logger.warn(`The keys of the token issuer cannot be fetched (${why}): requests get 503.`);
    throw new SessionStoreUnavailableError('keys of the token issuer');
  };
  const fetchKeys: FetchImplementation = async (from, options) => {
    const elapsed = failedAt === undefined ? PAUSE : now() - failedAt;
    if (elapsed >= 0 && elapsed < PAUSE) throw new SessionStoreUnavailableError('paused');
    const response = await fetch(from, options).catch((error: Error) => failed(error.name));
    return response.status === 200 ? response : failed(`status ${response.status}`);
  };
  return createRemoteJWKSet(url, {
    cacheMaxAge: maxAge,
    cooldownDuration: cooldown,
    timeoutDuration: timeout,
    [customFetch]: fetchKeys,
  });
}
