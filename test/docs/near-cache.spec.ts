import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Module, Post } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import {
  RequireSession,
  Session,
  SessionModule,
  SessionService,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { SessionTesting, SessionTestingModule } from 'nestjs-distributed-session/testing';
import { SECRET, until } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisCluster } from '../support/redis-cluster.js';
import { RedisServer } from '../support/redis-server.js';
import type { RedisConnection } from '../support/redis-under-test.js';
import {
  documentedForEvents,
  documentedForNearCache,
  documentedInCluster,
  documentedUser,
} from '../support/redis-user.js';

@Controller()
class Notes {
  @RequireSession()
  @Get('note')
  note(@Session('note') note: unknown) {
    return { note: note ?? null };
  }

  @Post('note') async write(@Session() session: Session) {
    if (!session.principal) await session.authenticate('alice');
    return { note: session.increment('note') };
  }
}

const user = (more: readonly string[]) => {
  const documented = documentedUser();
  return { ...documented, rules: [...documented.rules, ...more] };
};

// What is refused to the user fails the end of each test: servers remember it.
describe('the rights that stores.md gives a Redis user for the near cache', () => {
  const opened = new Opened();
  afterEach(opened.close, 60_000);

  const start = async (where: string, rules: readonly string[]) => {
    const redis =
      where === 'alone'
        ? await RedisServer.start([], { user: user(rules) })
        : await RedisCluster.start(3, { user: user([...documentedInCluster(), ...rules]) });
    return opened.add({
      redis,
      close: () => redis.stop(),
      forget: async () => {
        for (const master of await redis.currentMasters()) {
          const admin = master.connect();
          await admin.call('ACL', 'LOG', 'RESET');
          admin.disconnect();
        }
      },
    });
  };
  const boot = async (redis: RedisConnection, more: SessionModuleOptions = {}) => {
    const session: SessionModuleOptions = {
      redis,
      secret: SECRET,
      nearCache: true,
      cookie: { secure: false },
      ...more,
    };
    const node = await opened.app({ adapter: 'express', controllers: [Notes], session });
    return { node, figures: () => node.app.get(SessionService).nearCache()! };
  };

  it.each(['alone', 'in a Cluster'])(
    'are enough, %s',
    async (where) => {
      const { redis } = await start(where, documentedForNearCache());
      const [one, other] = [await boot(redis.connection()), await boot(redis.connection())];
      await until('changes are told', () => one.figures().live && other.figures().live);
      const alice = opened.browser(one.node);
      const beside = opened.browser(other.node, alice.jar);
      for (let i = 1; i <= 5; i++) {
        await alice.post('/note');
        for (const [name, value] of alice.jar) beside.jar.set(name, value);
        expect((await beside.get('/note')).json).toEqual({ note: i });
        expect((await beside.get('/note')).json).toEqual({ note: i });
      }
      expect(other.figures().hits).toBeGreaterThan(0);
      expect(other.figures().invalidations).toBeGreaterThan(0);
    },
    60_000,
  );

  it.each(documentedForNearCache())(
    'are all needed: without %s no copies are kept, and the log says so',
    async (right) => {
      const { redis, forget } = await start(
        'alone',
        documentedForNearCache().filter((other) => other !== right),
      );
      const { node, figures } = await boot(redis.connection());
      expect(node.logger.texts('warn').join()).toMatch(/CLIENT TRACKING.*docs\/near-cache\.md/);
      const alice = opened.browser(node);
      await alice.post('/note');
      for (let i = 0; i < 3; i++) expect((await alice.get('/note')).json).toEqual({ note: 1 });
      expect(figures()).toMatchObject({ live: false, entries: 0, hits: 0 });
      await node.close();
      opened.drop(node);
      await forget();
    },
  );

  it('are not needed where events tell of changes', async () => {
    const { redis, forget } = await start('alone', documentedForEvents());
    const { node, figures } = await boot(redis.connection(), { events: { modified: true } });
    const alice = opened.browser(node);
    await alice.post('/note');
    for (let i = 0; i < 3; i++) expect((await alice.get('/note')).json).toEqual({ note: 1 });
    expect(figures().hits).toBeGreaterThan(0);
    await node.close();
    opened.drop(node);
    await forget();
  });
});

it('leaves the near cache out in tests of an application, of each name', async () => {
  @Module({
    imports: [
      SessionModule.forRoot({ redis: 'redis://127.0.0.1:1', nearCache: true }),
      SessionModule.forFeature('admin', {}),
      SessionModule.forFeature('staff', { nearCache: { maxAge: '5s' } }),
    ],
    controllers: [Notes],
  })
  class AppModule {}

  const builder = Test.createTestingModule({ imports: [AppModule] });
  const app = (await SessionTestingModule.override(builder).compile()).createNestApplication();
  await app.init();
  const { session } = await new SessionTesting(app).login('alice');
  expect(session.principal).toBe('alice');
  expect(app.get(SessionService).nearCache()).toBeUndefined();
  await app.close();
});
