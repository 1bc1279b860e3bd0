import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { SessionService, type SessionModuleOptions } from 'nestjs-distributed-session';
import { ADAPTERS, until, type TestApp } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { areLive, figuresOf, nearApp } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';

describe.each(ADAPTERS)('what a node was told before an outage, on %s', (adapter) => {
  const opened = new Opened();
  let redis: RedisServer;
  let nodes: TestApp[];
  let writer: HttpClient;
  let reader: HttpClient;

  beforeEach(async () => {
    redis = await RedisServer.start();
  });

  afterEach(async () => {
    await opened.close();
    await redis.stop();
  });

  const boot = async (more: SessionModuleOptions = {}) => {
    const stale = { onStoreFailure: 'stale', cookie: { secure: false }, ...more } as const;
    const app = { ...nearApp(redis.url, stale), adapter };
    nodes = [await opened.app(app), await opened.app(app)];
    await areLive(nodes);
    writer = opened.browser(nodes[0]!);
    await writer.post('/login/alice');
    reader = opened.browser(nodes[1]!, writer.jar);
    expect((await reader.get('/me')).json).toEqual({ note: 0, outage: null });
  };
  const whileTold = async (work: () => Promise<unknown>) => {
    const { invalidations } = figuresOf(nodes[1]!);
    await work();
    await until('it is told', () => figuresOf(nodes[1]!).invalidations > invalidations);
  };
  /** What the second node answers as soon as Redis is gone. */
  const inOutage = async () => {
    await redis.kill();
    await until('it is noticed', () => !figuresOf(nodes[1]!).live);
    return reader.get('/me');
  };

  it('is not served stale: whom another node has revoked', async () => {
    await boot();
    const service = nodes[0]!.app.get(SessionService);
    await whileTold(() => service.forPrincipal('alice').revokeAll());
    expect((await inOutage()).status).toBe(503);
  });

  it('nor what another node has changed, which it cannot tell from that', async () => {
    await boot();
    await whileTold(() => writer.post('/note'));
    expect((await inOutage()).status).toBe(503);
  });

  it('but what it has read since', async () => {
    await boot();
    await whileTold(() => writer.post('/note'));
    expect((await reader.get('/me')).json.note).toBe(1);
    expect((await inOutage()).json).toEqual({ note: 1, outage: 'stale' });
  });

  it('and what nobody has changed', async () => {
    await boot();
    expect((await inOutage()).json).toEqual({ note: 0, outage: 'stale' });
  });

  it.each([
    ['as long as', '30s', 1],
    ['shorter than', '10s', 1],
    ['longer than', '31s', 0],
  ] as const)(
    'has a warning at boot, or none: `staleFor` %s `maxAge`',
    async (_, staleFor, count) => {
      await boot({ staleFor });
      for (const { logger } of nodes) {
        const found = logger.texts('warn').filter((text) => text.includes('staleFor'));
        expect(found).toHaveLength(count);
        if (count > 0) expect(found[0]).toContain(`staleFor (${staleFor}) is not longer than`);
      }
    },
  );
});
