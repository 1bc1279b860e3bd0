import type { SessionClient } from '../core/session-identity.js';

/** What people call a device, or what it is; `undefined` if nothing is known of it. */
export function deviceNameOf({ label, client }: Named): string | undefined {
  return label ?? softwareOf(client);
}

interface Named {
  readonly label: string | undefined;
  readonly client: SessionClient;
}

/** For example `Firefox 145 on Windows 11`. */
export function softwareOf({ browser, os, device }: SessionClient): string | undefined {
  const system = os ?? device;
  if (browser === undefined) return system;
  return system === undefined ? browser : `${browser} on ${system}`;
}

const UNITS = [
  [86_400_000, 'd'],
  [3_600_000, 'h'],
  [60_000, 'min'],
] as const;

/** How long ago something was, as people say it. */
export function agoOf(at: number, now: number): string {
  const passed = now - at;
  const unit = UNITS.find(([length]) => passed >= length);
  return unit ? `${Math.floor(passed / unit[0])} ${unit[1]} ago` : 'just now';
}

/** What became of an order to end sessions, as a word for a URL. */
export type Done = 'ended' | 'none' | `all-${number}`;

const DONE = /^(?:ended|none|all-\d{1,9})$/;

/** What a page says of it; `undefined` for what anybody may have written there. */
export function saidOf(done: unknown): string | undefined {
  if (typeof done !== 'string' || !DONE.test(done)) return undefined;
  if (done === 'ended') return 'The session is ended.';
  if (done === 'none') return 'There was no such session any more.';
  const count = Number(done.slice('all-'.length));
  return count === 1 ? '1 session is ended.' : `${count} sessions are ended.`;
}

/** What the page says while the store does not answer; the script says the same. */
export const DOWN = 'The session store does not answer.';
