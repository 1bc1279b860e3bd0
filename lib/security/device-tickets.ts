import { timingSafeEqual } from 'node:crypto';
import { Hmac } from './hmac.js';
import type { Keyring } from './keyring.js';

/** What a ticket is for: a challenge for a new key, one for a known key, or the bound cookie. */
export type TicketPurpose = 'register' | 'refresh' | 'cookie';

/**
 * Short texts that tell a time and that we made them, for one purpose and one owner. Every node that has
 * the secrets reads them, so nothing is stored for a challenge that is never answered.
 */
export class DeviceTickets {
  readonly #macs: readonly Hmac[];

  constructor(keyring: Keyring) {
    this.#macs = keyring.keysFor('device').map((key) => new Hmac(key));
  }

  /** @param at milliseconds since the epoch, which {@link read} gives back */
  issue(purpose: TicketPurpose, owner: string, at: number): string {
    const time = at.toString(36);
    const mac = (this.#macs[0] as Hmac).of(textOf(purpose, owner, time));
    return `${time}.${mac.toString('base64url')}`;
  }

  /** The time of a ticket; `undefined` if it was not made here, or for something else. */
  read(purpose: TicketPurpose, owner: string, ticket: string): number | undefined {
    const [, time, mac] = TICKET.exec(ticket) ?? [];
    if (time === undefined || mac === undefined) return undefined;
    const text = textOf(purpose, owner, time);
    const given = Buffer.from(mac, 'base64url');
    const known = this.#macs.some((own) => timingSafeEqual(own.of(text), given));
    return known ? parseInt(time, 36) : undefined;
  }
}

const TICKET = /^([0-9a-z]{1,11})\.([\w-]{43})$/;

const textOf = (purpose: TicketPurpose, owner: string, time: string): string =>
  `${purpose} ${owner} ${time}`;
