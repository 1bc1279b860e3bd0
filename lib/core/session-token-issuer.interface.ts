/** About whom a token speaks: what the store has of a session, and nothing that opens it. */
export interface SessionTokenSubject {
  readonly principal: string;
  /** Who really acts, if somebody acts as the principal. */
  readonly actor: string | undefined;
  readonly roles: readonly string[];
  readonly permissions: readonly string[];
  /** Each proven factor with the time of its last proof, in milliseconds since the epoch. */
  readonly factors: Readonly<Record<string, number>>;
  /** In milliseconds since the epoch. */
  readonly authenticatedAt: number;
  /** Authenticator assurance level that the factors amount to, 1 to 3. */
  readonly assurance: number;
  /** Names the session as `tokenSidOf(handle)` does; finds and opens nothing. */
  readonly sid: string;
  /** Name of the sessions, if they are not those of `forRoot`. */
  readonly realm: string | undefined;
}

/** For whom a token is, and how long; times in milliseconds since the epoch. */
export interface SessionTokenTerms {
  /** At least one, none empty. */
  readonly audience: readonly string[];
  readonly issuedAt: number;
  /** Later than `issuedAt`; never after the absolute end of the session. */
  readonly expiresAt: number;
}

/**
 * Makes the tokens of `session.token()`, for the option `tokens`: `JwtIssuer` of
 * `nestjs-distributed-session/jwt`, or one of your own.
 */
export interface SessionTokenIssuer {
  /** How long a token lives if nobody says, in milliseconds. */
  readonly ttl: number;
  /** How long one may live at most, in milliseconds. */
  readonly maxTtl: number;
  /** Signs a token. What may be in it, and until when, is decided already. */
  issue(subject: SessionTokenSubject, terms: SessionTokenTerms): Promise<string>;
  /** Fails at boot what would fail at the first token. */
  ready?(): Promise<void>;
}
