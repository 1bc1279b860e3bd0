import { MISMATCH_POLICIES } from '../core/session-binding.js';
import { areSecrets, boolean, Check, duration, oneOf } from './option-check.js';

/** What the option `encryption` may say. */
export class EncryptionRules {
  @Check(
    'use one or more different random strings of at least 32 characters, made for example by `openssl rand -base64 32`',
    areSecrets,
  )
  keys?: unknown;

  @Check(...oneOf('keys', 'store-blind'))
  mode?: unknown;

  @Check(...boolean)
  acceptPlain?: unknown;
}

/** What the option `binding` may say. */
export class BindingRules {
  @Check(...boolean)
  userAgent?: unknown;

  @Check(
    "use prefixes such as '/24' for IPv4, '/64' for IPv6 or both as '/24,/64', a boolean, or a function (address) => string",
    (v) => typeof v === 'boolean' || typeof v === 'function' || prefixesOf(v) !== undefined,
  )
  address?: unknown;

  @Check(...oneOf(...MISMATCH_POLICIES))
  onMismatch?: unknown;
}

/** What the option `deviceBound` may say. */
export class DeviceRules {
  @Check(
    "use a path such as '/session/device': it begins with '/', and has letters, digits and . _ ~ - / only",
    (v) => typeof v === 'string' && /^(?:\/[\w.~-]+)+$/.test(v),
  )
  path?: unknown;

  @Check(...duration(2_000, '5m'))
  lifetime?: unknown;
}

/** What the option `csrf` may say. */
export class CsrfOptionRules {
  @Check(
    "use a list of origins such as 'https://shop.example.com': scheme, host and port, and nothing after them",
    (v) => Array.isArray(v) && v.every((one) => originOf(one) !== undefined),
  )
  origins?: unknown;

  @Check(...oneOf('fallback', 'always'))
  token?: unknown;

  @Check(
    "use a name of a header of its own, such as 'X-CSRF-Token': letters, digits and '-', with a '-' in it",
    (v) => typeof v === 'string' && /^[a-z\d]+(?:-[a-z\d]+)+$/i.test(v),
  )
  header?: unknown;

  @Check("use the name of a field, such as '_csrf'", (v) => typeof v === 'string' && v !== '')
  field?: unknown;
}

/** An origin as browsers write it; `undefined` for what is none, or more than one. */
export function originOf(text: unknown): string | undefined {
  const fits = typeof text === 'string' && /^https?:\/\/[^\s/?#@*\\]+$/i.test(text);
  return fits && URL.canParse(text) ? new URL(text).origin : undefined;
}

/** Addresses with so many leading bits in common are near each other. */
export interface Prefixes {
  readonly ipv4: number;
  readonly ipv6: number;
}

/** A site's usual share of each family. */
const USUAL: Prefixes = { ipv4: 24, ipv6: 64 };

/**
 * Reads `'/24'`, `'/64'` or `'/24,/64'`; up to 32 bits are of IPv4, more of IPv6. `undefined` for anything
 * else.
 */
export function prefixesOf(text: unknown): Prefixes | undefined {
  const parts = typeof text === 'string' ? text.split(',') : [];
  const bits = parts.map((part) =>
    /^\s*\/\d{1,3}\s*$/.test(part) ? Number(part.trim().slice(1)) : -1,
  );
  const [first = -1, second] = bits;
  const fits = (one: number) => one >= 1 && one <= 128;
  if (bits.length > 2 || !bits.every(fits)) return undefined;
  if (second === undefined)
    return first > 32 ? { ...USUAL, ipv6: first } : { ...USUAL, ipv4: first };
  return first <= 32 ? { ipv4: first, ipv6: second } : undefined;
}

export const usualPrefixes = (): Prefixes => USUAL;
