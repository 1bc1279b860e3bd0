import { hash } from 'node:crypto';
import type { StoredValue } from '../../core/session-store.interface.js';

/** Characters of the digest that a file begins with. */
const DIGEST = 32;

const digestOf = (value: StoredValue): string => hash('sha256', value, 'hex').slice(0, DIGEST);

/** What is written: a machine that loses its power may keep a file's name and lose what is in it. */
export const contentOf = (value: StoredValue): string => `${digestOf(value)}\n${value}`;

/** `undefined` for what is not whole. */
export function valueIn(content: string): StoredValue | undefined {
  const value = content.slice(DIGEST + 1);
  return content.startsWith(`${digestOf(value)}\n`) ? value : undefined;
}
