import type { SessionCarriage } from './carried-store.interface.js';
import { commitPlan, type CommitPlan } from './commit-plan.js';
import { SessionChanges, type EncodedContents } from './session-changes.js';
import type { BoundProperty, RequestingClient } from './session-binding.js';
import type { SessionCodec } from './session-codec.interface.js';
import type { DeviceStatus, SessionDevice } from './session-device.js';
import {
  bucketOf,
  bucketOfHandle,
  handleOf,
  isLasting,
  newSessionId,
  seedOf,
} from './session-id.js';
import type { SessionIdentity } from './session-identity.js';
import { countOf, type LiveRecord, type RecordHeader } from './session-record.js';
import { beginsAnew, combined, RENEW_UNASKED, type Renewal } from './session-renewal.js';
import { SessionStoreUnavailableError, SessionUnconfirmedError } from './session.errors.js';
import { UseOfCopies } from './consistency.js';
import type { StoreFailurePolicy } from './store-failure.js';

/** What the client must be told about its token. */
export type TokenChange = 'keep' | 'set' | 'clear';

/**
 * Everything one request knows about its session and means to do to it. Does no I/O; the manager
 * fills it and acts on it, the live session is its face.
 */
export class SessionState {
  readonly changes: SessionChanges;
  /** The record in the store, as last seen. */
  record: LiveRecord | undefined;
  /**
   * The id that came was given up for this one by an authentication. Not followed, or an id that an
   * attacker planted before the login would open the session after it.
   */
  supersededBy: string | undefined;
  /** And somebody had been logged in under it. */
  supersededLogin = false;
  loading: Promise<void> | undefined;
  committing: Promise<unknown> | undefined;
  /** The contents that the latest plan wants written. */
  encoded: EncodedContents | undefined;
  loaded = false;
  /** An id came with the request. */
  readonly presented: boolean;
  /** This request does not count as activity. */
  passive = false;
  /** It is to be stored even if it is empty. */
  required = false;
  /** A save failed, and nothing was changed since: the end of the request does not try again. */
  abandoned = false;
  /** The store did not answer this request. */
  unavailable = false;
  /** It was written, and replicas did not confirm that. */
  unconfirmed = false;
  /** What becomes of this request if the store does not answer. */
  onStoreFailure: StoreFailurePolicy = 'reject';
  /** The store did not answer, and the request goes on all the same. */
  outage: Exclude<StoreFailurePolicy, 'reject'> | undefined;
  /** The token was signed with a key on its way out. */
  staleToken = false;
  /** What it makes of copies of the session on this node. */
  readonly copies = new UseOfCopies();
  destroyed = false;
  ended = false;
  renewal: Renewal | undefined;
  /** What its client carries of it; `undefined`: a store keeps it. */
  carriage: SessionCarriage | undefined;
  /** Who asks, if it is a request that does. */
  client: RequestingClient | undefined;
  /** Tells what its client has in common with all of its requests, when a session begins. */
  bind: (() => Readonly<Record<string, string>> | undefined) | undefined;
  /** In what its client differs from the one that the session began with. */
  mismatches: readonly BoundProperty[] = [];
  /** Tells whether the request comes from the device that the session is bound to. */
  provesDevice: ((device: SessionDevice) => boolean) | undefined;
  #newDevice: SessionDevice | undefined;
  #judged: { readonly device: SessionDevice; readonly status: DeviceStatus } | undefined;
  /** The id that came was given up long ago. */
  replayed = false;
  tokenChange: TokenChange = 'keep';
  idleEnd: number;
  lastAccessedAt: number;
  #id: string | undefined;
  #handle: string | undefined;
  #next: string | undefined;

  constructor(
    codec: SessionCodec,
    readonly openedAt: number,
    private readonly absoluteEndIfNew: number,
    private readonly origin: { id?: string | undefined; handle?: string | undefined },
  ) {
    this.changes = new SessionChanges(codec);
    this.#id = origin.id;
    this.#handle = origin.handle;
    this.presented = origin.id !== undefined || origin.handle !== undefined;
    this.loaded = !this.presented;
    this.idleEnd = absoluteEndIfNew;
    this.lastAccessedAt = openedAt;
  }

