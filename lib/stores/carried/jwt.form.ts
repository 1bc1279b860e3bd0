import { decodeJwt, decodeProtectedHeader, errors, jwtVerify, SignJWT } from 'jose';
import type { KeyObject } from 'node:crypto';
import { isSessionId } from '../../core/session-id.js';
import { decodeHead } from '../../core/session-record.js';
import type { StoredValue } from '../../core/session-store.interface.js';
import type {
  BroughtToken,
  CarriedContent,
  CarriedForm,
  KnownEpochs,
  MaybeOpened,
} from './carried-content.js';

/** A key of sessions in JWTs. Its algorithm is its own: a token has no say in it (RFC 8725, section 3.1). */
export interface JwtFormKey {
  readonly kid: string;
  readonly alg: string;
  /** `undefined`: it only verifies. */
  readonly signs: KeyObject | undefined;
  readonly verifies: KeyObject;
}

/** What all tokens say. */
export interface JwtFormTerms {
  readonly issuer: string;
  readonly audience: string;
  /** Seconds by which clocks of nodes may differ. */
  readonly clockTolerance: number;
}

/** Tells them from tokens of other kinds by the same keys (RFC 8725, section 3.11). */
const TYPE = 'session+jwt';
const REQUIRED = ['exp', 'nbf', 'iat', 'jti', 'ses'];

interface SessionClaims {
  /** The stored value. */
  readonly ses?: unknown;
  /** Epochs; absent: none began before. */
  readonly eps?: unknown;
}

/**
 * A signed JSON Web Token (RFC 7519): its client can read all of it, and alter nothing. `exp` is the end of the idle
 * window, `jti` the id. The first key signs, all verify, each by its `kid`.
 */
export class JwtForm implements CarriedForm {
  readonly #keys: ReadonlyMap<string, JwtFormKey>;
  readonly #first: JwtFormKey;

  constructor(
    keys: readonly [JwtFormKey, ...JwtFormKey[]],
    private readonly terms: JwtFormTerms,
  ) {
    this.#first = keys[0];
    this.#keys = new Map(keys.map((key) => [key.kid, key]));
  }

  read(token: string): BroughtToken | undefined {
    const { kid, alg, typ, id } = claimed(token);
    const key = typeof kid === 'string' ? this.#keys.get(kid) : undefined;
    if (!key || alg !== key.alg || typ !== TYPE) return undefined;
    if (typeof id !== 'string' || !isSessionId(id)) return undefined;
    return { id, open: (now) => this.#open(token, key, now) };
  }

  async write({ id, value, until, epochs }: CarriedContent, now: number): Promise<string> {
    const { kid, alg, signs } = this.#first;
    const { issuer, audience } = this.terms;
    const at = Math.floor(now / 1_000);
    const claims: SessionClaims = {
      ses: value,
      ...(Object.keys(epochs).length > 0 && { eps: epochs }),
    };
    const token = new SignJWT({ ...claims })
      .setProtectedHeader({ alg, kid, typ: TYPE })
      .setIssuer(issuer)
      .setAudience(audience)
      .setJti(id)
      .setIssuedAt(at)
      .setNotBefore(at)
      .setExpirationTime(Math.ceil(until / 1_000));
    const principal = principalIn(value);
    if (principal !== undefined) token.setSubject(principal);
    return token.sign(signs as KeyObject);
  }

  async #open(token: string, key: JwtFormKey, now: number): Promise<MaybeOpened> {
    const { issuer, audience, clockTolerance } = this.terms;
    try {
      const { payload } = await jwtVerify<SessionClaims>(token, key.verifies, {
        algorithms: [key.alg],
        issuer,
        audience,
        typ: TYPE,
        clockTolerance,
        currentDate: new Date(now),
        requiredClaims: REQUIRED,
      });
      const { jti, exp, ses, eps = {} } = payload;
      if (typeof ses !== 'string' || !isEpochs(eps)) return undefined;
      return {
        id: jti as string,
        value: ses,
        until: (exp as number) * 1_000,
        epochs: eps,
        stale: key !== this.#first,
      };
    } catch (error) {
      // Its signature, its issuer and all else was right.
      if (error instanceof errors.JWTExpired) return 'expired';
      if (error instanceof errors.JOSEError) return undefined;
      throw error;
    }
  }
}

/** What a token says of itself, not verified. */
function claimed(token: string) {
  try {
    const { kid, alg, typ } = decodeProtectedHeader(token);
    return { kid, alg, typ, id: decodeJwt(token).jti };
  } catch {
    return {};
  }
}

const principalIn = (value: StoredValue): string | undefined =>
  decodeHead(value.slice(0, value.indexOf('\n')))?.identity?.principal;

const isEpochs = (value: unknown): value is KnownEpochs =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
