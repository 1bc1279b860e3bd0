import type { BatchObservableCallback, Meter, Observable } from '@opentelemetry/api';
import type { SessionFigures } from '../core/session-observer.interface.js';

/** What is asked for when metrics are collected. */
interface Figure {
  readonly name: string;
  readonly description: string;
  /** It only grows. */
  readonly grows?: true;
  /** As UCUM has it. */
  readonly unit?: string;
  /** `undefined`: there is nothing to tell on this node. */
  readonly read: (figures: SessionFigures) => number | undefined;
}

const FIGURES: readonly Figure[] = [
  {
    name: 'session.breaker.open',
    description: 'The store is not asked, since it does not answer',
    read: (figures) => Number(figures.isCutOff()),
  },
  {
    name: 'session.breaker.opened',
    description: 'Times that the circuit breaker opened',
    grows: true,
    read: (figures) => figures.counters().breakerOpened,
  },
  {
    name: 'session.store.failures',
    description: 'Calls that the store did not answer in time, or refused',
    grows: true,
    read: (figures) => figures.counters().storeFailures,
  },
  {
    name: 'session.unconfirmed',
    description: 'Writes that replicas did not confirm in time',
    grows: true,
    read: (figures) => figures.counters().unconfirmed,
  },
  {
    name: 'session.outage.anonymous',
    description: 'Requests that went on without their session while the store was down',
    grows: true,
    read: (figures) => figures.counters().wentOnAnonymous,
  },
  {
    name: 'session.outage.stale',
    description: "Requests that were served from this node's memory while the store was down",
    grows: true,
    read: (figures) => figures.counters().servedStale,
  },
  {
    name: 'session.logouts.pending',
    description: 'Logouts that the store has not confirmed, and that are tried again',
    read: (figures) => figures.counters().logoutsPending,
  },
  {
    name: 'session.logouts.late',
    description: 'Logouts that were confirmed when they were tried again',
    grows: true,
    read: (figures) => figures.counters().logoutsConfirmedLate,
  },
  {
    name: 'session.logouts.given_up',
    description: 'Logouts that were given up: their sessions end by time',
    grows: true,
    read: (figures) => figures.counters().logoutsGivenUp,
  },
  {
    name: 'session.live',
    description: 'Sessions that are alive, told by the node that looks for those that are over',
    read: (figures) => figures.expiry()?.sessions,
  },
  {
    name: 'session.principals',
    description:
      'Principals who have a session that is alive, counted or estimated once a minute by that node',
    read: (figures) => figures.expiry()?.principals,
  },
  {
    name: 'session.sweep.lag',
    description: 'How long a session had been over before that was noticed, at most',
    unit: 's',
    read: (figures) => inSeconds(figures.expiry()?.lag),
  },
  {
    name: 'session.near_cache.hits',
    description: 'Reads that were served from a copy',
    grows: true,
    read: (figures) => figures.nearCache()?.hits,
  },
  {
    name: 'session.near_cache.misses',
    description: 'Reads that had to ask the store although a copy would have done',
    grows: true,
    read: (figures) => figures.nearCache()?.misses,
  },
  {
    name: 'session.near_cache.invalidations',
    description: 'Copies that were dropped since somebody else has changed their session',
    grows: true,
    read: (figures) => figures.nearCache()?.invalidations,
  },
  {
    name: 'session.near_cache.flushes',
    description: 'How often all copies were dropped',
    grows: true,
    read: (figures) => figures.nearCache()?.flushes,
  },
  {
    name: 'session.near_cache.age',
    description: 'Ages of the copies that were served, all of them together',
    grows: true,
    unit: 's',
    read: (figures) => inSeconds(figures.nearCache()?.servedAge.sum),
  },
  {
    name: 'session.near_cache.entries',
    description: 'Copies now',
    read: (figures) => figures.nearCache()?.entries,
  },
  {
    name: 'session.near_cache.bytes',
    description: 'What the copies take, as estimated',
    unit: 'By',
    read: (figures) => figures.nearCache()?.bytes,
  },
  {
    name: 'session.near_cache.live',
    description: 'What is read is kept: it will be told of when it changes',
    read: (figures) => asNumber(figures.nearCache()?.live),
  },
  {
    name: 'session.migration.converted',
    description: 'Sessions that were made from one of the other library',
    grows: true,
    read: (figures) => figures.migration()?.converted,
  },
  {
    name: 'session.migration.joined',
    description: 'Requests that came with a session while somebody else had just converted it',
    grows: true,
    read: (figures) => figures.migration()?.joined,
  },
  {
    name: 'session.migration.adopted',
    description: 'Times that what the other library had written was taken over',
    grows: true,
    read: (figures) => figures.migration()?.adopted,
  },
  {
    name: 'session.migration.written',
    description: 'Records that were written for the other library',
    grows: true,
    read: (figures) => figures.migration()?.written,
  },
  {
    name: 'session.migration.ended_there',
    description: 'Sessions that ended because they had ended in the other library',
    grows: true,
    read: (figures) => figures.migration()?.endedThere,
  },
  {
    name: 'session.migration.unknown',
    description: 'Requests whose session the other library did not know any more',
    grows: true,
    read: (figures) => figures.migration()?.unknown,
  },
];

const inSeconds = (milliseconds: number | undefined): number | undefined =>
  milliseconds === undefined ? undefined : milliseconds / 1_000;

const asNumber = (flag: boolean | undefined): number | undefined =>
  flag === undefined ? undefined : Number(flag);

/** Shows them whenever metrics are collected, until what it returns is called. */
export function showFigures(
  meter: Meter,
  figures: SessionFigures,
  attributes: Record<string, string>,
): () => void {
  const shown = new Map<Observable, Figure>();
  for (const figure of FIGURES) {
    const { name, description, grows, unit = '1' } = figure;
    const about = { description, unit };
    const instrument = grows
      ? meter.createObservableCounter(name, about)
      : meter.createObservableGauge(name, about);
    shown.set(instrument, figure);
  }
  const observe: BatchObservableCallback = (result) => {
    for (const [instrument, { read }] of shown) {
      const value = read(figures);
      if (value !== undefined) result.observe(instrument, value, attributes);
    }
  };
  meter.addBatchObservableCallback(observe, [...shown.keys()]);
  return () => meter.removeBatchObservableCallback(observe, [...shown.keys()]);
}
