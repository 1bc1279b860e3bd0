import { toMilliseconds } from '../core/duration.js';
import type { ReplayPolicy } from '../core/rejection.js';
import type { RecordSealing } from '../core/record-sealer.interface.js';
import type { ClientBindingOptions } from '../core/session-binding.js';
import type { Timeouts } from '../core/session-lifetime.js';
import { originOf, prefixesOf, usualPrefixes } from './security-options.validation.js';
import type { SessionModuleOptions } from './session-module.options.js';

/** How stolen sessions, ids and stores are of no use, as it was decided at boot. */
export interface ResolvedSecurityOptions {
  readonly secrets: readonly string[];
  /** `undefined`: records are plain. */
  readonly encryption: (RecordSealing & { readonly keys: readonly string[] }) | undefined;
  /** `undefined`: an id serves as long as its session lives. */
  readonly renewalTimeout: number | undefined;
  readonly regenerateGrace: number;
  /** `undefined`: as long as each session can be idle. */
  readonly replayWindow: number | undefined;
  readonly onReplay: ReplayPolicy;
  readonly binding: ClientBindingOptions | undefined;
  /** `undefined`: sessions are bound to no device. */
  readonly deviceBound: { readonly path: string; readonly lifetime: number } | undefined;
  readonly csrf: Readonly<{
    origins: ReadonlySet<string>;
    always: boolean;
    header: string;
    field: string;
  }>;
  readonly onRejected: SessionModuleOptions['onRejected'];
}

export function completeSecurity(options: SessionModuleOptions): ResolvedSecurityOptions {
  const secrets = Object.freeze(options.secret === undefined ? [] : [options.secret].flat());
  return {
    secrets,
    encryption: completeEncryption(options.encryption, secrets),
    renewalTimeout: toMilliseconds(options.renewalTimeout),
    regenerateGrace: toMilliseconds(options.regenerateGrace ?? '30s') as number,
    replayWindow: toMilliseconds(options.replayWindow),
    onReplay: options.onReplay ?? 'refuse',
    binding: completeBinding(options.binding),
    deviceBound: completeDevice(options.deviceBound),
    csrf: completeCsrf(options.csrf),
    onRejected: options.onRejected,
  };
}

function completeEncryption(
  given: SessionModuleOptions['encryption'],
  secrets: readonly string[],
): ResolvedSecurityOptions['encryption'] {
  if (!given) return undefined;
  const { keys = secrets, mode = 'keys', acceptPlain = false } = given === true ? {} : given;
  return Object.freeze({
    keys: [keys].flat(),
    blind: mode === 'store-blind',
    acceptsPlain: acceptPlain,
  });
}

function completeBinding(
  given: SessionModuleOptions['binding'],
): ResolvedSecurityOptions['binding'] {
  if (!given) return undefined;
  const { userAgent = true, address = true, onMismatch = 'log' } = given;
  const near = address === true ? usualPrefixes() : address || undefined;
  return Object.freeze({
    userAgent,
    address: typeof near === 'string' ? prefixesOf(near) : near,
    onMismatch,
  });
}

function completeCsrf(given: SessionModuleOptions['csrf'] = {}): ResolvedSecurityOptions['csrf'] {
  const { origins = [], token = 'fallback', header = 'X-CSRF-Token', field = '_csrf' } = given;
  const written = origins.map((one) => originOf(one) as string);
  return Object.freeze({
    origins: new Set(written),
    always: token === 'always',
    header,
    field,
  });
}

function completeDevice(
  given: SessionModuleOptions['deviceBound'],
): ResolvedSecurityOptions['deviceBound'] {
  if (!given) return undefined;
  const { path = '/session/device', lifetime = '5m' } = given === true ? {} : given;
  return Object.freeze({ path, lifetime: toMilliseconds(lifetime) as number });
}

/** What else decides whether sessions can be bound to devices. */
interface AroundDevices {
  readonly transports: readonly unknown[];
  readonly cookie: {
    readonly name: string;
    readonly routing?: string | undefined;
    readonly path: string;
    readonly domain?: string | undefined;
    readonly secure: boolean | 'auto';
    readonly sameSite: 'lax' | 'strict' | 'none';
  };
  readonly accounts: number;
}

/** What is wrong with binding sessions to devices, by what it needs. */
export function deviceContradictions(
  { deviceBound, secrets }: ResolvedSecurityOptions,
  { transports, cookie, accounts }: AroundDevices,
): string[] {
  if (!deviceBound) return [];
  const under = cookie.path.endsWith('/') ? cookie.path : `${cookie.path}/`;
  const needs: readonly (readonly [boolean, string])[] = [
    [
      secrets.length > 0,
      'deviceBound needs `secret`, by which nodes know what others of them have asked for: give it',
    ],
    [
      transports.includes('cookie'),
      "deviceBound needs the transport 'cookie', as it is for browsers: add it, or leave deviceBound out",
    ],
    [
      cookie.secure !== false,
      'deviceBound needs https: leave cookie.secure out, or leave deviceBound out',
    ],
    [
      cookie.sameSite !== 'none',
      "deviceBound is for one site, as browsers prove nothing for requests of others: leave cookie.sameSite: 'none' out, or leave deviceBound out",
    ],
    [
      cookie.domain === undefined,
      'deviceBound is for one host, so others could not use its sessions: leave cookie.domain out, or leave deviceBound out',
    ],
    [
      deviceBound.path.startsWith(under),
      `deviceBound.path (${deviceBound.path}) is not under cookie.path (${cookie.path}), so no cookie would come there: change one of them`,
    ],
    [
      accounts === 1,
      'deviceBound and accounts are both given, but a browser proves one session at a time: leave one of them out',
    ],
    [
      cookie.routing !== `${cookie.name}-bound`,
      'cookie.routing is the name of the cookie that proves devices: choose another name',
    ],
  ];
  return needs.filter(([right]) => !right).map(([, problem]) => problem);
}

/** What is wrong although each option alone is right. */
export function securityContradictions(
  resolved: ResolvedSecurityOptions,
  { idleTimeout, absoluteTimeout }: Timeouts,
): string[] {
  const { encryption, renewalTimeout, binding, onReplay, replayWindow } = resolved;
  const { regenerateGrace: grace } = resolved;
  const problems: string[] = [];
  if (encryption?.keys.length === 0) {
    problems.push('encryption needs keys: give `secret`, or `encryption: { keys }`');
  }
  if (renewalTimeout !== undefined && renewalTimeout >= absoluteTimeout) {
    problems.push(
      `renewalTimeout (${renewalTimeout} ms) is not shorter than absoluteTimeout (${absoluteTimeout} ms), so no id would ever be renewed: make it shorter, or leave it out`,
    );
  }
  if (binding && !binding.userAgent && !binding.address) {
    problems.push('binding ties sessions to nothing: give userAgent or address, or leave it out');
  }
  if (renewalTimeout !== undefined && (renewalTimeout < grace || grace === 0)) {
    problems.push(
      `renewalTimeout (${renewalTimeout} ms) does not go with regenerateGrace (${grace} ms), so requests in flight would be logged out: it must be at least as long, and the grace longer than 0`,
    );
  }
  if (onReplay === 'end' && (replayWindow ?? idleTimeout) <= grace) {
    problems.push(
      `onReplay: 'end' needs a replayWindow longer than regenerateGrace (${grace} ms), or no replay would be noticed: make it longer, or leave it out`,
    );
  }
  return problems;
}
