import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Post, UseGuards } from '@nestjs/common';
import {
  Principal,
  Session,
  SessionGuard,
  SessionService,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { ADAPTERS, inParallel, SECRET } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';
import { Collector, sum } from './collector.js';

const MINUTE = 60_000;
const USERS = 10;
const TIMES = 40;

@Controller()
class Shop {
  constructor(private readonly sessions: SessionService) {}

  @Post('login') async login(@Session() session: Session) {
    await session.authenticate(`user-${session.increment('logins') % USERS}`);
    return {};
  }

  @Get('me') @UseGuards(SessionGuard) me(@Principal() principal: string) {
    return { principal };
  }

  @Post('cart') add(@Session() session: Session) {
    return { items: session.increment('items') };
  }

  @Get('mine') @UseGuards(SessionGuard) async mine(@Principal() principal: string) {
    return { count: (await this.sessions.forPrincipal(principal).list()).length };
  }

  @Post('logout') async logout(@Session() session: Session) {
    await session.destroy();
    return {};
  }
}

const FEATURES: readonly [name: string, session: SessionModuleOptions][] = [
  ['nothing else', {}],
  ['events', { events: true }],
  ['a near cache', { nearCache: true }],
  ['events, a near cache and a limit', { events: true, nearCache: true, maxSessions: 2 }],
];

describe.each(ADAPTERS)('on %s the commands that are sent for requests', (adapter) => {
  const opened = new Opened();
  let redis: RedisServer;
  let collector: Collector;
  let probe: RedisProbe;

  beforeEach(async () => {
    redis = opened.add(await serverOf());
    collector = opened.add(new Closing());
    probe = await RedisProbe.start(redis);
    opened.add({ close: () => probe.stop() });
    // Before anybody sends anything: what a busy server says to who begins to monitor confuses a client.
    await probe.watch();
  }, MINUTE);

  afterEach(opened.close, MINUTE);

  /** Commands that clients sent, and those that were told as metrics. */
  const during = async (work: () => Promise<unknown>) => {
    const before = await collector.collect();
    const sent = await probe.commandsDuring(work);
    const after = await collector.collect();
    const asked = (seen: typeof after) => sum(seen, 'session.store.duration');
    // A script that the server does not know yet is sent once more; who keeps copies asks whether it is still told.
    const names = sent.filter(({ name }) => name !== 'eval' && name !== 'ping');
    return { sent: names.length, told: asked(after) - asked(before), names };
  };

  it.each(FEATURES)(
    'are as many as are told, with %s',
    async (_, session) => {
      const app = await opened.app({
        adapter,
        controllers: [Shop],
        session: {
          redis: redis.url,
          secret: SECRET,
          cookie: { secure: false },
          observer: collector.observer,
          ...session,
        },
      });
      const clients = Array.from({ length: TIMES }, () => opened.browser(app));
      const each = (ask: (client: HttpClient) => Promise<{ status: number }>) => () =>
        inParallel(TIMES, 4, async (i) => {
          const { status } = await ask(clients[i] as HttpClient);
          expect([200, 201, 401]).toContain(status);
        });
      const work: Record<string, () => Promise<unknown>> = {
        logins: each((client) => client.post('/login')),
        reads: each((client) => client.get('/me')),
        writes: each((client) => client.post('/cart')),
        lists: each((client) => client.get('/mine')),
        'further logins': each((client) => client.post('/login')),
        logouts: each((client) => client.post('/logout')),
        'reads of nobody': each((client) => client.get('/me')),
      };
      for (const [name, run] of Object.entries(work)) {
        const { sent, told, names } = await during(run);
        const off = Math.abs(sent - told);
        if (off > sent / 100) {
          const counts = new Map<string, number>();
          for (const one of names) counts.set(one.name, (counts.get(one.name) ?? 0) + 1);
          const shown = [...counts].map((pair) => pair.join(' ')).join(', ');
          throw new Error(`${name}: ${told} were told, ${sent} were sent: ${shown}`);
        }
      }
      const all = await collector.collect();
      expect(sum(all, 'session.store.duration')).toBeGreaterThan(3 * TIMES);
    },
    MINUTE,
  );
});

async function serverOf(): Promise<RedisServer & { close(): Promise<void> }> {
  const server = await RedisServer.start();
  return Object.assign(server, { close: () => server.stop() });
}

class Closing extends Collector {
  close = (): Promise<void> => this.stop();
}
