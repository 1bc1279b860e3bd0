import type { SessionNews } from '../core/session-news.js';
import type { SessionWhereabouts } from '../core/session-trail.js';
import type { StoreNews } from '../core/store-news.interface.js';

/** Sessions of one name, and who tells of them. */
export interface EventSource {
  /** `undefined` for the sessions of `forRoot`. */
  readonly name?: string | undefined;
  readonly store: StoreNews;
  readonly news: SessionNews;
  /** For how long it is remembered what was told, in milliseconds. */
  readonly retention: number;
  /** Where a session is by now; asked when events may be missing. */
  readonly whereIs: (handle: string) => Promise<SessionWhereabouts | undefined>;
}
