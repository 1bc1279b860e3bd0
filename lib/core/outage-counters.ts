/** What outages of the store have cost on this node since it started. */
export interface OutageCounters {
  /** Calls that the store did not answer in time, or refused. */
  readonly storeFailures: number;
  /** Times that the circuit breaker opened: from then on calls fail at once. */
  readonly breakerOpened: number;
  /** Writes that replicas did not confirm in time, as `durability` asks for. */
  readonly unconfirmed: number;
  /** Requests that went on without their session (`onStoreFailure: 'anonymous'`). */
  readonly wentOnAnonymous: number;
  /** Requests that were served from this node's memory (`onStoreFailure: 'stale'`). */
  readonly servedStale: number;
  /** Logouts that failed and are tried again right now. */
  readonly logoutsPending: number;
  /** Logouts that succeeded when they were tried again. */
  readonly logoutsConfirmedLate: number;
  /** Logouts that were given up: the session ends by time. */
  readonly logoutsGivenUp: number;
}

/** Counts them. */
export type Tally = { -readonly [name in keyof OutageCounters]: number };

export const newTally = (): Tally => ({
  storeFailures: 0,
  breakerOpened: 0,
  unconfirmed: 0,
  wentOnAnonymous: 0,
  servedStale: 0,
  logoutsPending: 0,
  logoutsConfirmedLate: 0,
  logoutsGivenUp: 0,
});
