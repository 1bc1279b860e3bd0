import { LiveSession, type SessionKeeper } from '../core/live-session.js';
import type { SessionCodec } from '../core/session-codec.interface.js';
import type {
  TransportRequest,
  TransportResponse,
} from '../core/session-id-transport.interface.js';
import type { SessionManager } from '../core/session-manager.js';
import type { MigrationVisit } from '../core/session-migration.interface.js';
import type { SessionState } from '../core/session-state.js';
import { SessionConflictError, SessionStoreUnavailableError } from '../core/session.errors.js';
import type { SaveSessionOptions } from '../core/session.js';
import type { LegacyBond } from './legacy-bond.js';
import { changesBetween, type Attributes, type LegacyRecord } from './legacy-record.js';
import { principalOf } from './legacy-state.js';
import type { LegacyRedis } from './legacy-redis.js';
import type { MigrationFigures } from '../core/migration-figures.js';
import type { LegacyMapping } from './legacy-mapping.js';
import { convert, idFrom, type ConversionParts, type Origin } from './session-conversion.js';

/** What visits have in common. */
export interface VisitParts extends ConversionParts {
  readonly old: LegacyRedis;
  readonly mapping: LegacyMapping;
  /** Both libraries serve the same sessions; else what was converted is gone there. */
  readonly both: boolean;
  readonly figures: MigrationFigures;
  /** How long a converted id leads on, in milliseconds, for browsers that lost the answer. */
  readonly movedFor: number;
}

/** How often what was changed on both sides at once is put together before the request fails. */
const ATTEMPTS = 8;

/**
 * One request, and the session that its browser has in the other library. Stands between the session of the
 * request and the manager: before it is read here, it is looked what became of it there; after it is written
 * here, it is written there.
 */
export class LegacyVisit implements SessionKeeper, MigrationVisit {
  readonly session: LiveSession;
  readonly #bond: LegacyBond;
  #loading: Promise<void> | undefined;
  /** The cookie has served its time. */
  #isDone = false;

  constructor(
    private readonly parts: VisitParts,
    private readonly request: TransportRequest,
    /** The id that the browser brings. */
    private readonly brought: string | undefined,
    state: SessionState,
    bond: LegacyBond,
  ) {
    this.#bond = bond;
    this.session = new LiveSession(state, this);
    if (this.brings) state.loaded = false;
    // What was changed there is not told here.
    state.copies.consistency = 'strong';
  }

  get brings(): boolean {
    return this.brought !== undefined;
  }

