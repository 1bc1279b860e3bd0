import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { nextVersion, versionOf } from '../../lib/core/session-record.js';
import type {
  OnLimit,
  PlaceLimit,
  Standing,
  StoredValue,
} from '../../lib/core/session-store.interface.js';

export const HOUR = 3_600_000;
/** All handles of these tests lie in one bucket, as those of a principal do. */
export const BUCKET = 'a7';

export const newHandle = (): string => handleOf(newSessionId(0xa7));

export const newValue = (body = 'body', previous?: StoredValue, kind = '1'): StoredValue =>
  `${nextVersion(previous && versionOf(previous))}${kind}{"head":1}\n\n${body}`;

/** What a renewed id leaves. */
export const pointer = (previous: StoredValue): StoredValue =>
  `${nextVersion(versionOf(previous))}>pointer`;

/** A value whose counter is higher by so many. */
export function ahead(value: StoredValue, by: number): StoredValue {
  const count = parseInt(value.slice(0, 8), 16) + by;
  return count.toString(16).padStart(8, '0') + newValue('ahead').slice(8);
}

export const standingIn = (places: readonly string[], since = 1): Standing => ({
  places,
  since,
  life: 2 * HOUR,
});

export const limitOf = (place: string, max: number, onLimit: OnLimit): PlaceLimit => ({
  place,
  max,
  onLimit,
  idleTimeout: HOUR,
  lastingIdleTimeout: 2 * HOUR,
});
