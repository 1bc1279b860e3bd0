import type { SessionCodec } from '../../core/session-codec.interface.js';
import { decodeRecord } from '../../core/session-record.js';
import type { StoredValue } from '../../core/session-store.interface.js';
import type { LargePart } from '../../core/session.errors.js';

/** Parts that are told of. */
const TOLD = 5;

/** What takes the most room in a session, by name: what to move elsewhere. */
export function largestParts(value: StoredValue, codec: SessionCodec): LargePart[] {
  const record = decodeRecord(value);
  if (record?.kind !== 'live') return [];
  const { dataText, flashText } = record;
  const head = value.length - dataText.length - flashText.length;
  const parts = [
    { name: 'principal, roles and claims', bytes: head },
    ...(flashText ? [{ name: 'flash messages', bytes: Buffer.byteLength(flashText) }] : []),
    ...attributesOf(dataText, codec),
  ];
  return parts.sort((one, other) => other.bytes - one.bytes).slice(0, TOLD);
}

function attributesOf(dataText: string, codec: SessionCodec): LargePart[] {
  return Object.entries(codec.decode(dataText)).map(([name, value]) => ({
    name: JSON.stringify(name),
    bytes: Buffer.byteLength(codec.encode({ [name]: value })),
  }));
}
