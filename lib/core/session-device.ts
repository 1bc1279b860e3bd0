/** A public key as browsers tell it (RFC 7517); nothing but what a key of its kind needs. */
export type DeviceKey =
  | { readonly kty: 'EC'; readonly crv: 'P-256'; readonly x: string; readonly y: string }
  | { readonly kty: 'RSA'; readonly n: string; readonly e: string };

/** The device that a session is bound to: whoever uses it must show now and then to have the private key. */
export interface SessionDevice {
  /** Names it between browser and server; no secret. */
  readonly id: string;
  readonly key: DeviceKey;
  /** Since when the session is bound to it. */
  readonly boundAt: number;
  /** When the latest challenge that it has answered was made: an older one counts no more. */
  readonly answered: number;
}

/** Whether a request comes from the device that its session is bound to. */
export type DeviceStatus = 'proven' | 'unproven';

/** As it is stored. */
export type StoredDevice = readonly [id: string, boundAt: number, answered: number, key: DeviceKey];

export const encodeDevice = ({ id, boundAt, answered, key }: SessionDevice): StoredDevice => [
  id,
  boundAt,
  answered,
  key,
];

/** `undefined` for what is none. */
export function decodeDevice(stored: unknown): SessionDevice | undefined {
  if (!Array.isArray(stored)) return undefined;
  const [id, boundAt, answered, key] = stored as unknown[];
  const times = Number.isFinite(boundAt) && Number.isFinite(answered);
  const known = deviceKeyOf(key);
  if (typeof id !== 'string' || !times || !known) return undefined;
  return { id, boundAt: boundAt as number, answered: answered as number, key: known };
}

/** The public part of a JSON Web Key of a kind that is used here; `undefined` for any other. */
export function deviceKeyOf(key: unknown): DeviceKey | undefined {
  const { kty, crv, x, y, n, e } = (key ?? {}) as Readonly<Record<string, unknown>>;
  if (kty === 'EC' && crv === 'P-256' && isPart(x, 43, 43) && isPart(y, 43, 43)) {
    return { kty, crv, x, y };
  }
  // 2048 to 4096 bits; the exponent that all use.
  if (kty === 'RSA' && isPart(n, 342, 683) && e === 'AQAB') return { kty, n, e };
  return undefined;
}

const isPart = (value: unknown, least: number, most: number): value is string =>
  typeof value === 'string' &&
  value.length >= least &&
  value.length <= most &&
  /^[\w-]+$/.test(value);
