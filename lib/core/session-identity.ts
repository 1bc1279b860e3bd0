import { hash } from 'node:crypto';

/** From what a session was begun, as far as the server can tell; for people, not for decisions. */
export interface SessionClient {
  /** Network address, as far as the adapter trusts its proxies. */
  readonly address?: string | undefined;
  /** For example `Firefox 145`. */
  readonly browser?: string | undefined;
  /** For example `Windows 11`. */
  readonly os?: string | undefined;
  /** For example `mobile`, or the model. */
  readonly device?: string | undefined;
}

/** Whose session it is, what they may do, and how they proved it: settled at authentication. */
export interface SessionIdentity {
  readonly principal: string;
  readonly roles: readonly string[];
  readonly permissions: readonly string[];
  /** Each proven factor with the time of its last proof. */
  readonly factors: Readonly<Record<string, number>>;
  readonly claims: Readonly<Record<string, unknown>>;
  readonly authenticatedAt: number;
  readonly label?: string | undefined;
  readonly clientKind?: string | undefined;
  readonly idpSession?: string | undefined;
  readonly client?: SessionClient | undefined;
  /** Who really acts, while somebody acts as another principal; with what they return to. */
  readonly actor?: SessionIdentity | undefined;
}

/** What an administrator may change of a session that goes on. */
export type SessionGrants = Pick<SessionIdentity, 'roles' | 'permissions' | 'claims'>;

/** As it is stored: short keys, and nothing for what is empty. */
export interface StoredIdentity {
  p?: string | undefined;
  r?: readonly string[] | undefined;
  m?: readonly string[] | undefined;
  f?: Readonly<Record<string, number>> | undefined;
  q?: Readonly<Record<string, unknown>> | undefined;
  a?: number | undefined;
  l?: string | undefined;
  t?: string | undefined;
  d?: string | undefined;
  k?: readonly (string | null | undefined)[] | undefined;
  o?: StoredIdentity | undefined;
}

const NOTHING: readonly string[] = Object.freeze([]);
const NO_FACTORS: Readonly<Record<string, number>> = Object.freeze({});
const NO_CLAIMS: Readonly<Record<string, unknown>> = Object.freeze({});

export function encodeIdentity(identity: SessionIdentity): StoredIdentity {
  const { roles, permissions, factors, claims, client, actor } = identity;
  return {
    p: identity.principal,
    r: roles.length > 0 ? roles : undefined,
    m: permissions.length > 0 ? permissions : undefined,
    f: hasKeys(factors) ? factors : undefined,
    q: hasKeys(claims) ? claims : undefined,
    a: identity.authenticatedAt,
    l: identity.label,
    t: identity.clientKind,
    d: identity.idpSession,
    k: client && [client.address, client.browser, client.os, client.device],
    o: actor && encodeIdentity(actor),
  };
}

/** `undefined` for an anonymous session; what does not fit counts as absent. */
export function decodeIdentity(stored: StoredIdentity): SessionIdentity | undefined {
  if (typeof stored.p !== 'string') return undefined;
  const { k, o } = stored;
  return {
    principal: stored.p,
    roles: Array.isArray(stored.r) ? stored.r : NOTHING,
    permissions: Array.isArray(stored.m) ? stored.m : NOTHING,
    factors: stored.f ?? NO_FACTORS,
    claims: stored.q ?? NO_CLAIMS,
    authenticatedAt: stored.a ?? 0,
    label: textOrNothing(stored.l),
    clientKind: textOrNothing(stored.t),
    idpSession: textOrNothing(stored.d),
    client: Array.isArray(k) ? clientOf(k) : undefined,
    actor: o && decodeIdentity(o),
  };
}

const textOrNothing = (value: unknown) => (typeof value === 'string' ? value : undefined);

function clientOf([address, browser, os, device]: readonly (string | null)[]): SessionClient {
  return {
    address: address ?? undefined,
    browser: browser ?? undefined,
    os: os ?? undefined,
    device: device ?? undefined,
  };
}

/** Whether two logins proved the same; when each of them was does not matter. */
export function isSameIdentity(one: SessionIdentity, other: SessionIdentity): boolean {
  return textOf(one) === textOf(other);
}

function textOf(identity: SessionIdentity): string {
  const timeless = { factors: NO_FACTORS, authenticatedAt: 0, client: undefined };
  const proven = Object.keys(identity.factors);
  return JSON.stringify([proven, encodeIdentity({ ...identity, ...timeless })]);
}

/** A short digest that stands for a value where the value itself must not be seen, 128 bit. */
export const digestOf = (value: string): string => hash('sha256', value, 'base64url').slice(0, 22);

function hasKeys(object: object): boolean {
  for (const _ in object) return true;
  return false;
}
