import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { Results } from '../results.js';
import { chartsOf } from './charts.js';
import { pageOf } from './page.js';
import { withCosts } from './stores.js';

const docs = join(import.meta.dirname, '..', '..', '..', 'docs');

/** Path → text of everything that is made from the results. */
function reportsOf(results: Results): Record<string, string> {
  const guide = join(docs, 'which-store.md');
  const reports: Record<string, string> = {
    [join(docs, 'benchmarks.md')]: pageOf(results),
    [guide]: withCosts(readFileSync(guide, 'utf8'), results),
  };
  for (const [name, svg] of Object.entries(chartsOf(results))) {
    reports[join(docs, 'benchmarks', name)] = svg;
  }
  return reports;
}

export function writeReports(results: Results): void {
  for (const [path, text] of Object.entries(reportsOf(results))) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  }
}

/** What stands in `docs/` and is not what the results say. */
export function staleReports(results: Results): string[] {
  return Object.entries(reportsOf(results))
    .filter(([path, text]) => readFileSync(path, 'utf8') !== text)
    .map(([path]) => `${path} is not what bench/results.json says: npm run bench:report`);
}
