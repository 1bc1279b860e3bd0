import type { SessionReader, SessionReaderParts } from './session-reader.js';
import type { LiveRecord } from './session-record.js';

/** Where a session is, and whose. */
export interface SessionWhereabouts {
  readonly handle: string;
  readonly principal: string | undefined;
}

/** More renewals than that are not followed at once. */
const MAX_HOPS = 32;

/**
 * Under which handle a session is by now, for whoever was told of it while it had an older one, such as in a
 * message that waited; `undefined`: it is over. What somebody has logged in to who was not logged in
 * before, or was somebody else, is another session. Pointers are believed as they are.
 */
export async function follow(
  from: string,
  { store }: Pick<SessionReaderParts, 'store'>,
  reader: SessionReader,
): Promise<{ readonly handle: string; readonly record: LiveRecord } | undefined> {
  let handle = from;
  for (let hop = 0; hop <= MAX_HOPS; hop++) {
    const loaded = await store.load(handle);
    const record = loaded && reader.decode(loaded.value, handle);
    if (record?.kind !== 'retired') return record && { handle, record };
    if (record.privileged && !record.ofPrincipal) return undefined;
    handle = record.successor;
  }
  return undefined;
}
