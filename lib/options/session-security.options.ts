import type { Duration } from '../core/duration.js';
import type { OnMismatch } from '../core/session-binding.js';

/** How sessions are encrypted in the store. */
export interface SessionEncryptionOptions {
  /** Of a list, the first encrypts and all decrypt. At least 32 characters each. @default `secret` */
  keys?: string | readonly string[];
  /**
   * `'keys'`: who has the store and not the keys reads nothing. `'store-blind'`: the session's contents
   * need its id as well, which only its client has; so they can be read and changed in requests of its
   * client only. Lists and everything that ends sessions work all the same.
   *
   * @default 'keys'
   */
  mode?: 'keys' | 'store-blind';
  /** Sessions from before encryption count, and are encrypted when they are used. @default false: they count as absent */
  acceptPlain?: boolean;
}

/** To what sessions are tied. */
export interface SessionBindingOptions {
  /** The kind of browser and system, without versions. @default true */
  userAgent?: boolean;
  /**
   * The network: so many leading bits, such as `'/24'` for IPv4, `'/64'` for IPv6 or `'/24,/64'`, or what a
   * function makes of an address.
   *
   * @default true: '/24,/64'
   */
  address?: boolean | string | ((address: string) => string);
  /**
   * What becomes of it then: `'log'`, only noticed (`session.binding`, `onRejected`); `'reauthenticate'`,
   * guards ask for another login; `'destroy'`, the session ends.
   *
   * @default 'log'
   */
  onMismatch?: OnMismatch;
}

/** Which requests `SessionCsrfGuard` lets pass. */
export interface SessionCsrfOptions {
  /**
   * Other origins whose pages may send requests, with a token: scheme, host and port, such as
   * `'https://shop.example.com'`. CORS does not count here.
   *
   * @default []
   */
  origins?: readonly string[];
  /**
   * `'fallback'`: a token is needed where the browser does not tell that the request comes from a page of the
   * same origin. `'always'`: there, too.
   *
   * @default 'fallback'
   */
  token?: 'fallback' | 'always';
  /** The request header that brings the token. @default 'X-CSRF-Token' */
  header?: string;
  /** The field of a JSON or form body that brings it, where there is no such header. @default '_csrf' */
  field?: string;
}

/** How sessions are bound to devices. */
export interface SessionDeviceOptions {
  /**
   * Where browsers register their key and prove that they have it, by POST. The module answers there itself,
   * before all routes and guards; a global prefix does not count. What browsers ask for must come through
   * as it is: no redirect, no limit of a proxy.
   *
   * @default '/session/device'
   */
  path?: string;
  /** How long a browser needs no further proof; a stolen cookie serves no longer. @default '5m' */
  lifetime?: Duration;
}
