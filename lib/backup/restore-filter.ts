import { actingPlace, actorPlace, principalPlace, type Place } from '../core/session-places.js';
import type { StoreNews } from '../core/store-news.interface.js';
import type { BackupEntry } from './backup-format.js';
import { toldEnds } from './told-ends.js';

/** Knows which sessions of a backup must stay ended. */
export class RestoreFilter {
  private constructor(
    private readonly ended: ReadonlySet<string>,
    private readonly handles: ReadonlySet<string>,
    private readonly places: ReadonlySet<Place>,
  ) {}

  static async create(
    news: StoreNews,
    given: {
      readonly exceptPrincipals?: Iterable<string>;
      readonly exceptHandles?: Iterable<string>;
    },
  ): Promise<RestoreFilter> {
    // Places are named by digests: whose sessions they are is known without reading them.
    const places = [...(given.exceptPrincipals ?? [])].flatMap((principal) => [
      principalPlace(principal),
      actorPlace(principal),
      actingPlace(principal),
    ]);
    const handles = new Set(given.exceptHandles);
    return new RestoreFilter(await toldEnds(news), handles, new Set(places));
  }

  /** Why it must; `undefined`: as far as is known it need not. */
  reasonAgainst({ handle, places }: BackupEntry): 'revoked' | 'excepted' | undefined {
    if (this.ended.has(handle)) return 'revoked';
    const isExcepted = this.handles.has(handle) || places.some((one) => this.places.has(one));
    return isExcepted ? 'excepted' : undefined;
  }
}
