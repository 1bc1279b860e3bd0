// Looks for session ids in a log without knowing any: whatever has the shape of an id is one if its
// handle is that of a session which the tests had.
import { readFileSync } from 'node:fs';
import { handleOf } from '../dist/core/session-id.js';

const [log, known] = process.argv.slice(2);
/** What a test shows of what it had expected and did not find is its own word. */
const DIFFERENCE = /^\s+[-+] .*$/gm;
const handles = new Set(readFileSync(known, 'utf8').split('\n'));
let candidates = 0;
let found = 0;
for (const [run] of readFileSync(log, 'utf8').replace(DIFFERENCE, '').matchAll(/[A-Za-z0-9_-]{44,}/g)) {
  for (let at = 0; at + 44 <= run.length; at++) {
    candidates++;
    if (handles.has(handleOf(run.slice(at, at + 44)))) found++;
  }
}
console.log(`${handles.size} sessions, ${candidates} candidates in the log, ${found} usable ids`);
process.exitCode = handles.size > 1 && found === 0 ? 0 : 1;
