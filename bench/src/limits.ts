import { Redis } from 'ioredis';
import { IDLE } from './contenders/contender.js';
import type { BenchRedis } from './redis.js';
import { visitOf } from './visit.js';

/** What no session in Redis can fall below. */
export interface Limits {
  /** Processor time of the client for one `GETEX` of 1 KB without any HTTP, in microseconds. */
  readonly getexLoop: number;
  /** The same of Redis. */
  readonly getexLoopRedis: number;
}

const IN_FLIGHT = 64;
const READS = 200_000;

/** A bare loop of `GETEX` with as many in flight as there are connections elsewhere. */
export async function getexLoop(redis: BenchRedis): Promise<Limits> {
  const client = new Redis(redis.url);
  await client.set('loop', JSON.stringify(visitOf('user-000000', 1_024)), 'PX', IDLE);
  await loop(client, READS / 4);
  const before = { cpu: process.cpuUsage(), redis: await redis.totals() };
  await loop(client, READS);
  const cpu = process.cpuUsage(before.cpu);
  const after = await redis.totals();
  client.disconnect();
  return {
    getexLoop: (cpu.user + cpu.system) / READS,
    getexLoopRedis: (after.cpu - before.redis.cpu) / READS,
  };
}

async function loop(client: Redis, reads: number): Promise<void> {
  let left = reads;
  const worker = async () => {
    while (left-- > 0) await client.getex('loop', 'PX', IDLE);
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, worker));
}
