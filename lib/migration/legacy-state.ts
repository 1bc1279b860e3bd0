import { countOf } from '../core/session-record.js';
import type { SessionState } from '../core/session-state.js';

/** Who is logged in for the other library: it knows of nobody who acts as somebody else. */
export function principalOf({ record }: SessionState): string | undefined {
  const { identity } = record?.header ?? {};
  return (identity?.actor ?? identity)?.principal;
}

/** What the version of a session counts. */
export const countIn = ({ record }: SessionState): number => countOf(record?.version ?? '0');
