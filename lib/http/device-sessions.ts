import type { SessionDevice } from '../core/session-device.js';
import type {
  TransportRequest,
  TransportResponse,
} from '../core/session-id-transport.interface.js';
import {
  SessionDeviceError,
  SessionDeviceSkippedError,
  type SessionError,
} from '../core/session.errors.js';
import type { CookieAttributes } from '../options/resolve-session-options.js';
import type { DeviceTickets } from '../security/device-tickets.js';
import { CookieTransport } from './cookie.transport.js';

/** What binding sessions to devices needs. */
export interface DeviceSessionsParts {
  /** Where browsers register a key and prove that they have it. */
  readonly path: string;
  /** How long a bound cookie serves, in milliseconds. */
  readonly lifetime: number;
  /** For how long requests may come without one after a device was registered: they were in flight. */
  readonly grace: number;
  readonly tickets: DeviceTickets;
  /** The session cookie: the bound one has the same attributes. */
  readonly cookie: CookieAttributes;
  readonly now: () => number;
}

/** Milliseconds for which a challenge can be answered. Each is answered once. */
const CHALLENGE_LIFETIME = 300_000;
/** Of more than any browser sends the rest is not looked at: each costs a MAC. */
const MOST_COOKIES = 4;
/** A browser that lets its cookie go a little before we do is never refused for a slow network. */
const MARGIN = 30_000;

/**
 * The browser's side of sessions that are bound to a device (W3C Device Bound Session Credentials): the
 * offer that goes with a login, the short-lived cookie, the challenges. Keeps nothing.
 */
export class DeviceSessions {
  readonly path: string;
  /** Name of the bound cookie. */
  readonly cookieName: string;
  readonly #cookie: CookieTransport;

  constructor(private readonly parts: DeviceSessionsParts) {
    const { cookie, path, now } = parts;
    this.path = path;
    this.cookieName = `${cookie.name}-bound`;
    const own = { ...cookie, name: this.cookieName, persistent: true, routing: undefined };
    this.#cookie = new CookieTransport(own, now);
  }

  /** Whether a request comes from the device of its session, as far as its cookie tells. */
  proves(request: TransportRequest, device: SessionDevice): boolean {
    const { tickets, now, grace } = this.parts;
    if (now() - device.boundAt < grace) return true;
    return this.#cookie
      .read(request)
      .slice(0, MOST_COOKIES)
      .some((ticket) => (tickets.read('cookie', device.id, ticket) ?? 0) > now());
  }

  /** Why a request is refused that does not prove its device. */
  refusalOf(request: TransportRequest): SessionError {
    // Anybody may say so, and gains nothing by it.
    const skipped = request.header('secure-session-skipped') !== undefined;
    return skipped ? new SessionDeviceSkippedError() : new SessionDeviceError();
  }

  /**
   * Whether a link on another site was followed. For requests that others begin browsers prove nothing, as
   * the session cookie would not go with the proof; they do when the page asks for itself once more.
   */
  isArrival(request: TransportRequest): boolean {
    const site = request.header('sec-fetch-site');
    const elsewhere = site === 'cross-site' || site === 'same-site';
    return elsewhere && request.header('sec-fetch-dest') === 'document';
  }

  /** Asks the browser to bind the session to its device; those that cannot take no notice. */
  offer(request: TransportRequest, response: TransportResponse, seed: string): void {
    const { tickets, path, cookie, now } = this.parts;
    if (cookie.secure !== true && !request.secure) return;
    const challenge = tickets.issue('register', seed, now());
    response.append(
      'Secure-Session-Registration',
      `(ES256 RS256);path="${path}";challenge="${challenge}"`,
    );
  }

  /** When the challenge of an offer was made; `undefined` if it is none for this session, or old. */
  offeredAt(seed: string, challenge: string): number | undefined {
    return this.#fresh(this.parts.tickets.read('register', seed, challenge));
  }

  /** A challenge for a device that is known, as the value of `Secure-Session-Challenge`. */
  challenge({ id, answered }: SessionDevice): string {
    const { tickets, now } = this.parts;
    // Another node, whose clock is ahead, may have made the one before.
    const challenge = tickets.issue('refresh', id, Math.max(now(), answered + 1));
    return `"${challenge}";id="${id}"`;
  }

  /** When a challenge was made; `undefined` if it is none of ours for this device, old, or answered before. */
  challengedAt({ id, answered }: SessionDevice, challenge: string): number | undefined {
    const at = this.#fresh(this.parts.tickets.read('refresh', id, challenge));
    return at !== undefined && at > answered ? at : undefined;
  }

  /** Hands the browser the cookie that proves the device for a while. */
  write(request: TransportRequest, response: TransportResponse, { id }: SessionDevice): void {
    const { tickets, lifetime, now } = this.parts;
    const end = now() + lifetime;
    const endThere = end - Math.min(MARGIN, lifetime / 10);
    this.#cookie.write(request, response, tickets.issue('cookie', id, end), endThere, true);
  }

  /** With the session cookie goes the bound one, if there is one. */
  clear(request: TransportRequest, response: TransportResponse): void {
    if (this.#cookie.read(request).length > 0) this.#cookie.clear(request, response);
  }

  /** What the browser has to know of the session, in the words of the standard. */
  instructions({ id }: SessionDevice): object {
    const { path, cookie } = this.parts;
    const attributes = [
      `Path=${cookie.path}`,
      'Secure',
      'HttpOnly',
      `SameSite=${cookie.sameSite}`,
      ...(cookie.partitioned ? ['Partitioned'] : []),
    ];
    return {
      session_identifier: id,
      refresh_url: path,
      scope: { include_site: false },
      credentials: [{ type: 'cookie', name: this.cookieName, attributes: attributes.join('; ') }],
    };
  }

  #fresh(at: number | undefined): number | undefined {
    if (at === undefined) return undefined;
    return Math.abs(this.parts.now() - at) <= CHALLENGE_LIFETIME ? at : undefined;
  }
}
