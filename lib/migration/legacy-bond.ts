import type { Clock } from '../core/clock.js';
import type { SessionCodec } from '../core/session-codec.interface.js';
import type { MigrationFigures } from '../core/migration-figures.js';
import type { SessionManager } from '../core/session-manager.js';
import type { SessionStore } from '../core/session-store.interface.js';
import type { SessionState } from '../core/session-state.js';
import { SessionConflictError } from '../core/session.errors.js';
import type { LegacyCookies } from './legacy-cookies.js';
import type { LegacyMapping } from './legacy-mapping.js';
import {
  changesBetween,
  composeRecord,
  maxAgeOf,
  merged,
  parseRecord,
  type Attributes,
  type LegacyRecord,
} from './legacy-record.js';
import type { LegacyRedis } from './legacy-redis.js';
import { countIn, principalOf } from './legacy-state.js';
import type { RecentTouches } from './recent-touches.js';

/** What bonds have in common. */
export interface BondParts {
  readonly manager: SessionManager;
  readonly old: LegacyRedis;
  /** Where the sessions of ours are. */
  readonly behind: SessionStore;
  readonly cookies: LegacyCookies;
  readonly mapping: LegacyMapping;
  readonly codec: SessionCodec;
  readonly clock: Clock;
  readonly figures: MigrationFigures;
  readonly touches: RecentTouches;
  /** How records begin that are made here. */
  readonly cookie: Readonly<Attributes>;
  /** How long a record lives that does not say it itself, in milliseconds. */
  readonly ttl: number;
}

/** How often a record is written against others who write it before the request fails. */
const ATTEMPTS = 16;

/** Ties a session of ours to the record in which it goes on in the other library. */
export class LegacyBond {
  #id: string | undefined;
  /** As it was last seen. */
  #record: LegacyRecord | undefined;
  #handle: string | undefined;

  constructor(private readonly parts: BondParts) {}

  get id(): string | undefined {
    return this.#id;
  }

  /** When the record and its cookie end, in milliseconds since the epoch. */
  get endsAt(): number {
    return this.parts.clock.now() + this.#ttl;
  }

  tie({ storedHandle }: SessionState, id: string, record: LegacyRecord): void {
    this.#id = id;
    this.#record = record;
    this.#handle = storedHandle;
  }

  /** The session has ended, or become another one. */
  loosen(): void {
    this.#id = this.#record = this.#handle = undefined;
  }

  /** Before a session exists under a handle. */
  link(handle: string, id: string, life = this.parts.ttl): Promise<string> {
    return this.parts.old.link(handle, id, Math.max(life, this.parts.ttl));
  }

