import { randomBytes } from 'node:crypto';
import { kindOf, versionOf } from '../../core/session-record.js';
import type { StoredValue } from '../../core/session-store.interface.js';

/**
 * All that is known of a session but its value. It is the name of an empty file: to rename that is to
 * compare and to swap, in one step of the file system.
 */
export interface SessionState {
  /** Counts the names that the session has had: none comes twice. */
  readonly step: number;
  readonly version: string;
  readonly kind: string;
  /** End of the idle window, in milliseconds since the epoch. */
  readonly endsAt: number;
  /** Names the file with the value. */
  readonly token: string;
}

const SHAPE = /^s\.([0-9a-f]{8})\.((?:[0-9a-f]{2})*)\.(\d+)\.([0-9a-f]{24})$/;

/** Names are lower-case hex: there are file systems to which others that differ in case are the same. */
export function nameOf({ step, version, kind, endsAt, token }: SessionState): string {
  const written = Buffer.from(version + kind).toString('hex');
  const end = String(Math.max(0, Math.ceil(endsAt))).padStart(13, '0');
  return `s.${step.toString(16).padStart(8, '0')}.${written}.${end}.${token}`;
}

/** `undefined` for the name of anything else. */
export function stateIn(name: string): SessionState | undefined {
  const [, step, written = '', end, token = ''] = SHAPE.exec(name) ?? [];
  if (step === undefined) return undefined;
  const head = Buffer.from(written, 'hex').toString();
  return {
    step: parseInt(step, 16),
    version: versionOf(head),
    kind: kindOf(head) ?? '',
    endsAt: Number(end),
    token,
  };
}

/** The state of a value that was written under a token, following another. */
export function stateOf(
  value: StoredValue,
  endsAt: number,
  token: string,
  previous?: SessionState,
): SessionState {
  const step = (previous?.step ?? 0) + 1;
  return { step, version: versionOf(value), kind: kindOf(value) ?? '', endsAt, token };
}

/** Where the value lies. */
export const valueFile = (token: string): string => `v.${token}`;

export const isValueFile = (name: string): boolean => name.startsWith('v.');

/** Each attempt to write has one of its own. */
export const newToken = (): string => randomBytes(12).toString('hex');
