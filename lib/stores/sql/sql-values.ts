import { kindOf, LIVE, versionOf } from '../../core/session-record.js';
import type { StoredValue } from '../../core/session-store.interface.js';
import type { SessionRow, SqlBytes } from './sql-tables.js';

/** A value as it lies in a row. */
export function rowOf(value: StoredValue): Pick<SessionRow, 'version' | 'live' | 'head' | 'body'> {
  const end = value.indexOf('\n');
  return {
    version: versionOf(value),
    live: kindOf(value) === LIVE ? 1 : 0,
    head: Buffer.from(end < 0 ? value : value.slice(0, end)),
    body: end < 0 ? null : Buffer.from(value.slice(end)),
  };
}

/** The value of a row. */
export const valueOf = ({ head, body }: Pick<SessionRow, 'head' | 'body'>): StoredValue =>
  textOf(head) + (body === null ? '' : textOf(body));

export function textOf(bytes: SqlBytes): string {
  if (typeof bytes === 'string') return bytes;
  if (!ArrayBuffer.isView(bytes)) return Buffer.from(bytes).toString();
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString();
}
