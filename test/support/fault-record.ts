import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pageOfFaults } from './fault-page.js';

/** Faults last as long as users meet them; else they are shortened, and the assertions are the same but for {@link atMost}. */
export const FULL = process.env.FAULTS === 'full';

/** A bound of the long form, and of the short one. */
export const bound = (long: number, short: number): number => (FULL ? long : short);

/** Milliseconds that something may take: the short form shares the machine with other tests. */
export const atMost = (milliseconds: number): number => bound(milliseconds, 3 * milliseconds);

/** What a fault did to an application. */
export interface FaultFigures {
  /** Requests by status while it lasted; `none`: there was no answer in time. */
  readonly requests?: Readonly<Record<string, number>>;
  /** Milliseconds until the answer. */
  readonly p99?: number;
  readonly longest?: number;
  /** Writes that were acknowledged, and are not there. */
  readonly lost?: number;
  /** Writes that were not acknowledged, and are there. */
  readonly late?: number;
  /** Writes beyond all that were asked for. */
  readonly doubled?: number;
  /** Answers of 200 that did not know of what was acknowledged. */
  readonly untrue?: number;
  /** Sessions that live after their logout was acknowledged, of how many. */
  readonly revived?: number;
  readonly logouts?: number;
  /** Cookies changed or cleared by answers that had no reason to. */
  readonly wrongCookies?: number;
  /** Errors that set a cookie, were it the same. */
  readonly cookiesWithErrors?: number;
  /** Milliseconds from the end of the fault until a user is answered as before; `null`: not in time. */
  readonly recovery?: number | null;
  /** Open sockets, servers and timers of the process, before and after. */
  readonly handles?: { readonly before: number; readonly after: number };
  /** What else is to be told. */
  readonly more?: Readonly<Record<string, string | number>>;
}

/** A fault, and what it did. */
export interface FaultRecord {
  /** Its name; another one of the same name takes its place. */
  readonly fault: string;
  /** What was done, in a sentence. */
  readonly done: string;
  readonly figures: FaultFigures;
  /** What the same did to express-session, where that is meaningful. */
  readonly peer?: FaultFigures | undefined;
}

const ROOT = join(import.meta.dirname, '../..');
const RESULTS = join(ROOT, 'test/faults/results.json');

/**
 * Keeps what a fault did, in the long form only: in `test/faults/results.json`, and on the page
 * `docs/faults.md`, which is made of it. Any test may call it, after its assertions:
 *
 *     recordFault({ fault: 'a failover', done: 'the master was killed', figures: { recovery: 900 } });
 */
export function recordFault(record: FaultRecord): void {
  if (!FULL) return;
  const all = existsSync(RESULTS)
    ? (JSON.parse(readFileSync(RESULTS, 'utf8')) as FaultRecord[])
    : [];
  const at = all.findIndex(({ fault }) => fault === record.fault);
  all.splice(at < 0 ? all.length : at, at < 0 ? 0 : 1, record);
  all.sort((one, other) => (one.fault < other.fault ? -1 : 1));
  writeFileSync(RESULTS, `${JSON.stringify(all, null, 2)}\n`);
  writeFileSync(join(ROOT, 'docs/faults.md'), pageOfFaults(all, versions()));
}

/** Of the peers, by their names. */
function versions(): Readonly<Record<string, string>> {
  const text = readFileSync(join(ROOT, 'package.json'), 'utf8');
  return (JSON.parse(text) as { devDependencies: Record<string, string> }).devDependencies;
}