  /** The id in force: of the stored session, or the one that it is going to have. */
  get id(): string | undefined {
    if (this.renewal) return this.nextId;
    if (this.#id === undefined && this.#handle === undefined) this.#id = newSessionId();
    return this.#id;
  }

  get handle(): string {
    if (this.renewal) return handleOf(this.nextId);
    return (this.#handle ??= handleOf(this.id as string));
  }

  /** The id under which the store has the session, whatever is going to become of it. */
  get storedId(): string | undefined {
    return this.#id;
  }

  /** The handle that the request came with, whatever was found under it. */
  get presentedHandle(): string | undefined {
    const { id, handle } = this.origin;
    return handle ?? (id === undefined ? undefined : handleOf(id));
  }

  get storedHandle(): string {
    return (this.#handle ??= handleOf(this.#id as string));
  }

  /** The id that a renewal leads to; beside the principal's other sessions if there is one. */
  get nextId(): string {
    return (this.#next ??= newSessionId(this.#nextBucket, this.nextIsLasting));
  }

  get nextIsLasting(): boolean {
    return this.renewal?.lasting ?? (this.record !== undefined && isLasting(this.storedHandle));
  }

  /** Without a principal it stays in its bucket: there the old and the new are written in one step. */
  get #nextBucket(): number | undefined {
    const { identity } = this;
    if (identity) return bucketOf(identity.principal);
    return this.record && parseInt(bucketOfHandle(this.storedHandle), 16);
  }

  /** Whose session it is, what this request means to do included. */
  get identity(): SessionIdentity | undefined {
    return this.renewal ? this.identityAt(this.openedAt) : this.record?.header.identity;
  }

  /** Whose session it is if it is written now. */
  identityAt(now: number): SessionIdentity | undefined {
    let identity = this.record?.header.identity;
    for (const step of this.renewal?.steps ?? []) identity = step(identity, now);
    return identity;
  }

  /** `undefined`: it is bound to none, or there is no request that could prove anything. */
  get device(): DeviceStatus | undefined {
    const device = this.record?.header.device;
    if (!device || !this.provesDevice || beginsAnew(this.renewal)) return undefined;
    if (this.#judged?.device !== device) {
      this.#judged = { device, status: this.provesDevice(device) ? 'proven' : 'unproven' };
    }
    return this.#judged.status;
  }

  /** Binds the session to a device when it is written, or notes what that has proven. */
  bindTo(device: SessionDevice): void {
    this.#newDevice = device;
    this.abandoned = false;
  }

  /** What its CSRF tokens are made of: the same for all ids since the login, and not found out from any. */
  get seed(): string | undefined {
    const id = this.record ? this.#id : this.id;
    return this.record?.header.seed ?? (id === undefined ? undefined : seedOf(id));
  }

  get createdAt(): number {
    return this.record?.header.createdAt ?? this.openedAt;
  }

  get absoluteEnd(): number {
    return this.record?.header.absoluteEnd ?? this.absoluteEndIfNew;
  }

  get expiresAt(): number {
    return Math.min(this.idleEnd, this.absoluteEnd);
  }

  /** False if there is certainly nothing to write; cheap, unlike a plan. */
  get mayNeedCommit(): boolean {
    if (this.abandoned) return false;
    // It compares with what is stored, and that is about to change.
    if (this.committing) return true;
    return (
      this.destroyed ||
      this.renewal !== undefined ||
      this.#newDevice !== undefined ||
      this.isOutdated ||
      (this.required && !this.record) ||
      this.changes.mayDiffer
    );
  }

  /** It is to be written again as it is: sealed, or with the newest key. */
  get isOutdated(): boolean {
    return this.record?.stale === true && this.outage === undefined;
  }

  /** Of what it is to write nothing was meant by this request. */
  get onlySeals(): boolean {
    return this.isOutdated && this.encoded === undefined && this.#newDevice === undefined;
  }

  /** What a commit is to do now; leaves in {@link encoded} what it has to write. */
  plan(): CommitPlan {
    const dead = this.destroyed || this.changes.damaged;
    this.encoded = dead ? undefined : this.changes.encode();
    return commitPlan({
      stored: this.record !== undefined,
      superseded: this.supersededBy !== undefined,
      ended: this.ended,
      destroyed: dead,
      renewal: this.renewal?.kind,
      empty: this.renewal?.kind === 'start-over' && this.changes.isEmpty,
      changed:
        this.encoded !== undefined ||
        this.#newDevice !== undefined ||
        this.isOutdated ||
        (this.required && !this.record),
    });
  }

  /** The header to write. Activity never moves `authenticatedAt` nor the absolute end. */
  header(now: number, absoluteEnd: number): RecordHeader {
    const { kind } = this.renewal ?? {};
    const before = this.record?.header;
    const isNew = beginsAnew(this.renewal);
    return {
      createdAt: kind === 'start-over' ? now : this.createdAt,
      absoluteEnd: isNew ? absoluteEnd : this.absoluteEnd,
      savedAt: now,
      identity: this.identityAt(now),
      declared: before?.declared,
      renew: this.renewal ? undefined : before?.renew,
      idSince: this.renewal && before ? now : before?.idSince,
      seed: isNew ? undefined : this.renewal ? this.seed : before?.seed,
      bound: isNew || !before ? this.bind?.() : before.bound,
      // Whoever logs in may do so from another device.
      device: isNew ? undefined : (this.#newDevice ?? before?.device),
    };
  }

  /** The store has this record for the session. */
  adopt(record: LiveRecord): void {
    this.record = record;
    this.supersededBy = undefined;
    if (this.staleToken) this.tokenChange = 'set';
    if (record.header.renew) this.renewUnasked();
    this.changes.rebase(record);
  }

  /** Continues under a new id. Only a request of its client can take one along. */
  renewUnasked(): void {
    // A thief who gets the new id takes it away from the user.
    if (this.passive || this.device === 'unproven' || this.client?.isAnswered()) return;
    if (this.#id !== undefined && !this.renewal) this.renew(RENEW_UNASKED);
  }

  /** The record was written as intended. */
  written(record: LiveRecord, encoded: EncodedContents): void {
    this.record = record;
    this.copies.seen = countOf(record.version);
    this.supersededBy = undefined;
    this.#newDevice = undefined;
    this.changes.stored(encoded);
  }

  /** The store does not answer: with what is known of the session, or with nothing. */
  goOn(outage: 'anonymous' | 'stale', record?: LiveRecord): void {
    this.outage = outage;
    this.loaded = true;
    this.record = record;
    this.renewal = undefined;
    this.tokenChange = 'keep';
    this.changes.rebase(record);
  }

  /** A save failed: what it meant to write is given up until something is changed anew. */
  failed(error: unknown): void {
    this.abandoned = true;
    if (error instanceof SessionStoreUnavailableError) this.unavailable = true;
    if (error instanceof SessionUnconfirmedError) this.unconfirmed = true;
  }

  /** The session lives on under another id, which the client does not have yet. */
  moveTo(id: string): void {
    this.#id = id;
    this.#handle = handleOf(id);
    this.#next = undefined;
    // A login has bound it to this client.
    if (this.renewal?.kind === 'authenticate') this.mismatches = [];
    this.renewal = undefined;
    this.tokenChange = 'set';
  }

  /** Forgets what was read and what was meant to be done. */
  reset(): void {
    this.loaded = !this.presented && !this.record;
    this.loading = undefined;
    this.outage = undefined;
    this.record = undefined;
    this.renewal = undefined;
    this.#newDevice = undefined;
    this.changes.reset();
  }

  /** The id that came is worth nothing: the session begins as a new one. */
  startNew(): void {
    this.record = undefined;
    this.mismatches = [];
    this.#id = undefined;
    this.#handle = undefined;
    this.changes.rebase(undefined);
  }

  /** The id that came was given up in an authentication: there is nothing here for its holder. */
  supersede(successorId: string, ofPrincipal: boolean): void {
    this.record = undefined;
    this.supersededBy = successorId;
    this.supersededLogin = ofPrincipal;
    this.changes.rebase(undefined);
  }

  /** Continues under a new id when it is written. */
  renew(renewal: Renewal): void {
    if (renewal.kind === 'start-over') this.changes.clear();
    if (renewal.kind !== 'regenerate' || !this.renewal) this.#next = undefined;
    this.renewal = combined(this.renewal, renewal);
  }

  /** The id of the session about to be created was taken: takes another. */
  takeOtherId(): void {
    this.#next = undefined;
    if (!this.renewal) this.#id = this.#handle = undefined;
  }
}
