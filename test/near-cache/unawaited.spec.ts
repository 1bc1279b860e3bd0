import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Post } from '@nestjs/common';
import type { Redis } from 'ioredis';
import {
  PassiveSession,
  RequireSession,
  Session,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { ADAPTERS, until, type TestApp } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { areLive, figuresOf, nearApp } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';

@Controller()
class Shop {
  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal };
  }

  @PassiveSession() @RequireSession() @Get('peek') peek() {
    return {};
  }

  @Post('login') async login(@Session() session: Session) {
    await session.authenticate('alice');
  }
}

/** How long Redis answers nobody, in milliseconds: less than any call waits for. */
const PAUSE = 400;

/** It may lose what it has: sessions are put where they stand whenever they are used. */
const EVICTING = '--maxmemory 200mb --maxmemory-policy volatile-lru'.split(' ');

describe.each(ADAPTERS)('what a hit leaves to do, on %s', (adapter) => {
  const opened = new Opened();
  let redis: RedisServer;
  let admin: Redis;

  beforeEach(async () => {
    redis = await RedisServer.start(EVICTING);
    admin = redis.connect();
  });

  afterEach(async () => {
    await opened.close();
    admin.disconnect();
    await redis.stop();
  });

  const boot = async (more: SessionModuleOptions) => {
    const cookie = { secure: false };
    const app = { ...nearApp(redis.url, { cookie, ...more }), adapter, controllers: [Shop] };
    const nodes = [await opened.app(app), await opened.app(app)] as const;
    await areLive(nodes);
    const alice = opened.browser(nodes[0]);
    await alice.post('/login');
    return { nodes, alice, there: opened.browser(nodes[1], alice.jar) };
  };

  /** A touch that took too long has dropped the copy, on a busy machine. */
  const isCopied = async (node: TestApp, browser: HttpClient) => {
    const { hits } = figuresOf(node);
    await until('a copy is served', async () => {
      await browser.get('/me');
      return figuresOf(node).hits > hits;
    });
  };

  /** Milliseconds until an answer is there, while Redis answers nobody. */
  const whilePaused = async (browser: HttpClient) => {
    await admin.call('CLIENT', 'PAUSE', String(PAUSE), 'ALL');
    const since = performance.now();
    expect((await browser.get('/me')).json).toEqual({ principal: 'alice' });
    const waited = performance.now() - since;
    await admin.ping();
    return waited;
  };

  it('is done beside it where Redis evicts: the window is moved, the places are made sure of', async () => {
    const { nodes, alice } = await boot({ touchAfter: 0 });
    await isCopied(nodes[0], alice);
    const { hits } = figuresOf(nodes[0]);
    expect(await whilePaused(alice)).toBeLessThan(0.75 * PAUSE);
    expect(figuresOf(nodes[0]).hits).toBe(hits + 1);

    const [place] = (await admin.keys('*')).filter((key) => !key.includes(':s:'));
    const members = await admin.zcard(place!);
    await isCopied(nodes[0], alice);
    const before = figuresOf(nodes[0]);
    await admin.del(place!);
    await alice.get('/me');
    await until('it stands there again', async () => (await admin.zcard(place!)) === members);
    expect(figuresOf(nodes[0])).toMatchObject({ hits: before.hits + 1, misses: before.misses });
  });

  it('is done beside it where the window would be longer than the session', async () => {
    const { nodes, there } = await boot({
      idleTimeout: '10m',
      absoluteTimeout: '10m',
      touchAfter: '1m',
    });
    await there.get('/peek');
    await until('there is a copy', () => figuresOf(nodes[1]).entries === 1);
    const { hits } = figuresOf(nodes[1]);
    expect(await whilePaused(there)).toBeLessThan(0.75 * PAUSE);
    expect(figuresOf(nodes[1]).hits).toBe(hits + 1);
    const [key] = await admin.keys('*:s:*');
    await until('it ends with the session', async () => (await admin.pttl(key!)) < 600_000);
  });

  it('is left to one of those who go along with one read', async () => {
    const { nodes, there } = await boot({});
    // The server knows the scripts from then on.
    const warm = opened.browser(nodes[0]);
    await warm.post('/login');
    await opened.browser(nodes[1], warm.jar).get('/me');
    const probe = await RedisProbe.start(redis);
    opened.add({ close: () => probe.stop() });
    const clients = Array.from({ length: 20 }, () => there.another(there.jar));
    const seen = await probe.commandsDuring(async () => {
      await Promise.all(clients.map((one) => one.get('/me')));
      await admin.ping();
    });
    const scripts = seen.filter(({ name }) => name.startsWith('eval'));
    expect(scripts).toHaveLength(2);
  });
});
