import type { Adapter } from '../contenders/contender.js';
import type { ContenderName, Workload } from '../contenders/index.js';
import type { Results } from '../results.js';
import type { Row } from '../scenario.js';
import { find } from './find.js';

/** What the library wants to be, and what it is. */
interface Goal {
  readonly goal: string;
  readonly bound: string;
  readonly reached: string;
  readonly met: boolean;
}

export function goalsOf(results: Results): Goal[] {
  const row = (adapter: Adapter, workload: Workload, name: ContenderName): Row =>
    find(results, adapter, workload).rows.find((one) => one.contender === name) as Row;
  const nearRow = (adapter: Adapter, name: ContenderName): Row =>
    results.near.scenarios
      .find((one) => one.adapter === adapter)
      ?.rows.find((one) => one.contender === name) as Row;
  const above = (adapter: Adapter, workload: Workload, name: ContenderName): number =>
    row(adapter, workload, name).cpuAbove.median;
  const share = (adapter: Adapter, workload: Workload, peer: ContenderName): number =>
    above(adapter, workload, 'ours') / above(adapter, workload, peer);
  const commands = (workload: Workload): number =>
    Math.max(
      ...results.counts
        .filter((one) => one.contender === 'ours' && one.workload === workload)
        .map((one) => one.commands.length),
    );
  const redisCpu = (name: ContenderName): number => row('express', 'read', name).redisCpu.median;
  const small = results.footprints.find((one) => one.contender === 'ours' && one.bytes === 191);

  return [
    atLeast(
      'Read, requests/s relative to no session, Express',
      0.8,
      row('express', 'read', 'ours').relative.median,
    ),
    atLeast('The same on Fastify', 0.7, row('fastify', 'read', 'ours').relative.median),
    atMost(
      "Read, CPU above no session: share of express-session's",
      0.25,
      share('express', 'read', 'express-session'),
    ),
    atMost(
      "The same: share of @fastify/session's",
      0.25,
      share('fastify', 'read', 'fastify-session'),
    ),
    atMost('Read: share of JWT verification by jose, Express', 1, share('express', 'read', 'jose')),
    atMost('The same on Fastify', 1, share('fastify', 'read', 'jose')),
    ...(['express', 'fastify'] as const).flatMap((adapter) => [
      atLeast(
        `Near cache: read, requests/s relative to no session, ${titles[adapter]}`,
        0.9,
        nearRow(adapter, 'near').relative.median,
      ),
      atLeast(
        'The same, relative to a guard, interceptor and decorator that do nothing',
        0.9,
        nearRow(adapter, 'near').requestsPerSecond.median /
          nearRow(adapter, 'face').requestsPerSecond.median,
      ),
    ]),
    atMost('Redis commands of a read', 1, commands('read'), 0),
    atMost('Redis commands of a change', 2, commands('change'), 0),
    atMost('Redis commands of a login', 3, commands('login'), 0),
    atMost(
      'Redis CPU of a read: share of a bare GETEX',
      1.2,
      redisCpu('ours') / redisCpu('bare-getex'),
    ),
    atMost(
      "Change, CPU above no session: share of express-session's",
      0.5,
      share('express', 'change', 'express-session'),
    ),
    atLeast(
      'Reads/s with a million sessions stored, relative to a thousand',
      0.95,
      results.growth.at(-1)?.relative.median ?? 0,
    ),
    atMost('Bytes in Redis of a session of 191 bytes', 800, small?.stored ?? Number.NaN, 0),
  ];
}

const titles = { express: 'Express', fastify: 'Fastify' } as const;

const atMost = (goal: string, bound: number, value: number, digits = 2): Goal => ({
  goal,
  bound: `≤ ${bound}`,
  reached: value.toFixed(digits),
  met: value <= bound,
});

const atLeast = (goal: string, bound: number, value: number, digits = 2): Goal => ({
  goal,
  bound: `≥ ${bound}`,
  reached: value.toFixed(digits),
  met: value >= bound,
});
