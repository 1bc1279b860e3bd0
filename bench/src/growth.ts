import { Module } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { SessionModule, SessionService } from '../../dist/index.js';
import { Arena, Stand } from './arena.js';
import { IDLE, SECRET } from './contenders/contender.js';
import { BenchRedis } from './redis.js';
import { rangeOf, type Range } from './statistics.js';
import { visitOf } from './visit.js';

/** How reads fare with this many sessions in Redis. */
export interface Growth {
  readonly stored: number;
  readonly requestsPerSecond: Range;
  /** Relative to the fewest sessions in the same round. */
  readonly relative: Range;
  readonly redisCpu: Range;
  readonly p99: Range;
  /** Bytes in Redis for each. */
  readonly bytes: number;
}

const BYTES = 1_024;
const SECONDS = 1.5;

/** The same reads beside a Redis with few, more and many sessions, in turn. */
export async function grow(
  arena: Arena,
  counts: readonly number[],
  rounds: number,
): Promise<Growth[]> {
  const fields: { stored: number; stand: Stand; redis: BenchRedis; bytes: number }[] = [];
  for (const stored of counts) {
    const redis = await BenchRedis.start();
    const { cookies, bytes } = await fill(redis, stored);
    const stand = await Stand.start('ours', 'express', redis);
    await arena.useCookies(stand, cookies, BYTES);
    fields.push({ stored, stand, redis, bytes });
  }
  const load = { workload: 'read', bytes: BYTES, connections: 64, seconds: SECONDS } as const;
  for (const { stand } of fields) await arena.warmUp(stand, load);
  const samples = fields.map((): Awaited<ReturnType<Arena['round']>>[] => []);
  for (let round = 0; round < rounds; round++) {
    const order = fields.map((_, i) => i);
    for (const i of round % 2 ? order.toReversed() : order) {
      samples[i]?.push(await arena.round(fields[i]!.stand, load));
    }
  }
  for (const { stand, redis } of fields) {
    await stand.stop();
    await redis.stop();
  }
  return fields.map(({ stored, bytes }, i) => ({
    stored,
    bytes,
    requestsPerSecond: rangeOf(samples[i]!.map((one) => one.requestsPerSecond)),
    relative: rangeOf(
      samples[i]!.map(
        (one, round) => one.requestsPerSecond / samples[0]![round]!.requestsPerSecond,
      ),
    ),
    redisCpu: rangeOf(samples[i]!.map((one) => one.redisCpu)),
    p99: rangeOf(samples[i]!.map((one) => one.p99)),
  }));
}

/** Cookies that the requests take turns with, spread over all that is stored. */
const COOKIES = 1_000;

async function fill(redis: BenchRedis, count: number) {
  const before = await redis.memory();
  @Module({
    imports: [SessionModule.forRoot({ redis: redis.url, secret: SECRET, idleTimeout: IDLE })],
  })
  class FillModule {}
  const app = await NestFactory.createApplicationContext(FillModule, { logger: ['error', 'warn'] });
  const sessions = app.get(SessionService);
  const cookies: string[] = [];
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < count; i = next++) {
      const principal = `user-${String(i).padStart(6, '0')}`;
      const { user: _, ...data } = visitOf(principal, BYTES);
      const session = await sessions.create({ principal, data });
      if (i % (count / COOKIES) === 0) cookies.push(`sid=${sessions.tokenOf(session)}`);
    }
  };
  await Promise.all(Array.from({ length: 128 }, worker));
  await app.close();
  return { cookies, bytes: ((await redis.memory()) - before) / count };
}
