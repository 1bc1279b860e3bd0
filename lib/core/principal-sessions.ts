import { LiveSession } from './live-session.js';
import { bucketName, bucketOf, bucketOfHandle, isHandle, isLasting } from './session-id.js';
import type { SessionClient, SessionGrants } from './session-identity.js';
import type { SessionIndex } from './session-index.js';
import { lastAccessOf, type SessionLifetime } from './session-lifetime.js';
import { actingPlace, actorPlace, principalPlace } from './session-places.js';
import { decodeRecord, type RecordHeader } from './session-record.js';
import type { SessionRecords } from './session-records.js';
import { claimsOf, listOf, mustBeLabel } from './session-renewal.js';
import type { PlacedValue, StoredValue } from './session-store.interface.js';
import type { Session, SessionGrantOptions } from './session.js';

/** A session as its user or an administrator may see it. Nothing in it lets anybody use the session. */
export interface ListedSession {
  /** Names it, for `revoke`. */
  readonly handle: string;
  readonly principal: string | undefined;
  /** What people call the device. */
  readonly label: string | undefined;
  /** Kind of client, as given at login. */
  readonly clientKind: string | undefined;
  /** Address and software of the client at its login; for people, not for decisions. */
  readonly client: SessionClient;
  /** When it began, was authenticated, was last used, and will end, in milliseconds since the epoch. */
  readonly createdAt: number;
  readonly authenticatedAt: number | undefined;
  readonly lastAccessedAt: number;
  readonly expiresAt: number;
  readonly roles: readonly string[];
  /** Proven factors. */
  readonly factors: readonly string[];
  /** Who really acts, if somebody acts as the principal. */
  readonly actor: string | undefined;
  readonly rememberMe: boolean;
  /** The session of the request that asks. */
  readonly current: boolean;
}

/** Which part of a list: newest logins first, those in which somebody else acts last. */
export interface ListSessionsOptions {
  /** At most so many, 1 to 1000. @default 100 */
  limit?: number;
  /** The last session of the part before. @default none: from the newest */
  after?: Pick<ListedSession, 'handle' | 'authenticatedAt'> & Partial<Pick<ListedSession, 'actor'>>;
}

/** What sessions of a principal need to know of the request that asks. */
export interface PrincipalSessionsParts {
  readonly index: SessionIndex;
  readonly records: SessionRecords;
  readonly lifetime: SessionLifetime;
  readonly now: () => number;
  /** Handle of the session that asks. */
  readonly current: () => string | undefined;
}

/**
 * The sessions of one principal: to be shown, to be ended, to be told of new grants. From
 * `SessionService.forPrincipal(principal)`.
 *
 * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) from all methods if the store keeps no indexes
 * @example const devices = await sessions.forPrincipal('alice').list();
 */
export class PrincipalSessions {
  readonly #bucket: string;

  constructor(
    readonly principal: string,
    private readonly parts: PrincipalSessionsParts,
  ) {
    this.#bucket = bucketName(bucketOf(principal));
  }

