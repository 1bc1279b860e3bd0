import { createHash } from 'node:crypto';
import { kindOf, LIVE } from '../../core/session-record.js';
import { VERSION_LENGTH, type StoredValue } from '../../core/session-store.interface.js';

/**
 * A digest of all in a session but its contents: whose it is, what it may do, when it ends. Two values with the same one
 * differ in contents only. `undefined` where that cannot be told: for what is sealed, and for what is no session.
 */
export function contentsPrint(value: StoredValue): string | undefined {
  if (kindOf(value) !== LIVE) return undefined;
  const end = value.indexOf('\n', VERSION_LENGTH);
  try {
    const header: unknown = JSON.parse(value.slice(VERSION_LENGTH + 1, end < 0 ? undefined : end));
    if (typeof header !== 'object' || header === null) return undefined;
    // How long the data is and when it was written go with the contents.
    const rest = { ...header, n: undefined, s: undefined };
    return createHash('sha256').update(JSON.stringify(rest)).digest('base64url').slice(0, 16);
  } catch {
    return undefined;
  }
}
