import type { LiveRecord, RetiredRecord } from './session-record.js';
import { SharedData } from './shared-data.js';

/** A record for all who ask for it: nobody can change what others will see. */
export function asShared(
  record: LiveRecord | RetiredRecord | undefined,
): LiveRecord | RetiredRecord | undefined {
  if (record?.kind !== 'live') return record;
  const shared = record.locked ? undefined : new SharedData(record.dataText);
  return Object.freeze({ ...record, header: frozen(record.header), shared });
}

function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const one of Object.values(value)) frozen(one);
  return Object.freeze(value);
}
