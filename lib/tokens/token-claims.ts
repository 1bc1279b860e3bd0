import type {
  SessionTokenSubject,
  SessionTokenTerms,
} from '../core/session-token-issuer.interface.js';

/**
 * What a token says: claims of RFC 7519, of access tokens (RFC 9068), of OpenID Connect (`auth_time`, `acr`,
 * `amr`) and of delegation (RFC 8693, `act`). Times in seconds since the epoch.
 */
export interface SessionTokenClaims {
  readonly iss: string;
  /** Whose session it is. */
  readonly sub: string;
  readonly aud: string | readonly string[];
  readonly iat: number;
  readonly nbf?: number;
  readonly exp: number;
  /** Of this token alone. */
  readonly jti: string;
  readonly client_id?: string;
  /** Names the session under the id that it had: `tokenSidOf(handle)`. */
  readonly sid: string;
  /** Name of the sessions, if they are not those of `SessionModule.forRoot`. */
  readonly realm?: string;
  /** Who really acts, if somebody acts as `sub`. */
  readonly act?: { readonly sub: string };
  readonly roles: readonly string[];
  readonly permissions: readonly string[];
  readonly auth_time: number;
  /** `aal1` to `aal3` (NIST SP 800-63B). */
  readonly acr: string;
  /** Factors that were proven. */
  readonly amr: readonly string[];
  /** When each of them was last proven. */
  readonly amr_times: Readonly<Record<string, number>>;
}

/** What tokens of this library are, and no others (RFC 9068, section 2.1). */
export const TOKEN_TYPE = 'at+jwt';

export function claimsOf(
  subject: SessionTokenSubject,
  terms: SessionTokenTerms,
  { issuer, clientId, jti }: { issuer: string; clientId: string; jti: string },
): SessionTokenClaims {
  const { principal, actor, realm, factors } = subject;
  const issuedAt = secondsOf(terms.issuedAt);
  const times = Object.entries(factors).map(([name, at]) => [name, secondsOf(at)]);
  return {
    iss: issuer,
    sub: principal,
    aud: terms.audience.length === 1 ? (terms.audience[0] as string) : terms.audience,
    iat: issuedAt,
    nbf: issuedAt,
    exp: secondsOf(terms.expiresAt),
    jti,
    client_id: clientId,
    sid: subject.sid,
    ...(realm !== undefined && { realm }),
    ...(actor !== undefined && { act: { sub: actor } }),
    roles: subject.roles,
    permissions: subject.permissions,
    auth_time: secondsOf(subject.authenticatedAt),
    acr: `aal${subject.assurance}`,
    amr: Object.keys(factors),
    amr_times: Object.fromEntries(times) as Record<string, number>,
  };
}

const secondsOf = (milliseconds: number): number => Math.floor(milliseconds / 1_000);

/** The claims, if they have the shape of ours: whoever reads them later need not ask. */
export function shapedClaims(payload: object): SessionTokenClaims | undefined {
  const { sub, jti, sid, realm, act, roles, permissions, auth_time, acr, amr, amr_times } =
    payload as Partial<Record<keyof SessionTokenClaims, unknown>>;
  const fits =
    [sub, jti, sid].every(isName) &&
    (realm === undefined || isName(realm)) &&
    (act === undefined || isName(Object(act).sub)) &&
    [roles, permissions, amr].every(areNames) &&
    Number.isFinite(auth_time) &&
    typeof acr === 'string' &&
    typeof amr_times === 'object' &&
    amr_times !== null &&
    Object.values(amr_times).every(Number.isFinite);
  return fits ? (payload as SessionTokenClaims) : undefined;
}

const isName = (value: unknown): boolean => typeof value === 'string' && value !== '';
const areNames = (value: unknown): boolean => Array.isArray(value) && value.every(isName);

/** What `@RequireAssurance` compares. */
export const levelOf = ({ acr }: SessionTokenClaims): number =>
  Number(/^aal([1-3])$/.exec(acr)?.[1] ?? 0);
