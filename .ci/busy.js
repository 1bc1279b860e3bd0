// Some tests measure time, or wait for servers, while others take the processor from them; and any test can
// meet a deadline then. What failed of those, or for that, is run once more by itself, and counts as it does
// then. All else that failed has failed.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';

const MEASURES_TIME = new RegExp(
  JSON.parse(readFileSync(new URL('measures-time.json', import.meta.url), 'utf8')),
);
/** What they find by chance is there, whether it is found again or not. */
const BY_CHANCE = /interleavings|races/;
/** A deadline of jest, or of the library, was met: nothing was found. */
const OUT_OF_TIME = /Exceeded timeout of \d+ ms|The session store is unavailable \(timeout\)/;

const [file] = process.argv.slice(2);
const { testResults } = JSON.parse(readFileSync(file, 'utf8'));
const failed = testResults.filter(({ status }) => status === 'failed');
const nameOf = ({ name }) => relative(process.cwd(), name);

const measuresTime = (name) => MEASURES_TIME.test(name) && !BY_CHANCE.test(name);
function outOfTime({ assertionResults }) {
  const messages = assertionResults
    .filter(({ status }) => status === 'failed')
    .flatMap(({ failureMessages }) => failureMessages);
  return messages.length > 0 && messages.every((message) => OUT_OF_TIME.test(message));
}

const others = failed.filter((result) => !measuresTime(nameOf(result)) && !outOfTime(result));
if (failed.length === 0 || others.length > 0) {
  console.log(`failed: ${others.map(nameOf).join(', ') || 'to run'}`);
  process.exit(1);
}
console.log(`once more, by themselves: ${failed.map(nameOf).join(', ')}`);
const again = ['test', '--', '--runInBand', ...failed.map(nameOf)];
process.exitCode = spawnSync('npm', again, { stdio: 'inherit' }).status ?? 1;
