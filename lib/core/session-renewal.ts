import { jsonSessionCodec } from './json-session.codec.js';
import type { SessionClient, SessionIdentity } from './session-identity.js';
import type { AuthenticateOptions, SwitchPrincipalOptions } from './session.js';

/** Whose session it is after a renewal, from whose it was. */
export type IdentityStep = (
  current: SessionIdentity | undefined,
  now: number,
) => SessionIdentity | undefined;

/** An intent to continue under a new id. */
export interface Renewal {
  /**
   * `start-over` leaves data and principal behind: what express-session means by `regenerate`. Only
   * an authentication makes a session where there is none.
   */
  readonly kind: 'regenerate' | 'start-over' | 'authenticate' | 'elevate' | 'switch';
  readonly steps: readonly IdentityStep[];
  /** Whether it is a lasting session from now on; absent: as before. */
  readonly lasting?: boolean | undefined;
  /** Nobody has asked for it: its time had come, or grants were changed. */
  readonly unasked?: boolean;
}

export const REGENERATE: Renewal = { kind: 'regenerate', steps: [] };
export const RENEW_UNASKED: Renewal = { ...REGENERATE, unasked: true };
export const START_OVER: Renewal = { kind: 'start-over', steps: [() => undefined], lasting: false };

/** Binds the session to a principal; all that was proven before counts no more. */
export function authentication(
  principal: string,
  options: AuthenticateOptions,
  client: SessionClient | undefined,
): Renewal {
  const { roles, permissions, factors = [], claims = {}, label, clientKind, idpSession } = options;
  mustBeName('authenticate(principal)', principal);
  for (const [name, value] of Object.entries({ clientKind, idpSession })) {
    if (value !== undefined) mustBeName(`authenticate(…, { ${name} })`, value);
  }
  if (label !== undefined) mustBeLabel('authenticate(…, { label })', label);
  const proven = listOf('factors', factors);
  const identity = {
    principal,
    roles: listOf('roles', roles),
    permissions: listOf('permissions', permissions),
    claims: claimsOf(claims),
    label,
    clientKind,
    idpSession,
    client: options.client ?? client,
  };
  const step: IdentityStep = (_, now) => ({
    ...identity,
    factors: Object.fromEntries(proven.map((factor) => [factor, now])),
    authenticatedAt: now,
  });
  return { kind: 'authenticate', steps: [step], lasting: options.rememberMe ?? false };
}

/** A further factor was proven. */
export function elevation(factor: string): Renewal {
  mustBeName('elevate(factor)', factor);
  const step: IdentityStep = (current, now) =>
    current && { ...current, factors: { ...current.factors, [factor]: now } };
  return { kind: 'elevate', steps: [step] };
}

/** From now on the session is another principal's; who really acts, and what they had, is kept. */
export function switchTo(principal: string, options: SwitchPrincipalOptions): Renewal {
  mustBeName('switchPrincipal(principal)', principal);
  const grants = {
    roles: listOf('roles', options.roles),
    permissions: listOf('permissions', options.permissions),
    claims: claimsOf(options.claims ?? {}),
  };
  const step: IdentityStep = (current) =>
    current && {
      ...grants,
      principal,
      // What was proven was proven by who really acts.
      factors: current.factors,
      authenticatedAt: current.authenticatedAt,
      idpSession: current.idpSession,
      client: current.client,
      actor: current.actor ?? current,
    };
  return { kind: 'switch', steps: [step] };
}

/** Back to who really acts. */
export const SWITCH_BACK: Renewal = {
  kind: 'switch',
  steps: [(current) => current?.actor ?? current],
};

/** What two intents of one request come to. */
export function combined(before: Renewal | undefined, next: Renewal): Renewal {
  if (!before || next.kind === 'authenticate' || next.kind === 'start-over') return next;
  if (next.kind === 'regenerate') return before;
  const makesOne = before.kind === 'authenticate' || before.kind === 'start-over';
  return {
    kind: makesOne ? before.kind : next.kind,
    steps: [...before.steps, ...next.steps],
    lasting: next.lasting ?? before.lasting,
  };
}

/** @throws TypeError naming what must be given */
export function mustBeName(what: string, value: unknown): asserts value is string {
  if (typeof value === 'string' && value !== '') return;
  const name = /(\w+)[)\s}]*$/.exec(what)?.[1];
  throw new TypeError(`${what}: the ${name} must be a string that is not empty`);
}

/** Users name their devices: a label is stored with every session, and is bounded. */
const LONGEST_LABEL = 200;

/** @throws TypeError naming what must be given */
export function mustBeLabel(what: string, value: unknown): asserts value is string {
  mustBeName(what, value);
  if (value.length <= LONGEST_LABEL) return;
  throw new TypeError(`${what}: the label must have at most ${LONGEST_LABEL} characters`);
}

/** @throws TypeError if it is no list of strings */
export function listOf(what: string, value: readonly string[] = []): readonly string[] {
  const fits = Array.isArray(value) && value.every((one) => typeof one === 'string' && one !== '');
  if (!fits) throw new TypeError(`${what} must be a list of strings, none of them empty`);
  return [...value];
}

/** A copy that will come back from the store as it is. */
export function claimsOf(claims: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return jsonSessionCodec.decode(jsonSessionCodec.encode(claims));
}

/** Nothing of what was before the login goes on after it, but the data. */
export const beginsAnew = (renewal: Renewal | undefined): boolean =>
  renewal?.kind === 'authenticate' || renewal?.kind === 'start-over';
