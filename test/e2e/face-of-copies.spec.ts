import { afterAll, afterEach, beforeAll, expect, it } from '@jest/globals';
import { Controller, Get, Post } from '@nestjs/common';
import {
  PassiveSession,
  RequireSession,
  Session,
  SessionModule,
  SessionService,
} from 'nestjs-distributed-session';
import { ADAPTERS, asInThisRun, NEAR_CACHE, SECRET, until, type TestApp } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { clientFor, startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { inRedis } from '../support/store-under-test.js';

@RequireSession()
@Controller()
class Shop {
  @Get('read') read(@Session() session: Session) {
    return { principal: session.principal };
  }

  @PassiveSession() @Get('passive') passive(@Session() session: Session) {
    return { principal: session.principal };
  }

  @Post('write') write(@Session() session: Session) {
    session.increment('writes');
  }
}

// A run from copies proves nothing with a cache that never serves: all else passes with it as well.
inRedis.each(ADAPTERS)('what the applications of a run serve from copies, on %s', (adapter) => {
  const opened = new Opened();
  let server: RedisUnderTest;

  beforeAll(async () => {
    server = await startRedis();
  });

  afterEach(opened.close);
  afterAll(() => server.stop());

  const parts = { adapter, controllers: [Shop] };
  const common = { secret: SECRET, cookie: { secure: false } } as const;
  /** As the tests of access, of attacks and of whole requests start theirs. */
  const ways: Record<string, () => Promise<TestApp>> = {
    'by a connection': () =>
      opened.app({ ...parts, session: { ...common, redis: server.connection() } }),
    'by a client that was handed in': async () => {
      const client = await clientFor(server);
      opened.add({ close: () => client.disconnect() });
      return opened.app({ ...parts, session: { ...common, redis: client } });
    },
    'with a module of its own': () => {
      const session = asInThisRun({ ...common, redis: server.connection() });
      return opened.app({ ...parts, imports: [SessionModule.forRoot(session)] });
    },
    'that reads eagerly': () =>
      opened.app({
        ...parts,
        session: { ...common, redis: server.connection(), loading: 'eager' },
      }),
  };

  it.each(Object.keys(ways))(
    'is most of what is read, or nothing without copies: %s',
    async (way) => {
      const node = await ways[way]!();
      const service = node.app.get(SessionService);
      if (NEAR_CACHE) await until('copies are kept', () => service.nearCache()?.live);
      const session = await service.create({ principal: 'alice' });
      const alice = opened.browser(node, [['session', service.tokenOf(session)]]);
      const before = service.nearCache()?.hits;
      for (let i = 0; i < 10; i++) {
        await alice.post('/write');
        for (const path of ['/read', '/passive', '/read']) {
          expect((await alice.get(path)).json).toEqual({ principal: 'alice' });
        }
      }
      const hits = service.nearCache()?.hits;
      if (NEAR_CACHE) expect(hits! - before!).toBeGreaterThanOrEqual(20);
      else expect(hits).toBeUndefined();
    },
  );
});
