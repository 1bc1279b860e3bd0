import type { Clock } from '../core/clock.js';
import { toMilliseconds, type Duration } from '../core/duration.js';
import { SessionOptionsError } from '../core/session.errors.js';
import { JWT_ALGORITHMS, type JwtAlgorithm, type JwtJwk, type JwtKey } from './jwt-keys.js';
import type { SessionTokenClaims } from './token-claims.js';

/** Where the keys of the issuer are fetched, and how often. */
export interface RemoteJwks {
  /** Over https, unless it is on this machine. */
  url: string | URL;
  /** How old fetched keys may be: as long is a key believed that the issuer has withdrawn. @default '10m' */
  maxAge?: Duration;
  /** How long after a fetch an unknown `kid` causes no other one: forged tokens cost the issuer no more. @default '30s' */
  cooldown?: Duration;
  /** How long a fetch may take. @default '2s' */
  timeout?: Duration;
}

/** What `JwtSessionModule.forRoot` takes. */
export interface JwtSessionOptions {
  /** Who issues the tokens: exactly the `issuer` of `JwtIssuer`. */
  issuer: string;
  /** What this service is called: tokens for others are refused. Of a list, any will do. */
  audience: string | readonly string[];
  /** The keys of the issuer: the URL of its JWK set, the set itself, or a list of public keys. */
  jwks: string | URL | RemoteJwks | { readonly keys: readonly JwtJwk[] } | readonly JwtKey[];
  /** How tokens may be signed. @default ['EdDSA', 'ES256', 'RS256']: what a key is for decides */
  algorithms?: readonly JwtAlgorithm[];
  /** By how much the clocks of issuer and service may differ. @default '5s' */
  clockTolerance?: Duration;
  /** Name of the sessions, if they are those of `SessionModule.forFeature`. @default those of `forRoot` */
  realm?: string;
  /**
   * Refuses tokens although they are right, such as those of sessions that have ended: asked for each request.
   * If it fails, the request is refused, by 503.
   *
   * @default none: a token is accepted until it ends
   * @example ({ sid }) => ended.has(sid)
   */
  deny?: (claims: SessionTokenClaims) => boolean | Promise<boolean>;
  /** Where the time comes from; for tests. @default the machine's clock */
  clock?: Clock;
}

/** Keys to fetch: complete, in milliseconds. */
export interface ResolvedRemoteJwks {
  readonly url: URL;
  readonly maxAge: number;
  readonly cooldown: number;
  readonly timeout: number;
}

/**
 * Finds all that is wrong with options, but for keys that have yet to be read.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`)
 */
export function checkJwtSessionOptions(options: JwtSessionOptions): void {
  const { issuer, audience, algorithms, clockTolerance, realm, deny, jwks } = Object(
    options,
  ) as Partial<JwtSessionOptions>;
  const known = algorithms === undefined || areAll(algorithms, (one) => KNOWN.includes(one));
  const tolerance = clockTolerance === undefined ? 0 : (toMilliseconds(clockTolerance) ?? -1);
  const problems = [
    !isText(issuer) && 'issuer is missing: give exactly the issuer of JwtIssuer',
    !areAll([audience].flat(), isText) &&
      'audience is missing: name this service, as in session.token({ audience })',
    jwks === undefined && 'jwks is missing: give the URL of the JWK set of the issuer, or its keys',
    !known &&
      `algorithms must be some of ${JWT_ALGORITHMS.join(', ')}: tokens that are not signed, or by a shared secret, are refused`,
    (tolerance < 0 || tolerance > MOST_TOLERANCE) &&
      "clockTolerance must be a duration from 0 to '5m': as long are tokens accepted after their end",
    realm !== undefined && !isText(realm) && 'realm must be a string that is not empty',
    deny !== undefined &&
      typeof deny !== 'function' &&
      'deny must be a function (claims) => boolean',
  ].filter((problem) => problem !== false);
  if (problems.length > 0) refuse(...problems);
}

const MOST_TOLERANCE = 300_000;
const KNOWN: readonly unknown[] = JWT_ALGORITHMS;

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';

const areAll = (values: unknown, fits: (one: unknown) => boolean): boolean =>
  Array.isArray(values) && values.length > 0 && values.every(fits);

/**
 * Where keys are fetched; `undefined`: they were given.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) for a URL over which anybody could give keys
 */
export function remoteOf(jwks: JwtSessionOptions['jwks']): ResolvedRemoteJwks | undefined {
  const isUrl = typeof jwks === 'string' || jwks instanceof URL;
  if (!isUrl && (Array.isArray(jwks) || !('url' in Object(jwks)))) return undefined;
  const given = isUrl ? { url: jwks } : (jwks as RemoteJwks);
  const { url, maxAge = '10m', cooldown = '30s', timeout = '2s' } = given;
  const parsed = URL.canParse(String(url)) ? new URL(url) : undefined;
  const isSafe = parsed?.protocol === 'https:' || (parsed?.protocol === 'http:' && isHere(parsed));
  if (!isSafe) {
    refuse('jwks must be a URL with https, or of this machine: else anybody on the way gives keys');
  }
  const [most, pause, wait] = [maxAge, cooldown, timeout].map((one) => toMilliseconds(one) ?? -1);
  if (most! < 1_000 || pause! < 0 || wait! < 1) {
    refuse("jwks: maxAge (at least '1s'), cooldown and timeout must be durations such as '30s'");
  }
  return { url: parsed!, maxAge: most!, cooldown: pause!, timeout: wait! };
}

const isHere = ({ hostname }: URL): boolean =>
  hostname === 'localhost' || hostname === '[::1]' || /^127(\.\d{1,3}){3}$/.test(hostname);

function refuse(...problems: string[]): never {
  throw new SessionOptionsError(problems.map((problem) => `JwtSessionModule: ${problem}`));
}
