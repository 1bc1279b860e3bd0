import { TOTP, type Secret } from 'otpauth';

/** How many wrong codes a user may give within so many milliseconds. */
const WRONG_CODES = 5;
const WITHIN = 60_000;

/**
 * Codes of an authenticator app (RFC 6238). What it remembers is of this process: an application with
 * several nodes keeps that, and a secret for each user, in its database.
 */
export class OneTimeCodes {
  readonly #totp: TOTP;
  /** By user, the counter of the last code that was accepted: each code counts once. */
  readonly #lastAccepted = new Map<string, number>();
  /** By user, when wrong codes came. */
  readonly #wrongAt = new Map<string, readonly number[]>();

  constructor(
    secret: Secret,
    private readonly now: () => number = Date.now,
  ) {
    this.#totp = new TOTP({ issuer: 'Corner shop', label: 'all users', secret });
  }

  /** What an authenticator app wants to be told. */
  get uri(): string {
    return this.#totp.toString();
  }

  /** What a code is that a user gives; a right one is right only once. */
  check(user: string, code: string): 'right' | 'wrong' | 'too many' {
    const timestamp = this.now();
    const wrongAt = (this.#wrongAt.get(user) ?? []).filter((at) => timestamp - at < WITHIN);
    if (wrongAt.length >= WRONG_CODES) return 'too many';
    const delta = this.#totp.validate({ token: code, timestamp, window: 1 });
    const counter = this.#totp.counter({ timestamp }) + (delta ?? 0);
    if (delta === null || counter <= (this.#lastAccepted.get(user) ?? 0)) {
      this.#wrongAt.set(user, [...wrongAt, timestamp]);
      return 'wrong';
    }
    this.#lastAccepted.set(user, counter);
    this.#wrongAt.delete(user);
    return 'right';
  }
}