  /** The sessions, those with the newest login first; one round trip. */
  async list(options: ListSessionsOptions = {}): Promise<ListedSession[]> {
    const { limit = 100, after } = options;
    if (!Number.isInteger(limit) || limit < 1 || limit > 1_000) {
      throw new TypeError('list({ limit }): use a whole number from 1 to 1000');
    }
    if (after && !(isHandle(after.handle) && Number.isFinite(after.authenticatedAt))) {
      throw new TypeError(
        'list({ after }): give the last session of the part before, at least its handle and authenticatedAt',
      );
    }
    const place = principalPlace(this.principal);
    const range = {
      limit,
      // Those in which somebody else acts come last.
      after: after && {
        handle: after.handle,
        since: (after.authenticatedAt ?? 0) * (after.actor === undefined ? 1 : -1),
      },
    };
    const found = await this.parts.index.list(this.#bucket, place, range);
    return found.flatMap((placed) => listed(placed, this.parts) ?? []);
  }

  /** How many sessions there are. */
  async count(): Promise<number> {
    return this.parts.index.countIn(this.#bucket, principalPlace(this.principal));
  }

  /** Ends one session; `false` if the principal has none with this handle. */
  async revoke(handle: string): Promise<boolean> {
    return this.#isOurs(handle) && this.parts.index.endOne(handle, this.principal);
  }

  /**
   * Ends all sessions but one, and tells how many there were; for example after a password or a factor was
   * changed (OWASP ASVS 7.4.3). What the request means to do to that one, such as `elevate`, is
   * written first.
   */
  async revokeOthers(session: Pick<Session, 'handle'>): Promise<number> {
    // It stands in the list under the handle that it has in the store, not the one that it is to get.
    if (session instanceof LiveSession) await session.save();
    return this.#endAll(session.handle);
  }

  /**
   * Ends all sessions, and tells how many there were. When it resolves, none that existed at the
   * moment of the call serves another request, nor does one that such a session went on as under a new
   * id. Logins after that moment live. Sessions in which the principal acts as another one end, too.
   */
  async revokeAll(): Promise<number> {
    return this.#endAll();
  }

  /**
   * Changes what the principal may do in all their sessions: what is given replaces what was. Their next
   * requests see it, and get a new id. Where they act as another principal, they return to it; those who
   * act as them keep what they were given for that.
   *
   * @returns how many sessions were changed
   * @example await sessions.forPrincipal('alice').updateGrants({ roles: ['editor'] });
   */
  async updateGrants(grants: SessionGrantOptions): Promise<number> {
    const { roles, permissions, claims } = grants;
    const changed: Partial<SessionGrants> = {
      ...(roles && { roles: listOf('roles', roles) }),
      ...(permissions && { permissions: listOf('permissions', permissions) }),
      ...(claims && { claims: claimsOf(claims) }),
    };
    const { index } = this.parts;
    const amend = (header: RecordHeader): RecordHeader | undefined => {
      const { identity } = header;
      if (identity?.actor?.principal === this.principal) {
        const actor = { ...identity.actor, ...changed };
        return { ...header, identity: { ...identity, actor } };
      }
      if (identity?.principal !== this.principal || identity.actor) return undefined;
      return { ...header, identity: { ...identity, ...changed }, renew: true };
    };
    const amendActing = async (traces: readonly Trace[]) => {
      let changed = 0;
      for (const bucket of new Set(traces.map((trace) => trace.bucket))) {
        changed += await index.amendAll(bucket, actorPlace(this.principal), amend);
      }
      return changed;
    };
    // Who comes back meanwhile brings the new grants along; who goes there meanwhile is found after.
    const before = await this.#traces();
    const acting = await amendActing(before);
    const own = await index.amendAll(this.#bucket, principalPlace(this.principal), amend);
    const known = new Set(before.map(({ handle }) => handle));
    const left = (await this.#traces()).filter(({ handle }) => !known.has(handle));
    return acting + own + (await amendActing(left));
  }

  /**
   * Names a session for people, or with `undefined` takes its name; `false` if the principal has none with
   * this handle.
   */
  async setLabel(handle: string, label: string | undefined): Promise<boolean> {
    if (label !== undefined) mustBeLabel('setLabel(handle, label)', label);
    if (!this.#isOurs(handle)) return false;
    return this.parts.index.amend(handle, (header) =>
      header.identity?.principal === this.principal
        ? { ...header, identity: { ...header.identity, label } }
        : undefined,
    );
  }

  #isOurs(handle: string): boolean {
    return (
      typeof handle === 'string' && isHandle(handle) && bucketOfHandle(handle) === this.#bucket
    );
  }

  /**
   * Where the principal acts as others, their session stands beside the others', and here only a trace
   * of it. One may go there and come back meanwhile: so it is looked there first and last, and here
   * again if somebody was found there who had not been there at first.
   */
  async #endAll(except?: string): Promise<number> {
    const { index } = this.parts;
    let ended = (await this.#endActing(except)).ended;
    for (let round = 0; round < ROUNDS; round++) {
      const own = await index.endIn(this.#bucket, principalPlace(this.principal), except);
      const acting = await this.#endActing(except, own.pointers);
      ended += own.ended + acting.ended;
      if (!acting.found) break;
    }
    return ended;
  }

  /** Ends the sessions in which the principal acts as another one. */
  async #endActing(except?: string, pointers: readonly StoredValue[] = []) {
    const { index } = this.parts;
    const traces = await this.#traces();
    const left = pointers.flatMap(bucketOfSuccessor);
    let ended = 0;
    for (const bucket of new Set([...left, ...traces.map((trace) => trace.bucket)])) {
      ended += (await index.endIn(bucket, actorPlace(this.principal), except)).ended;
    }
    const spared = except === undefined ? undefined : bucketOfHandle(except);
    // Only now: whoever is interrupted before finds them again.
    const done = traces.filter(({ bucket }) => bucket !== spared);
    for (const { handle } of done) await index.forget(handle, actingPlace(this.principal));
    return { ended, found: left.length + done.length > 0 };
  }

  async #traces(): Promise<Trace[]> {
    const placed = await this.parts.index.all(this.#bucket, actingPlace(this.principal));
    return placed.flatMap(({ handle, head }) =>
      bucketOfSuccessor(head).map((bucket) => ({ handle, bucket })),
    );
  }
}

/** That there is a session in which the principal acts as another: in this bucket. */
interface Trace {
  readonly handle: string;
  readonly bucket: string;
}

/** How often sessions are followed that are switched to and fro while they are ended. */
const ROUNDS = 10;

function bucketOfSuccessor(pointer: StoredValue): string[] {
  const record = decodeRecord(pointer);
  return record?.kind === 'retired' ? [bucketOfHandle(record.successor)] : [];
}

/** What stands in a place as it may be shown; `undefined` for what is no session. */
export function listed(
  { handle, head, remaining }: PlacedValue,
  { records, lifetime, now, current }: Omit<PrincipalSessionsParts, 'index'>,
): ListedSession | undefined {
  const header = records.headerOf(head, handle);
  const at = now();
  if (!header || header.absoluteEnd <= at) return undefined;
  const { identity, createdAt } = header;
  return {
    handle,
    principal: identity?.principal,
    label: identity?.label,
    clientKind: identity?.clientKind,
    client: identity?.client ?? {},
    createdAt,
    authenticatedAt: identity?.authenticatedAt,
    lastAccessedAt: lastAccessOf(header, at + remaining, lifetime.idleTimeout(handle)),
    expiresAt: Math.min(header.absoluteEnd, at + remaining),
    roles: identity?.roles ?? [],
    factors: Object.keys(identity?.factors ?? {}),
    actor: identity?.actor?.principal,
    rememberMe: isLasting(handle),
    current: handle === current(),
  };
}
