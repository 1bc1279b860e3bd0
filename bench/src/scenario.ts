import type { Arena, Load, Sample, Stand } from './arena.js';
import type { Adapter } from './contenders/contender.js';
import type { ContenderName } from './contenders/index.js';
import { rangeOf, type Range } from './statistics.js';

/** One contender's figures in a scenario. */
export interface Row {
  readonly contender: ContenderName;
  readonly requestsPerSecond: Range;
  /** Requests per second relative to the ceiling of the same round. */
  readonly relative: Range;
  /** Processor time of the server above the ceiling of the same round, in microseconds a request. */
  readonly cpuAbove: Range;
  readonly redisCpu: Range;
  /** The same of a database that has processes of its own. */
  readonly placeCpu?: Range;
  readonly p50: Range;
  readonly p99: Range;
}

/** The same load on several contenders, in turn. */
export interface Scenario extends Omit<Load, 'seconds'> {
  readonly adapter: Adapter;
  readonly rows: readonly Row[];
}

/** Runs rounds in turn, there and back, so that whatever drifts on the machine meets all alike. */
export async function compare(
  arena: Arena,
  adapter: Adapter,
  stands: readonly Stand[],
  load: Load,
  rounds: number,
): Promise<Scenario> {
  const samples = new Map<Stand, Sample[]>(stands.map((stand) => [stand, []]));
  for (const stand of stands) await arena.warmUp(stand, load);
  for (let round = 0; round < rounds; round++) {
    for (const stand of round % 2 ? stands.toReversed() : stands) {
      samples.get(stand)?.push(await arena.round(stand, load));
    }
  }
  const ceiling = samples.get(stands[0] as Stand) as Sample[];
  const rows = stands.map((stand) => rowOf(stand, samples.get(stand) as Sample[], ceiling));
  const { workload, bytes, connections } = load;
  return { adapter, workload, bytes, connections, rows };
}

function rowOf(stand: Stand, samples: readonly Sample[], ceiling: readonly Sample[]): Row {
  const each = (figure: (sample: Sample, ceiling: Sample) => number) =>
    rangeOf(samples.map((sample, i) => figure(sample, ceiling[i] as Sample)));
  return {
    contender: stand.name,
    requestsPerSecond: each((own) => own.requestsPerSecond),
    relative: each((own, top) => own.requestsPerSecond / top.requestsPerSecond),
    cpuAbove: each((own, top) => own.cpu - top.cpu),
    redisCpu: each((own) => own.redisCpu),
    ...(samples[0]?.placeCpu !== undefined && {
      placeCpu: each((own) => own.placeCpu ?? Number.NaN),
    }),
    p50: each((own) => own.p50),
    p99: each((own) => own.p99),
  };
}
