import type { Command } from 'commander';
import { BUCKETS } from '../core/session-id.js';
import { walkKeys, sizeOf } from '../doctor/key-walk.js';
import { ask } from '../doctor/server-facts.js';
import { openAccess, withEvents, type AccessOptions } from './session-access.js';
import type { CliRun, CliShared } from './shared.js';

export function register(program: Command, shared: CliShared): void {
  const sweep = shared.command(
    program,
    'sweep',
    'Takes dead entries out of indexes, and tells of sessions that ended by time.',
  );
  withEvents(sweep).action(shared.run<AccessOptions>(sweepAll));
}

/** Places that are looked at together. */
const WIDTH = 32;

/** Something of another type, which is none of ours. */
function orForeign(error: unknown): number {
  if (String((error as Error)?.message).startsWith('WRONGTYPE')) return NaN;
  throw error;
}

async function sweepAll(run: CliRun<AccessOptions>) {
  const { redis, options, io } = run;
  const { news, store } = await openAccess(redis, options, io);
  const total = await sizeOf(redis.client);
  const progress = run.progress('keys', total);
  let [places, removed, passed] = [0, 0, 0];
  const onPage = (some: number) => progress.at(Math.min(total, (passed += some)));
  for await (const page of walkKeys(redis.client, redis.prefix, onPage)) {
    const some = page.filter(({ kind }) => kind === 'place');
    for (let i = 0; i < some.length; i += WIDTH) {
      const done = some.slice(i, i + WIDTH).map(async ({ node, key, bucket, rest }) => {
        const before = Number(await ask(node, 'ZCARD', key).catch(orForeign));
        if (Number.isNaN(before)) return;
        // Counting takes out what is over.
        await store.countIn(bucket, rest);
        removed += Math.max(0, before - Number(await ask(node, 'ZCARD', key)));
        places++;
      });
      await Promise.all(done);
    }
  }
  progress.end();
  let expired = 0;
  for (const bucket of news ? BUCKETS : []) {
    for (let more = true; more;) {
      const swept = await store.news.sweep(bucket, news!.message(['expired']));
      expired += swept.ended;
      more = swept.more;
    }
  }
  const json = { places, removed, expiredTold: expired, told: news !== undefined };
  const told = news ? `, told of ${expired} that ended by time` : '';
  return { json, text: `${places} places, ${removed} dead entries taken out${told}` };
}
