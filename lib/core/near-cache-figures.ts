/** What the near cache of a node has done since it began, and what is in it. */
export interface NearCacheFigures {
  /** Reads that were served from a copy. */
  readonly hits: number;
  /** Reads that had to ask the store although a copy would have done. */
  readonly misses: number;
  /** Of these, those that went along with another one that was under way. */
  readonly shared: number;
  /** Of these, those whose client had seen a newer version than the copy. */
  readonly behind: number;
  /** Copies that were dropped because somebody else has changed their session. */
  readonly invalidations: number;
  /** How often all copies were dropped: a connection was lost, the store was emptied. */
  readonly flushes: number;
  /** Ages of the copies that were served, in milliseconds: all of them together, and the highest. */
  readonly servedAge: { readonly sum: number; readonly max: number };
  /** Copies now. */
  readonly entries: number;
  /** What they take, as estimated. */
  readonly bytes: number;
  /** What is read now is kept: it will be told of when it changes. */
  readonly live: boolean;
}

/** What the core knows of a near cache. */
export interface ReportingNearCache {
  readonly figures: NearCacheFigures;
}
