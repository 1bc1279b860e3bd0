import type { SessionDevice } from './session-device.js';
import type { SessionClient } from './session-identity.js';

/** What of a client may differ from when its session began. */
export type BoundProperty = 'userAgent' | 'address';

/** What the server sees of who sends a request. */
export interface ClientTraits {
  /** Network address, as far as the adapter trusts its proxies. */
  readonly address: string | undefined;
  /** Kind of its software, without versions. */
  readonly userAgent: string | undefined;
}

/** What becomes of a session that another client brings than the one it began with. */
export type OnMismatch = 'log' | 'reauthenticate' | 'destroy';

export const MISMATCH_POLICIES: readonly OnMismatch[] = ['log', 'reauthenticate', 'destroy'];

/** How sessions are tied to properties of their clients. */
export interface SessionBinding {
  /** What is kept of a client when its session begins. */
  of(client: ClientTraits): Readonly<Record<string, string>>;
  /** What is different now. */
  mismatches(
    bound: Readonly<Record<string, string>>,
    now: Readonly<Record<string, string>>,
  ): readonly BoundProperty[];
  /** How much of what is bound differs, from 0 to 1. */
  score(mismatches: readonly BoundProperty[]): number;
  readonly onMismatch: OnMismatch;
}

/** How far the client of a request is the one that its session began with. */
export interface BindingReport {
  /** 0: all that is bound is as it was. 1: nothing is. */
  readonly score: number;
  /** What differs. */
  readonly mismatches: readonly BoundProperty[];
  /** Guards ask for another login before anything else. */
  readonly reauthenticate: boolean;
}

/** What of an address has to stay the same: so many leading bits of each family, or what a function makes of it. */
export type AddressBinding =
  { readonly ipv4: number; readonly ipv6: number } | ((address: string) => string);

/** What sessions are tied to. */
export interface ClientBindingOptions {
  readonly userAgent: boolean;
  readonly address: AddressBinding | undefined;
  readonly onMismatch: OnMismatch;
}

/** What can be told of who sends a request, if anybody asks. */
export interface RequestingClient {
  readonly describe: () => SessionClient | undefined;
  readonly traits: () => ClientTraits;
  /** When its request came, in milliseconds since the epoch. */
  readonly arrivedAt: number;
  /** It can be told nothing any more. */
  readonly isAnswered: () => boolean;
  /**
   * It has been there since its session had an older id, such as on a socket: that one is no replay. With the
   * session of anybody else than this principal it does not go on.
   */
  readonly connected?: { readonly principal: string | undefined } | undefined;
  /** It cannot be handed an id, such as over a socket: why, and what to do instead. */
  readonly takesNoId?: string | undefined;
  /** Whether it is the device that a session is bound to; absent: sessions are bound to none. */
  readonly proves?: ((device: SessionDevice) => boolean) | undefined;
}
