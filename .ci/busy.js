// Some tests measure time, or wait for servers, while others take the processor from them. What failed of
// those is run once more by itself, and counts as it does then. All else that failed has failed.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

const MEASURES_TIME = new RegExp(
  JSON.parse(readFileSync(new URL('measures-time.json', import.meta.url), 'utf8')),
);
/** What they find by chance is there, whether it is found again or not. */
const BY_CHANCE = /interleavings|races/;

const [file] = process.argv.slice(2);
const { testResults } = JSON.parse(readFileSync(file, 'utf8'));
const failed = testResults
  .filter(({ status }) => status === 'failed')
  .map(({ name }) => relative(process.cwd(), name));
const others = failed.filter((name) => !MEASURES_TIME.test(name) || BY_CHANCE.test(name));
if (failed.length === 0 || others.length > 0) {
  console.log(`failed: ${others.join(', ') || 'to run'}`);
  process.exit(1);
}
console.log(`once more, by themselves: ${failed.join(', ')}`);
const again = ['test', '--', '--runInBand', ...failed];
process.exitCode = spawnSync('npm', again, { stdio: 'inherit' }).status ?? 1;
