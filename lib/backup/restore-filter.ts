import { actingPlace, actorPlace, principalPlace, type Place } from '../core/session-places.js';
import type { BackupEntry } from './backup-format.js';

/** What is to be left out, as it was given. */
export interface Exceptions {
  readonly exceptPrincipals?: Iterable<string>;
  readonly exceptHandles?: Iterable<string>;
}

/** How many of what is to be left out are not in the backup. */
export interface Unmatched {
  readonly handles: number;
  readonly principals: number;
}

/** Knows which sessions of a backup are to be left out, and which of these were met. */
export class RestoreFilter {
  readonly #handles: ReadonlySet<string>;
  readonly #places: ReadonlyMap<Place, string>;
  readonly #unmetHandles: Set<string>;
  readonly #unmetPrincipals: Set<string>;

  constructor({ exceptPrincipals = [], exceptHandles = [] }: Exceptions) {
    const principals = new Set(exceptPrincipals);
    this.#handles = new Set(exceptHandles);
    // Places are named by digests: whose sessions they are is known without reading them.
    this.#places = new Map(
      [...principals].flatMap((principal) =>
        [principalPlace(principal), actorPlace(principal), actingPlace(principal)].map(
          (place) => [place, principal] as const,
        ),
      ),
    );
    this.#unmetHandles = new Set(this.#handles);
    this.#unmetPrincipals = principals;
  }

  /** Of the entries that were looked at so far. */
  get unmatched(): Unmatched {
    return { handles: this.#unmetHandles.size, principals: this.#unmetPrincipals.size };
  }

  /** Whether an entry is to be left out. */
  excepts({ handle, places }: BackupEntry): boolean {
    this.#unmetHandles.delete(handle);
    const principals = places.flatMap((place) => this.#places.get(place) ?? []);
    for (const principal of principals) this.#unmetPrincipals.delete(principal);
    return principals.length > 0 || this.#handles.has(handle);
  }
}
