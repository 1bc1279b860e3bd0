import { SignJWT, type JWTPayload } from 'jose';
import { randomBytes } from 'node:crypto';
import { toMilliseconds, type Duration } from '../core/duration.js';
import { SessionOptionsError } from '../core/session.errors.js';
import type {
  SessionTokenIssuer,
  SessionTokenSubject,
  SessionTokenTerms,
} from '../core/session-token-issuer.interface.js';
import { readJwtKeys, type JwtJwk, type JwtKey, type ReadJwtKey } from './jwt-keys.js';
import { claimsOf, TOKEN_TYPE } from './token-claims.js';

/** The first signs, all are published; the others may be public keys. */
export type JwtKeys = JwtKey | readonly JwtKey[];

/** Options of {@link JwtIssuer}. */
export interface JwtIssuerOptions {
  /** Who issues the tokens (`iss`), as a URL. Services accept only tokens of the issuer that they are told. */
  issuer: string;
  /**
   * The keys, or a function that gets them, such as from a key vault: it is called at boot. Each is used
   * with one algorithm: Ed25519 keys with EdDSA, keys of P-256 with ES256, RSA with RS256.
   */
  keys: JwtKeys | (() => JwtKeys | Promise<JwtKeys>);
  /** How long a token lives if `session.token()` does not say: as long does a logout not reach it. @default '5m' */
  ttl?: Duration;
  /** How long one may live at most. @default '1h' */
  maxTtl?: Duration;
  /** To which application tokens are issued (`client_id`). @default `issuer` */
  clientId?: string;
}

/**
 * Makes the tokens of `session.token()`: JSON Web Tokens (RFC 7519) in the profile of access tokens (RFC
 * 9068), signed by a key that only this application has. `JwksModule` publishes what verifies them.
 *
 * To replace a key, {@link rotate} twice: first with the new key behind the old one, and when all services
 * have it, after `maxAge` of their keys, with the new one in front. Drop the old after `maxTtl`.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for wrong options; for wrong keys at boot
 * @example
 * const tokens = new JwtIssuer({ issuer: 'https://shop.example', keys: process.env.TOKEN_KEY });
 * SessionModule.forRoot({ redis: process.env.REDIS_URL, tokens });
 */
export class JwtIssuer implements SessionTokenIssuer {
  readonly issuer: string;
  readonly ttl: number;
  readonly maxTtl: number;
  readonly #clientId: string;
  readonly #load: () => Promise<JwtKeys>;
  #keys: Promise<readonly ReadJwtKey[]> | undefined;

  constructor(options: JwtIssuerOptions) {
    const {
      issuer,
      keys,
      ttl = '5m',
      maxTtl = '1h',
      clientId = issuer,
    } = Object(options) as JwtIssuerOptions;
    const [usual, longest] = [toMilliseconds(ttl) ?? 0, toMilliseconds(maxTtl) ?? 0];
    const problems = [
      !isText(issuer) && "JwtIssuer: issuer is missing: give a URL, such as 'https://shop.example'",
      !isText(clientId) && 'JwtIssuer: clientId must be a string that is not empty',
      keys === undefined && 'JwtIssuer: keys are missing: give at least one private key',
      longest < 1_000 && "JwtIssuer: maxTtl must be a duration of at least '1s'",
      (usual < 1_000 || usual > longest) &&
        "JwtIssuer: ttl must be a duration of at least '1s', and not longer than maxTtl",
    ].filter((problem) => problem !== false);
    if (problems.length > 0) throw new SessionOptionsError(problems);
    this.issuer = issuer;
    this.ttl = usual;
    this.maxTtl = longest;
    this.#clientId = clientId;
    // A failure is no answer: the next one asks again.
    this.#load = async () => (typeof keys === 'function' ? keys() : keys);
  }

  async ready(): Promise<void> {
    await this.#current();
  }

  async issue(subject: SessionTokenSubject, terms: SessionTokenTerms): Promise<string> {
    const [{ kid, alg, privateKey }] = (await this.#current()) as [ReadJwtKey];
    const names = { issuer: this.issuer, clientId: this.#clientId, jti: newTokenId() };
    return new SignJWT(claimsOf(subject, terms, names) as unknown as JWTPayload)
      .setProtectedHeader({ alg, kid, typ: TOKEN_TYPE })
      .sign(privateKey as NonNullable<typeof privateKey>);
  }

  /**
   * Goes on with other keys, at once and on this node alone; as they were, if one cannot be used.
   *
   * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`)
   */
  async rotate(keys: JwtKeys): Promise<void> {
    const read = await usable(keys);
    this.#keys = Promise.resolve(read);
  }

  /** The public keys, as a JWK set (RFC 7517): all that a service needs. */
  async jwks(): Promise<{ keys: JwtJwk[] }> {
    return { keys: (await this.#current()).map(({ publicJwk }) => ({ ...publicJwk })) };
  }

  /** Nothing of the keys. */
  toJSON(): object {
    const { issuer, ttl, maxTtl } = this;
    return { issuer, ttl, maxTtl };
  }

  [Symbol.for('nodejs.util.inspect.custom')](): object {
    return { JwtIssuer: this.toJSON() };
  }

  #current(): Promise<readonly ReadJwtKey[]> {
    if (!this.#keys) {
      const loading = this.#load().then(usable);
      this.#keys = loading;
      loading.catch(() => {
        if (this.#keys === loading) this.#keys = undefined;
      });
    }
    return this.#keys;
  }
}

async function usable(keys: JwtKeys): Promise<readonly ReadJwtKey[]> {
  const read = await readJwtKeys('JwtIssuer: keys', keys);
  if (read[0]?.privateKey) return read;
  throw new SessionOptionsError([
    'JwtIssuer: the first of keys is a public key: put the private key first, which signs',
  ]);
}

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';

const newTokenId = (): string => randomBytes(16).toString('base64url');