  /** Whoever asks while it is under way shares it. */
  load(state: SessionState): Promise<void> {
    this.#loading ??= this.#load(state).catch((error: unknown) => {
      this.#loading = undefined;
      if (!(error instanceof SessionStoreUnavailableError)) throw error;
      if (state.onStoreFailure !== 'anonymous') {
        state.unavailable = true;
        throw error;
      }
      state.goOn('anonymous');
    });
    return this.#loading;
  }

  async commit(state: SessionState, options?: SaveSessionOptions): Promise<boolean> {
    const kind = state.renewal?.kind;
    const lives = await this.#manager.commit(state, options);
    if (!lives) this.#bond.loosen();
    else if (this.parts.both && state.record && !state.outage) {
      await this.#bond.follow(state, kind !== undefined && kind !== 'regenerate');
    }
    return !state.ended;
  }

  async reload(state: SessionState): Promise<void> {
    await this.#manager.reload(state);
  }

  touch(state: SessionState): Promise<void> {
    return this.#manager.touch(state);
  }

  confirm(state: SessionState): Promise<void> {
    return this.#manager.confirm(state);
  }

  use(state: SessionState): Promise<void> {
    return this.#manager.use(state);
  }

  bindingOf(state: SessionState) {
    return this.#manager.bindingOf(state);
  }

  get tokens() {
    return this.#manager.tokens;
  }

  answer(state: SessionState, response: TransportResponse): boolean {
    const { cookies, both } = this.parts;
    if (!state.loaded || state.outage) return false;
    const { id } = this.#bond;
    if (both && id !== undefined && state.record) {
      if (id === this.brought) return false;
      cookies.write(this.request, response, id, this.#bond.endsAt);
      return true;
    }
    if (!this.brings || !(this.#isDone || state.destroyed || !both)) return false;
    cookies.clear(this.request, response);
    return true;
  }

  get #manager(): SessionManager {
    return this.parts.manager;
  }

  get #codec(): SessionCodec {
    return this.parts.codec;
  }

  async #load(state: SessionState): Promise<void> {
    const { old } = this.parts;
    const theirs = this.brought === undefined ? undefined : await old.read(this.brought);
    if (state.presented) await this.#loadOurs(state, theirs);
    if (!state.record && !state.outage) await this.#loadTheirs(state, theirs);
    state.loaded = true;
  }

  /** The session of ours that the request brings, as far as it goes on there. */
  async #loadOurs(state: SessionState, theirs: LegacyRecord | undefined): Promise<void> {
    const { old, both, figures } = this.parts;
    await this.#manager.load(state);
    if (!state.record || state.outage) return;
    const handle = state.storedHandle;
    const id = both || this.brings ? await old.linkOf(handle) : undefined;
    const known = id === this.brought ? theirs : undefined;
    const record = id === undefined ? undefined : (known ?? (await old.read(id)));
    if (id !== undefined && record) return this.#reconcile(state, id, record);
    // Not so if a node with `mode: 'forward'` has just taken it over for good.
    if (id === undefined || (await old.linkOf(handle)) !== id) {
      // It began here, and is to be known there, too.
      if (both) await this.#bond.follow(state, false);
      return;
    }
    // Who logged out there is logged out here.
    figures.endedThere++;
    await this.#end(state);
  }

  /** The session that the request brings from there. */
  async #loadTheirs(state: SessionState, record: LegacyRecord | undefined): Promise<void> {
    const { old, both, figures, mapping } = this.parts;
    const id = this.brought;
    if (id === undefined) return;
    if (!record) {
      figures.unknown++;
      const moved = await old.movedTo(id);
      const origin = moved === undefined ? undefined : originIn(moved, id);
      if (origin) await this.#continueAs(state, idFrom(this.parts.cookies, origin));
      return;
    }
    const mapped = mapping.map(record);
    // An empty one is not worth anything: here sessions begin with their first content.
    if (mapped.principal === undefined && Object.keys(mapped.data ?? {}).length === 0) return;
    const link = (handle: string) => (both ? this.#bond.link(handle, id) : Promise.resolve());
    const converted = await convert(this.parts, state, id, mapped, link);
    figures[converted.created ? 'converted' : 'joined']++;
    await this.#continueAs(state, converted.id);
    if (!state.record || state.outage) return;
    if (both) return this.#reconcile(state, id, record);
    this.#isDone = true;
    const { createdAt } = state.record.header;
    const leadsTo = JSON.stringify({ ...converted.origin, id: undefined, createdAt });
    const first = await old.move(id, leadsTo, this.parts.movedFor);
    // It had been converted before, and has ended since: it must not begin anew.
    if (first !== leadsTo) await this.#end(state);
  }

  async #continueAs(state: SessionState, id: string): Promise<void> {
    state.moveTo(id);
    state.loaded = false;
    state.loading = undefined;
    await this.#manager.load(state);
  }

  /** Both sides have it: what was written there last is what it is. */
  async #reconcile(state: SessionState, id: string, record: LegacyRecord): Promise<void> {
    const { both, old, mapping } = this.parts;
    let current: LegacyRecord | undefined = record;
    for (let attempt = 0; current && !isOurs(current, state); attempt++) {
      if (attempt === ATTEMPTS) throw new SessionConflictError();
      if (mapping.map(current).principal !== principalOf(state)) {
        // Somebody else has logged in there, or out: that is another session.
        await this.#end(state);
        return this.#loadTheirs(state, id === this.brought ? current : undefined);
      }
      this.#bond.tie(state, id, current);
      if (await this.#adopt(state, current)) break;
      current = await old.read(id);
    }
    if (!state.record || !current) return;
    if (!both) {
      await old.unlink(state.storedHandle);
      await old.end(id);
      this.#isDone = true;
      return;
    }
    this.#bond.tie(state, id, current);
    await this.#bond.refresh(state);
  }

  /** Takes over what was changed there; `false` if somebody else has changed the session here meanwhile. */
  async #adopt(state: SessionState, { data }: LegacyRecord): Promise<boolean> {
    const { mapping, figures } = this.parts;
    const ours = this.#codec.decode(state.record?.dataText ?? '{}') as Attributes;
    const changes = changesBetween(ours, mapping.mapData(data));
    if (changes.length === 0) return true;
    for (const [key, value] of changes) state.changes.set(key, value);
    try {
      if (!(await this.#manager.commit(state, { ifUnchanged: true }))) this.#bond.loosen();
      figures.adopted++;
      return true;
    } catch (error) {
      if (!(error instanceof SessionConflictError)) throw error;
      state.abandoned = false;
      await this.#manager.reload(state);
      return false;
    }
  }

  /** It has ended, or become another one; what there is of it on the other side stays. */
  async #end(state: SessionState): Promise<void> {
    const handle = state.storedHandle;
    await this.parts.old.unlink(handle);
    await this.#manager.revoke(handle);
    this.#bond.loosen();
    state.startNew();
    state.tokenChange = 'clear';
  }
}

/** Whether a record was last written by this library, and for this session. */
const isOurs = ({ mark }: LegacyRecord, { storedHandle }: SessionState): boolean =>
  mark?.handle === storedHandle;

function originIn(moved: string, id: string): Origin | undefined {
  try {
    return { ...(JSON.parse(moved) as Omit<Origin, 'id'>), id };
  } catch {
    return undefined;
  }
}
