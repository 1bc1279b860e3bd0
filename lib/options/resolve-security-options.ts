import { toMilliseconds } from '../core/duration.js';
import type { ReplayPolicy } from '../core/rejection.js';
import type { RecordSealing } from '../core/record-sealer.interface.js';
import type { ClientBindingOptions } from '../core/session-binding.js';
import { prefixesOf, usualPrefixes } from './security-options.validation.js';
import type { SessionModuleOptions } from './session-module.options.js';

/** How stolen sessions, ids and stores are of no use, as it was decided at boot. */
export interface ResolvedSecurityOptions {
  readonly secrets: readonly string[];
  /** `undefined`: records are plain. */
  readonly encryption: (RecordSealing & { readonly keys: readonly string[] }) | undefined;
  /** `undefined`: an id serves as long as its session lives. */
  readonly renewalTimeout: number | undefined;
  readonly regenerateGrace: number;
  readonly replayWindow: number;
  readonly onReplay: ReplayPolicy;
  readonly binding: ClientBindingOptions | undefined;
  readonly onRejected: SessionModuleOptions['onRejected'];
}

export function completeSecurity(
  options: SessionModuleOptions,
  idleTimeout: number,
): ResolvedSecurityOptions {
  const secrets = Object.freeze(options.secret === undefined ? [] : [options.secret].flat());
  return {
    secrets,
    encryption: completeEncryption(options.encryption, secrets),
    renewalTimeout: toMilliseconds(options.renewalTimeout),
    regenerateGrace: toMilliseconds(options.regenerateGrace ?? '30s') as number,
    replayWindow: toMilliseconds(options.replayWindow ?? idleTimeout) as number,
    onReplay: options.onReplay ?? 'refuse',
    binding: completeBinding(options.binding),
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

/** What is wrong although each option alone is right. */
export function securityContradictions(
  options: SessionModuleOptions,
  { encryption, renewalTimeout, binding }: ResolvedSecurityOptions,
  absoluteTimeout: number,
): string[] {
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
  if (options.onReplay === 'end' && options.replayWindow === 0) {
    problems.push("onReplay: 'end' needs a replayWindow: leave it out, or make it longer than 0");
  }
  return problems;
}
