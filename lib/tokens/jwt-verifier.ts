import { Logger } from '@nestjs/common';
import { errors, jwtVerify, type JWTVerifyGetKey, type JWTVerifyOptions } from 'jose';
import { systemClock } from '../core/clock.js';
import { toMilliseconds } from '../core/duration.js';
import {
  SessionError,
  SessionRequiredError,
  SessionStoreUnavailableError,
} from '../core/session.errors.js';
import { issuerKeys } from './issuer-keys.js';
import { JWT_ALGORITHMS } from './jwt-keys.js';
import { checkJwtSessionOptions, type JwtSessionOptions } from './jwt-session.options.js';
import { shapedClaims, TOKEN_TYPE, type SessionTokenClaims } from './token-claims.js';

/** A token that says more than ours do costs no more than this to find out. */
const LONGEST_TOKEN = 8_192;

/** A token came, and is not accepted (RFC 6750, section 3.1: `invalid_token`). */
export class TokenRefusedError extends SessionRequiredError {
  constructor() {
    super('The token is not accepted here: get a new one.');
  }
}

/**
 * Verifies tokens of `session.token()`, without the store and without asking the issuer, but for its keys.
 * `JwtSessionGuard` does it for routes; inject this where a token comes in another way.
 *
 * @example const { sub } = await this.verifier.verify(token);
 */
export class JwtVerifier {
  readonly #logger = new Logger('JwtSessionModule');
  readonly #rules: Omit<JWTVerifyOptions, 'currentDate'>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;

  private constructor(
    private readonly options: JwtSessionOptions,
    private readonly keyOf: JWTVerifyGetKey,
  ) {
    const { issuer, audience, algorithms = JWT_ALGORITHMS, clockTolerance = '5s' } = options;
    this.now = () => (options.clock ?? systemClock).now();
    this.#rules = {
      issuer,
      audience: [audience].flat(),
      algorithms: [...algorithms],
      typ: TOKEN_TYPE,
      clockTolerance: (toMilliseconds(clockTolerance) as number) / 1_000,
      requiredClaims: ['exp', 'iat', 'sub', 'jti', 'sid'],
    };
  }

  /** @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) */
  static async create(options: JwtSessionOptions): Promise<JwtVerifier> {
    checkJwtSessionOptions(options);
    const clock = options.clock ?? systemClock;
    return new JwtVerifier(options, await issuerKeys(options.jwks, () => clock.now()));
  }

  /**
   * What a token says, once all of it is known to be true.
   *
   * @throws SessionRequiredError (`SESSION_REQUIRED`) if it is not accepted
   * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) if that cannot be known: without the keys
   * of the issuer, or if `deny` fails
   */
  async verify(token: string): Promise<SessionTokenClaims> {
    if (token.length > LONGEST_TOKEN) throw this.#refusal('it is too long');
    const claims = shapedClaims(await this.#payloadOf(token));
    if (!claims) throw this.#refusal('claims are missing');
    if (claims.realm !== this.options.realm) throw this.#refusal('of sessions of another name');
    if (await this.#isDenied(claims)) throw this.#refusal('denied');
    return claims;
  }

  async #payloadOf(token: string): Promise<object> {
    try {
      const currentDate = new Date(this.now());
      const { payload } = await jwtVerify(token, this.keyOf, { ...this.#rules, currentDate });
      return payload;
    } catch (error) {
      if (error instanceof SessionError) throw error;
      const { code = 'unreadable', claim } = error as Partial<errors.JWTClaimValidationFailed>;
      throw this.#refusal(claim === undefined ? code : `${code}, ${claim}`);
    }
  }

  async #isDenied(claims: SessionTokenClaims): Promise<boolean> {
    const { deny } = this.options;
    try {
      // Anything but a clear no: who has ended a session relies on it.
      return deny !== undefined && (await deny(claims)) !== false;
    } catch (error) {
      if (error instanceof SessionError) throw error;
      this.#logger.error(error);
      throw new SessionStoreUnavailableError('deny failed');
    }
  }

  /** For whoever runs the service: its client is told no more than that. */
  #refusal(why: string): TokenRefusedError {
    this.#logger.debug(`Token refused: ${why}`);
    return new TokenRefusedError();
  }
}
