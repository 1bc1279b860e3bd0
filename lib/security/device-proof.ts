import type { JWTPayload, ProtectedHeaderParameters } from 'jose';
import { deviceKeyOf, type DeviceKey } from '../core/session-device.js';

type Jose = typeof import('jose');

/** A token that says something else than its signature proves costs no more than this to find out. */
const LONGEST_PROOF = 4_096;
const TYPE = 'dbsc+jwt';
/** Seconds that `exp` and `nbf` may be off, if they are there at all. */
const TOLERANCE = 60;
/** Seconds that `iat` may be off: the device's own clock, on which nothing rests. The challenge tells the age. */
const CLOCK_OF_DEVICE = 86_400;

/** What a proof is judged by. */
export interface ProofContext {
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** Where it was sent to. */
  readonly path: string;
}

/** What a right proof says. */
export interface DeviceProof {
  /** The challenge that it answers; whether that is ours is judged elsewhere. */
  readonly challenge: string;
  readonly key: DeviceKey;
}

/**
 * Reads proofs of W3C Device Bound Session Credentials (section 9.11): JSON Web Tokens, signed by ES256 or
 * RS256, whichever the key is for.
 */
export class DeviceProofReader {
  constructor(private readonly jose: Jose) {}

  /** Only applications that bind sessions to devices load the library for it. */
  static async create(): Promise<DeviceProofReader> {
    return new DeviceProofReader(await import('jose'));
  }

  /** A proof that brings its key along, as at registration; `undefined` if it proves nothing. */
  async readNew(token: string, context: ProofContext): Promise<DeviceProof | undefined> {
    const told = this.#untrusted(token);
    // In the header; earlier drafts have it among the claims.
    const key = deviceKeyOf(told?.header.jwk ?? told?.payload.key);
    return key && this.read(token, key, context);
  }

  /**
   * A proof by a known key, whatever key it names itself; `undefined` if it proves nothing.
   *
   * @param subject the device, which the proof need not name, but must not name another
   */
  async read(
    token: string,
    key: DeviceKey,
    { now, path }: ProofContext,
    subject?: string,
  ): Promise<DeviceProof | undefined> {
    if (token.length > LONGEST_PROOF) return undefined;
    const { importJWK, jwtVerify, errors } = this.jose;
    const algorithm = key.kty === 'EC' ? 'ES256' : 'RS256';
    try {
      const { payload } = await jwtVerify(token, await importJWK(key, algorithm), {
        algorithms: [algorithm],
        typ: TYPE,
        currentDate: new Date(now),
        clockTolerance: TOLERANCE,
      });
      const { jti, sub } = payload;
      const fits = isNear(payload, now) && isFor(payload, path) && isOf(sub, subject);
      return typeof jti === 'string' && fits ? { challenge: jti, key } : undefined;
    } catch (error) {
      // The last two: parts of the right length that are no key, or a weak one.
      const refused = [errors.JOSEError, DOMException, TypeError];
      if (refused.some((kind) => error instanceof kind)) return undefined;
      throw error;
    }
  }

  /** What a token says, before anything of it is known to be true. */
  #untrusted(
    token: string,
  ): { header: ProtectedHeaderParameters; payload: JWTPayload } | undefined {
    if (token.length > LONGEST_PROOF) return undefined;
    try {
      const header = this.jose.decodeProtectedHeader(token);
      return { header, payload: this.jose.decodeJwt(token) };
    } catch {
      return undefined;
    }
  }
}

const isNear = ({ iat }: JWTPayload, now: number): boolean =>
  iat === undefined || Math.abs(iat - now / 1_000) <= CLOCK_OF_DEVICE;

/** The host is not compared: behind a proxy it may have another name. The challenge is ours alone. */
const isFor = ({ aud }: JWTPayload, path: string): boolean =>
  aud === undefined ||
  [aud].flat().some((url) => URL.canParse(url) && new URL(url).pathname === path);

const isOf = (sub: string | undefined, subject: string | undefined): boolean =>
  sub === undefined || sub === subject;
