import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Arena, Stand } from './arena.js';
import type { Count } from './count.js';
import { Places } from './places.js';
import { compare } from './scenario.js';
import { countAll, withStands } from './stands.js';

/** Our figures that must not get worse unnoticed; exact, as a machine's speed has no part in them. */
const BUDGET = join(import.meta.dirname, '..', 'budget.json');

/** What stands for the other stores: their costs of a request do not depend on the database, nor on the form. */
const STORES = ['sqlite', 'tiered', 'sealed', 'sealed-listed', 'jwt-listed'] as const;

/**
 * Our processor time above the ceiling relative to express-session's, in the same run. Measured
 * is 0.35 to 0.5; machines are noisy, and the mistakes that were made so far cost twice as much as all of it.
 */
const GENEROUS = 0.8;
/** What costs too much does so each time; a machine that is busy with something else does not. */
const ATTEMPTS = 3;

/** What is wrong with the library's costs; nothing, if all is well. Less than a minute. */
export async function smoke(arena: Arena, say: (what: string) => void): Promise<string[]> {
  const problems: string[] = [];
  const counts: Count[] = [];
  for (const adapter of ['express', 'fastify'] as const) {
    say(`${adapter}: commands and bytes of every workload`);
    await withStands(['ours', 'near'], adapter, async (stands) => {
      counts.push(...(await countAll(arena, adapter, stands)));
    });
  }
  say('express: commands, statements and bytes of other stores');
  // Tiers over a file: what is counted is the same, and it is there at once.
  const inFile = new Places({ postgres: 'sqlite' });
  const countThem = (stands: Stand[]) => countAll(arena, 'express', stands);
  counts.push(...(await withStands(STORES, 'express', countThem, inFile)));
  const lines = counts.map(lineOf);
  if (process.env.BENCH_ACCEPT) writeFileSync(BUDGET, `${JSON.stringify(lines, undefined, 2)}\n`);
  const budget = JSON.parse(readFileSync(BUDGET, 'utf8')) as string[];
  lines.forEach((line, i) => {
    say(`  ${line}`);
    if (line !== budget[i]) problems.push(`expected "${budget[i]}", found "${line}"`);
  });

  say('express: processor time of a read beside express-session');
  const load = { workload: 'read', bytes: 1_024, connections: 64, seconds: 1 } as const;
  const names = ['ceiling', 'ours', 'express-session'] as const;
  await withStands(names, 'express', async (stands) => {
    const shares: string[] = [];
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const { rows } = await compare(arena, 'express', stands, load, 5);
      const above = (name: string) => rows.find((row) => row.contender === name)!.cpuAbove.median;
      const [own, other] = [above('ours'), above('express-session')];
      say(`  ${own.toFixed(1)} µs above no session, express-session ${other.toFixed(1)} µs`);
      if (own / other <= GENEROUS) return;
      shares.push((own / other).toFixed(2));
    }
    problems.push(`a read costs ${shares.join(', ')} of express-session's, at most ${GENEROUS}`);
  });
  return problems;
}

/** Rounded, rather down: a sign of life comes in between once in a while, and a number has a digit more. */
const whole = (bytes: number): number => Math.floor(bytes + 0.25);

function lineOf(counted: Count): string {
  const { contender, adapter, workload, commands, in: received, out, statements } = counted;
  const who = contender === 'ours' ? adapter : `${contender} ${adapter}`;
  const sent = commands.join(' ') || 'nothing';
  const asked = statements === undefined ? '' : `, ${statements} statements`;
  return `${who} ${workload}: ${sent}, ${whole(received)} bytes in, ${whole(out)} out${asked}`;
}
