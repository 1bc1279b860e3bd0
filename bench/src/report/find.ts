import type { Adapter } from '../contenders/contender.js';
import type { Workload } from '../contenders/index.js';
import type { Results } from '../results.js';
import type { Scenario } from '../scenario.js';

/** One scenario of the results. */
export function find(
  { scenarios }: Results,
  adapter: Adapter,
  workload: Workload,
  bytes = 1_024,
  connections = 64,
): Scenario {
  const found = scenarios.find(
    (one) =>
      one.adapter === adapter &&
      one.workload === workload &&
      one.bytes === bytes &&
      one.connections === connections,
  );
  if (!found) throw new Error(`the results have no ${workload} on ${adapter}: run \`full\``);
  return found;
}