  /**
   * The session was written: so is its record.
   *
   * @param privileged who had the id before must not have what is in it now
   */
  async follow(state: SessionState, privileged: boolean): Promise<void> {
    const { old } = this.parts;
    const [id, handle] = [this.#id, this.#handle];
    if (id === undefined || handle === undefined) return this.#begin(state);
    if (handle === state.storedHandle) return this.#write(state);
    if (privileged) {
      this.loosen();
      await this.#begin(state);
      await old.end(id);
    } else {
      await this.link(state.storedHandle, id, lifeOf(state, this.parts.clock));
      this.#handle = state.storedHandle;
      await this.#write(state);
    }
    await old.unlink(handle);
  }

  /** The session was read: a record that is behind is written, one that is in use stays. */
  async refresh(state: SessionState): Promise<void> {
    const { old, touches, clock } = this.parts;
    const [id, record] = [this.#id as string, this.#record as LegacyRecord];
    const isBehind =
      record.mark?.handle !== state.storedHandle || record.mark.count < countIn(state);
    const isDue = !state.passive && touches.isDue(id, clock.now());
    // The time of its end stands in it as well.
    if (isBehind || (isDue && maxAgeOf(record) !== undefined)) await this.#write(state, isDue);
    else if (isDue) await old.extend(id, this.#ttl);
  }

  /** A record of its own, for a session that has none. */
  async #begin(state: SessionState): Promise<void> {
    const { old, cookies, cookie, figures, clock, behind } = this.parts;
    const id = cookies.newId();
    const record = this.#compose(state, cookie);
    await old.write(id, record.text, maxAgeOf(record) ?? this.parts.ttl);
    const linked = await this.link(state.storedHandle, id, lifeOf(state, clock));
    this.tie(state, linked, record);
    if (linked === id) {
      figures.written++;
      // Whoever has ended it meanwhile did not see the record: nothing may be left of it.
      if (!(await behind.load(state.storedHandle))) await this.#withdraw(state, id);
      return;
    }
    // Another request was faster: what it has written is the record.
    await old.end(id);
    const theirs = await old.read(linked);
    if (theirs) this.tie(state, linked, theirs);
    await this.#write(state);
  }

  async #withdraw(state: SessionState, id: string): Promise<void> {
    const { old } = this.parts;
    await old.end(id);
    await old.unlink(state.storedHandle);
    this.loosen();
  }

  async #write(state: SessionState, anyway = false): Promise<void> {
    const { old, figures } = this.parts;
    const id = this.#id as string;
    for (let attempt = 0; state.record; attempt++) {
      if (attempt === ATTEMPTS) throw new SessionConflictError();
      const seen = this.#record as LegacyRecord;
      const isWritten =
        seen.mark?.handle === state.storedHandle && seen.mark.count >= countIn(state);
      if (isWritten && !anyway) return;
      const next = this.#compose(state, seen.cookie);
      const outcome = await old.swap(id, seen.text, next.text, maxAgeOf(next) ?? this.parts.ttl);
      if (outcome === 'done') {
        this.#record = next;
        figures.written++;
        return;
      }
      if (outcome === 'gone') return this.#endWith(state);
      const current = parseRecord(outcome.current);
      if (!current || !(await this.#meet(state, seen, current))) return;
      this.#record = current;
    }
  }

  /** Somebody else has written the record; `false` if there is nothing to be done about it now. */
  async #meet(state: SessionState, seen: LegacyRecord, current: LegacyRecord): Promise<boolean> {
    const { mapping, manager, figures } = this.parts;
    if (current.mark?.handle === state.storedHandle) return current.mark.count < countIn(state);
    const theirs = mapping.map(current);
    // Another session by now: the next request finds that out.
    if (theirs.principal !== principalOf(state)) return false;
    const ours = this.#dataOf(state);
    const both = merged(mapping.mapData(seen.data), theirs.data ?? {}, ours);
    const changes = changesBetween(ours, both);
    if (changes.length === 0) return true;
    for (const [key, value] of changes) state.changes.set(key, value);
    figures.adopted++;
    return manager.commit(state);
  }

  /** Somebody has logged out there meanwhile: no write undoes that. */
  async #endWith(state: SessionState): Promise<void> {
    const { old, manager, figures } = this.parts;
    const linked = await old.linkOf(state.storedHandle);
    const isElsewhere = linked !== this.#id;
    this.loosen();
    // A node with `mode: 'forward'` has taken it over for good, or a new node has ended it.
    if (isElsewhere) return;
    figures.endedThere++;
    await old.unlink(state.storedHandle);
    state.destroyed = true;
    await manager.commit(state);
    state.tokenChange = 'clear';
  }

  #compose(state: SessionState, cookie: Readonly<Attributes>): LegacyRecord {
    const { mapping, clock } = this.parts;
    const { identity } = state.record?.header ?? {};
    const { roles = [], permissions = [], claims = {} } = identity?.actor ?? identity ?? {};
    const data = this.#dataOf(state);
    const session = { principal: principalOf(state), roles, permissions, claims, data };
    const maxAge = maxAgeOf({ cookie });
    const expires = maxAge === undefined ? {} : { expires: new Date(clock.now() + maxAge) };
    const mark = { handle: state.storedHandle, count: countIn(state) };
    return composeRecord({ ...cookie, ...expires }, mapping.unmap(session), mark);
  }

  #dataOf({ record }: SessionState): Attributes {
    return this.parts.codec.decode(record?.dataText ?? '{}') as Attributes;
  }

  get #ttl(): number {
    return (this.#record && maxAgeOf(this.#record)) ?? this.parts.ttl;
  }
}

const lifeOf = ({ absoluteEnd }: SessionState, clock: Clock): number =>
  Math.max(1, absoluteEnd - clock.now());
