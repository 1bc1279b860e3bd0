import { Arena } from './arena.js';
import { smoke } from './gate.js';
import { fullRun, nearRun } from './plan.js';
import { storesRun } from './stores.js';
import { staleReports, writeReports } from './report/index.js';
import { readResults, writeResults } from './results.js';

const began = performance.now();
const say = (what: string): void =>
  console.log(`${((performance.now() - began) / 1_000).toFixed(0).padStart(4)} s  ${what}`);

/** `full` measures everything and writes the report, `near` and `stores` parts of it, `smoke` is the gate, `report` only writes. */
async function main(command: string | undefined): Promise<void> {
  if (command === 'report') return writeReports(readResults());
  const arena = new Arena();
  try {
    if (command === 'full') {
      writeResults(await fullRun(arena, say));
      writeReports(readResults());
      return say('done: docs/benchmarks.md');
    }
    if (command === 'near') {
      writeResults({ ...readResults(), near: await nearRun(arena, say) });
      return writeReports(readResults());
    }
    if (command === 'stores') {
      writeResults({ ...readResults(), stores: await storesRun(arena, say) });
      writeReports(readResults());
      return say('done: docs/which-store.md, docs/benchmarks.md');
    }
    const problems = [...(await smoke(arena, say)), ...staleReports(readResults())];
    for (const problem of problems) console.error(`FAILED: ${problem}`);
    if (problems.length > 0) process.exitCode = 1;
    else say('ok');
  } finally {
    await arena.stop();
  }
}

await main(process.argv[2]);
