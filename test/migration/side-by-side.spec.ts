import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { connectRedis, fastifySession } from 'nestjs-distributed-session/migration';
import { ADAPTERS, inParallel } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { Browser, startNew } from './new-app.js';
import {
  FASTIFY_SECRET,
  HAS_FASTIFY_SESSION,
  OLD_SECRETS,
  startExpressSession,
  startFastifySession,
  type OldApp,
} from './old-apps.js';

/** Users of the drill; `MIGRATION_USERS=1000` for a large one. */
const USERS = Number(process.env.MIGRATION_USERS ?? 30);
/** Requests of each user in each stage. */
const STEPS = 6;
/** Users whose requests are under way at the same time. */
const AT_ONCE = 30;

const fromExpress = (mode: 'both' | 'forward') =>
  connectRedis({ secrets: OLD_SECRETS, mode, cookie: { secure: false, maxAge: 3_600_000 } });
const fromFastify = (mode: 'both' | 'forward') =>
  fastifySession({ secrets: FASTIFY_SECRET, mode, cookie: { secure: false, maxAge: 3_600_000 } });

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
});
afterAll(() => redis.stop());

/** A user, and what only they know of their cart. */
class User {
  readonly browser = new Browser();
  readonly cart: string[] = [];

  constructor(readonly name: string) {}

  async buy(port: number): Promise<void> {
    const item = `${this.name}-${this.cart.length}`;
    await this.browser.post(port, `/cart?item=${item}`);
    this.cart.push(item);
  }

  /** Goes on for a while, on whichever node answers; tells how often they were not known. */
  async goOn(ports: readonly number[], random: () => number): Promise<number> {
    let unknown = 0;
    for (let step = 0; step < STEPS; step++) {
      const port = ports[Math.floor(random() * ports.length)] as number;
      if (random() < 0.5) await this.buy(port);
      else {
        const { user, cart } = await this.browser.me(port);
        if (user !== this.name || cart.join() !== this.cart.join()) unknown++;
      }
    }
    return unknown;
  }
}

/** The same numbers in every run. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

/** How many of them are somebody else, or have another cart, than they know. */
async function strangers(users: readonly User[], port: number): Promise<number> {
  const seen = await inParallel(users.length, AT_ONCE, (i) => users[i]!.browser.me(port));
  return seen.filter(
    ({ user, cart }, i) => user !== users[i]!.name || cart.join() !== users[i]!.cart.join(),
  ).length;
}

const SOURCES = [
  {
    from: 'express-session',
    startOld: (url: string): Promise<OldApp> => startExpressSession(url),
    migrate: fromExpress,
    runs: true,
  },
  {
    from: '@fastify/session',
    startOld: startFastifySession,
    migrate: fromFastify,
    runs: HAS_FASTIFY_SESSION,
  },
];

if (!HAS_FASTIFY_SESSION) {
  console.warn(
    'SKIPPED: moves from @fastify/session (npm install -D @fastify/session @fastify/cookie)',
  );
}

const INSTALLED = SOURCES.filter(({ runs }) => runs || process.env.CI);

describe.each(INSTALLED)('an application that moves from $from', ({ startOld, migrate }) => {
  it.each(ADAPTERS)(
    'to %s, back, and forward for good, logs nobody out and loses no cart',
    async (adapter) => {
      const database = ADAPTERS.indexOf(adapter) + (migrate === fromExpress ? 1 : 3);
      const url = `${redis.url}/${database}`;
      const random = numbers(7);
      const users = Array.from({ length: USERS }, (_, i) => new User(`user${i}`));
      const stage = (ports: readonly number[]) =>
        inParallel(users.length, AT_ONCE, (i) => users[i]!.goOn(ports, random));
      const lost: number[] = [];
      const count = async (ports: readonly number[]) =>
        lost.push((await stage(ports)).reduce((sum, one) => sum + one, 0));

      const old = [await startOld(url), await startOld(url)] as const;
      for (const [i, user] of users.entries()) {
        await user.buy(old[i % 2]!.port);
        await user.browser.post(old[i % 2]!.port, `/login?user=${user.name}`);
      }
      await count([old[0].port, old[1].port]);

      // Forward, node by node.
      const first = await startNew(adapter, url, migrate('both'));
      await count([old[0].port, old[1].port, first.port]);
      const second = await startNew(adapter, url, migrate('both'));
      await count([old[0].port, old[1].port, first.port, second.port]);
      await old[0].close();
      await count([old[1].port, first.port, second.port]);
      await old[1].close();
      await count([first.port, second.port]);

      // Somebody logs in who has never been on an old node.
      const late = new User('late');
      await late.buy(first.port);
      await late.browser.post(second.port, '/login?user=late');
      users.push(late);

      // Back.
      const again = [await startOld(url), await startOld(url)] as const;
      await count([again[0].port, first.port, second.port]);
      await first.close();
      await count([again[0].port, again[1].port, second.port]);
      await second.close();
      await count([again[0].port, again[1].port]);
      expect(await strangers(users, again[0].port)).toBe(0);

      // Forward for good.
      const third = await startNew(adapter, url, migrate('both'));
      await count([again[0].port, again[1].port, third.port]);
      await again[0].close();
      await again[1].close();
      await count([third.port]);
      const last = await startNew(adapter, url, migrate('forward'));
      await third.close();
      await count([last.port]);
      expect(await strangers(users, last.port)).toBe(0);
      expect(lost).toEqual(lost.map(() => 0));

      expect((await last.migration.remaining()).linked).toBe(0);
      const cookies = new Set(users.flatMap(({ browser }) => [...browser.jar.keys()]));
      expect([...cookies]).toEqual(['session']);
      for (const { browser } of users) browser.close();
      await last.close();
    },
  );
});
