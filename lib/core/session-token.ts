import { toMilliseconds, toText } from './duration.js';
import { digestOf } from './session-identity.js';
import type { SessionState } from './session-state.js';
import {
  SessionEndedError,
  SessionRequiredError,
  SessionStoreUnavailableError,
  SessionUnavailableError,
} from './session.errors.js';
import type { SessionTokenIssuer } from './session-token-issuer.interface.js';
import type { SessionTokenOptions } from './session.js';

/** Injects what judges requests without a session, by the token that they bring. */
export const TOKEN_GUARD = Symbol.for('nestjs-distributed-session/token-guard');

/** With what short tokens are made. */
export interface TokenMaking {
  readonly issuer: SessionTokenIssuer;
  readonly assurance: (factors: readonly string[]) => number;
  /** Name of the sessions, if they are not those of `forRoot`. */
  readonly realm: string | undefined;
  readonly now: () => number;
}

/** What a manager may have of it. */
export interface TokenParts {
  /** `undefined`: there are no short tokens. */
  readonly tokens?: TokenMaking | undefined;
}

/**
 * What tokens call the session of a handle: a digest, so that whoever gets a token can compare, but can
 * neither find nor refer to the session by it.
 */
export const tokenSidOf = (handle: string): string => digestOf(`token of ${handle}`);

/**
 * A token about a session as it is stored. Claims that a failing write would take back are in none.
 *
 * @throws SessionEndedError (`SESSION_ENDED`), SessionRequiredError (`SESSION_REQUIRED`),
 * SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`), SessionUnavailableError (`SESSION_UNAVAILABLE`)
 */
export async function issueToken(
  state: SessionState,
  { issuer, assurance, realm, now }: TokenMaking,
  options: SessionTokenOptions,
): Promise<string> {
  const audience = audienceOf(options);
  const ttl = ttlOf(options, issuer);
  if (state.outage !== undefined) {
    // It may have been ended since, or be somebody's whom nobody knows now.
    state.unavailable = true;
    throw new SessionStoreUnavailableError('outage');
  }
  if (state.destroyed || state.ended) throw new SessionEndedError();
  if (!state.identity) throw new SessionRequiredError();
  const { record } = state;
  const identity = record?.header.identity;
  if (!record || !identity || state.renewal) throw notStored();
  const issuedAt = now();
  const expiresAt = Math.min(issuedAt + ttl, record.header.absoluteEnd);
  if (expiresAt - issuedAt < SECOND) throw new SessionEndedError();
  const { principal, actor, roles, permissions, factors, authenticatedAt } = identity;
  const level = assurance(Object.keys(factors));
  const sid = tokenSidOf(state.storedHandle);
  return issuer.issue(
    {
      principal,
      actor: actor?.principal,
      roles,
      permissions,
      factors,
      authenticatedAt,
      assurance: level,
      sid,
      realm,
    },
    { audience, issuedAt, expiresAt },
  );
}

/** Tokens know whole seconds only. */
const SECOND = 1_000;

/** @throws TypeError unless it names who is to accept the token */
function audienceOf({ audience }: SessionTokenOptions): readonly string[] {
  const named: readonly unknown[] = Array.isArray(audience) ? audience : [audience];
  const fits =
    named.length > 0 && named.every((one): one is string => typeof one === 'string' && one !== '');
  if (fits) return [...named];
  throw new TypeError(
    'session.token({ audience }): name the service that is to accept the token, none empty',
  );
}

/** @throws TypeError unless it is between a second and what the issuer allows */
function ttlOf({ ttl }: SessionTokenOptions, issuer: SessionTokenIssuer): number {
  const milliseconds = ttl === undefined ? issuer.ttl : toMilliseconds(ttl);
  const { maxTtl } = issuer;
  if (milliseconds !== undefined && milliseconds >= SECOND && milliseconds <= maxTtl) {
    return milliseconds;
  }
  throw new TypeError(
    `session.token({ ttl }): use a duration such as '5m', or milliseconds, from 1s to ${toText(maxTtl)}`,
  );
}

const notStored = (): SessionUnavailableError =>
  new SessionUnavailableError(
    'A token tells only what is stored: `await session.save()` after a login or another change of who it is, before you ask for one.',
  );

/** What an application without issuer gets. */
export const noTokens = (): SessionUnavailableError =>
  new SessionUnavailableError(
    "There are no tokens: give SessionModule the option `tokens`, such as JwtIssuer of 'nestjs-distributed-session/jwt'.",
  );
