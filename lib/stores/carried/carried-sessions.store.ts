import { randomBytes } from 'node:crypto';
import {
  NOT_REACHABLE,
  type CarriedContext,
  type CarriedSessionStore,
  type CarriedTraits,
} from '../../core/carried-store.interface.js';
import type { RequestingClient } from '../../core/session-binding.js';
import type { RevocationList } from '../../core/revocation-list.interface.js';
import { ACTING, type Place } from '../../core/session-places.js';
import { encodeLive, nextVersion } from '../../core/session-record.js';
import type {
  Admission,
  EndedInPlace,
  IndexedSessionStore,
  LoadedValue,
  PlacedValue,
  SaveOutcome,
  StoredValue,
} from '../../core/session-store.interface.js';
import type { StoreAbilities } from '../../core/store-abilities.js';
import { SessionStoreCannotError } from '../../core/session.errors.js';
import { Carriage, ENDED, NOT_COUNTED, type Brought } from './carriage.js';
import { lifeOfNote, type BroughtToken, type CarriedForm } from './carried-content.js';

/** How sessions come to be carried. */
export interface CarriedSessionsParts {
  readonly traits: CarriedTraits;
  readonly form: (context: CarriedContext) => CarriedForm | Promise<CarriedForm>;
  /** Opens the list of what was revoked; absent: nothing can be. */
  readonly list?: ((context: CarriedContext) => Promise<RevocationList>) | undefined;
}

/** Tokens that one request may bring: no browser sends more by itself. */
const MOST_TOKENS = 16;

/**
 * Sessions that their clients carry. A request has a store of its own ({@link Carriage}); this one is what is
 * there outside of requests: nothing can be read, and with a list sessions can be ended.
 */
export class CarriedSessions implements CarriedSessionStore, IndexedSessionStore {
  readonly carries: CarriedTraits;
  readonly abilities: StoreAbilities;
  readonly origin: CarriedSessionStore;
  #opened: Opened | undefined;

  constructor(
    private readonly parts: CarriedSessionsParts,
    origin?: CarriedSessions,
  ) {
    this.carries = parts.traits;
    this.abilities = abilitiesOf(parts.traits);
    this.origin = origin ?? this;
  }

  async open(context: CarriedContext): Promise<CarriedSessionStore> {
    const opened = new CarriedSessions(this.parts, this);
    // The form first: what fails there has opened nothing yet.
    const form = await this.parts.form(context);
    opened.#opened = { context, list: await this.parts.list?.(context), form };
    return opened;
  }

  receive(tokens: readonly string[], { takesNoId, isAnswered }: RequestingClient): Carriage {
    const { form } = this.#ready;
    const brought = chosen(tokens, form);
    return new Carriage(
      { ...this.#ready, abilities: this.abilities },
      { ...brought, takesNothing: takesNoId, isAnswered },
    );
  }

  load(): Promise<LoadedValue | undefined> {
    return refuse(NOT_REACHABLE);
  }

  create(): Promise<boolean> {
    return refuse(NOT_REACHABLE);
  }

  save(): Promise<SaveOutcome> {
    return refuse(NOT_REACHABLE);
  }

  touch(): Promise<boolean> {
    return refuse(NOT_REACHABLE);
  }

  /** Whether there is such a session nobody knows: from now on there is none. Where it went is told. */
  async delete(handle: string): Promise<StoredValue | undefined> {
    const { list } = this.#ready;
    if (!list) return refuse(NOT_REVOCABLE);
    const noted = await list.note(handle, ENDED, this.#lifeOfNote);
    return noted === ENDED ? undefined : (noted ?? SOMEBODY);
  }

  /** By another epoch of the place; how many there were nobody knows. */
  async endIn(bucket: string, place: Place, except?: string): Promise<EndedInPlace> {
    const { list } = this.#ready;
    if (!list) return refuse(NOT_REVOCABLE);
    const epoch = randomBytes(6).toString('base64url');
    const text = except === undefined ? epoch : `${epoch} ${except}`;
    await list.begin({ bucket, place }, text, this.#lifeOfNote);
    return { ended: 0, pointers: [] };
  }

  async list(_bucket: string, place: Place): Promise<PlacedValue[]> {
    // Who acts as another is found by the epoch of who really acts: no trace leads there.
    if (place.startsWith(`${ACTING}:`)) return [];
    return refuse(NOT_LISTED);
  }

  admit(): Promise<Admission> {
    return refuse(NOT_COUNTED);
  }

  replace(): Promise<SaveOutcome> {
    return refuse(NOT_REACHABLE);
  }

  countIn(): Promise<number> {
    return refuse(NOT_COUNTED);
  }

  placesOf(): AsyncIterable<{ bucket: string; place: Place }> {
    return { [Symbol.asyncIterator]: () => ({ next: () => refuse(NOT_KNOWN) }) };
  }

  count(): Promise<number> {
    return refuse(NOT_COUNTED);
  }

  async ping(): Promise<void> {
    await this.#ready.list?.ping();
  }

  async close(): Promise<void> {
    await this.#opened?.list?.close?.();
  }

  /** Who ends what they have not seen cannot know how long it was told to live: as long as any. */
  get #lifeOfNote(): number {
    const { longestLife } = this.#ready.context;
    return lifeOfNote(Math.max(longestLife(false), longestLife(true)));
  }

  get #ready(): Opened {
    if (this.#opened) return this.#opened;
    throw new SessionStoreCannotError(
      'it is opened by SessionModule: give it as the option `store`',
    );
  }
}

interface Opened {
  readonly context: CarriedContext;
  readonly list: RevocationList | undefined;
  readonly form: CarriedForm;
}

const abilitiesOf = ({ isRevocable }: CarriedTraits): StoreAbilities => ({
  versioned: false,
  indexed: false,
  told: false,
  counted: false,
  reachable: false,
  revocation: isRevocable ? 'by-list' : 'none',
});

/** Of several tokens only those of a single session may prove right; which of two was meant is not guessed. */
function chosen(tokens: readonly string[], form: CarriedForm): Pick<Brought, 'token' | 'refused'> {
  if (tokens.length === 0) return { token: undefined, refused: undefined };
  if (tokens.length > MOST_TOKENS) return { token: undefined, refused: 'ambiguous' };
  let token: BroughtToken | undefined;
  for (const text of tokens) {
    const read = form.read(text);
    if (!read) continue;
    if (token && token.id !== read.id) return { token: undefined, refused: 'ambiguous' };
    token = token ? either(token, read) : read;
  }
  return { token, refused: token ? undefined : 'malformed' };
}

/** Two that say to be of one session: that which proves right. Some forms cannot tell before they are opened. */
const either = (one: BroughtToken, other: BroughtToken): BroughtToken => ({
  id: one.id,
  open: async (now) => {
    const opened = await one.open(now);
    return opened && opened !== 'expired' ? opened : ((await other.open(now)) ?? opened);
  },
});

/** What is told of a session that nobody has seen: it was none of these that have ended. */
const SOMEBODY = encodeLive(nextVersion(), { createdAt: 0, absoluteEnd: 0, savedAt: 0 }, '', '{}');

const refuse = (remedy: string): Promise<never> =>
  Promise.reject(new SessionStoreCannotError(remedy));

const NOT_REVOCABLE =
  'clients carry their sessions, and nothing can refuse what they have; give `revocation`, or use a store on the server';
const NOT_LISTED =
  'clients carry their sessions, and nobody else has a list of them; end one by its handle or all of a principal, or use a store on the server';
const NOT_KNOWN =
  'clients carry their sessions, and nobody knows whose there are; end those of a principal, or give another `secret`, with which all sessions end';
