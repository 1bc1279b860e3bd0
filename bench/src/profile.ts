import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Arena, Stand } from './arena.js';
import type { Adapter } from './contenders/contender.js';
import { contender, type ContenderName, type Workload } from './contenders/index.js';
import { Places } from './places.js';
import { BenchRedis } from './redis.js';

/** As `--cpu-prof` writes it. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { functionName: string; url: string; lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Where the processor time of one contender goes: `npm run bench:profile -- ours express read`. */
async function profile(name: ContenderName, adapter: Adapter, workload: Workload): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'session-profile-'));
  const redis = await BenchRedis.start();
  const arena = new Arena();
  const places = new Places();
  try {
    const profiling = ['--cpu-prof', `--cpu-prof-dir=${folder}`, '--cpu-prof-interval=200'];
    const { place: kind } = contender(name);
    const place = kind && (await places.room(kind, name));
    const stand = await Stand.start(name, adapter, redis, { place, execArgv: profiling });
    const load = { workload, bytes: 1_024, connections: 64 };
    await arena.round(stand, { ...load, seconds: 2 });
    const measured = await arena.round(stand, { ...load, seconds: 4 });
    await stand.stop();
    const file = readdirSync(folder).find((one) => one.endsWith('.cpuprofile')) as string;
    const whole = JSON.parse(readFileSync(join(folder, file), 'utf8')) as CpuProfile;
    console.log(
      `${measured.cpu.toFixed(1)} µs a request, ${measured.requestsPerSecond.toFixed(0)}/s`,
    );
    for (const [place, share] of hottest(whole)) {
      console.log(`${(share * 100).toFixed(1).padStart(5)} %  ${place}`);
    }
  } finally {
    await arena.stop();
    await redis.stop();
    await places.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

function hottest({ nodes, samples, timeDeltas }: CpuProfile): [string, number][] {
  const places = new Map(nodes.map(({ id, callFrame }) => [id, placeOf(callFrame)]));
  const times = new Map<string, number>();
  let busy = 0;
  samples.forEach((id, i) => {
    const place = places.get(id) as string;
    if (place.startsWith('(idle)') || place.startsWith('(program)')) return;
    busy += timeDeltas[i] as number;
    times.set(place, (times.get(place) ?? 0) + (timeDeltas[i] as number));
  });
  const sorted = [...times].toSorted((a, b) => b[1] - a[1]).slice(0, 60);
  return sorted.map(([place, time]) => [place, time / busy]);
}

function placeOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']) {
  const file = url.replace(/^.*node_modules\//, '').replace(/^.*\/dist\//, 'dist/');
  return `${functionName || '(anonymous)'} ${file}:${lineNumber + 1}`;
}

const [name = 'ours', adapter = 'express', workload = 'read'] = process.argv.slice(2);
await profile(name as ContenderName, adapter as Adapter, workload as Workload);
