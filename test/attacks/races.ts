import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Get, HttpCode, Param, Post, Query } from '@nestjs/common';
import { Consistency, Principal, Session, SessionService } from 'nestjs-distributed-session';
import {
  inParallel,
  Latch,
  SECRET,
  startApp,
  type AdapterName,
  type TestApp,
} from '../support/app.js';
import { HttpClient, parseSetCookie, type Answer } from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { patient, startRedis, trialsOf, type RedisUnderTest } from '../support/redis-under-test.js';
import { STORE, itInRedis } from '../support/store-under-test.js';

const TRIALS = trialsOf(1_000);
/** Trials that run at the same time, each on sessions of its own. */
const WIDTH = 20;

const latches = new Map<string, Latch>();

@Controller()
class Races {
  constructor(private readonly sessions: SessionService) {}

  @Post('start') start(@Session() session: Session) {
    session.set('count', 0);
    return { handle: session.handle };
  }

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name }: { name: string },
  ) {
    await session.authenticate(name);
    return { principal: session.principal, handle: session.handle };
  }

  @Post('logout') @HttpCode(204) logout(@Session() session: Session) {
    return session.destroy();
  }

  @Post('revoke/:handle') async revoke(@Param('handle') handle: string) {
    return { ended: await this.sessions.revoke(handle) };
  }

  @Post('renew') async renew(@Session() session: Session) {
    await session.regenerate();
    return { handle: session.handle };
  }

  @Post('set/:key') set(@Session() session: Session, @Param('key') key: string) {
    session.set(key, `value of ${key}`);
    return {};
  }

  @Post('count') count(@Session() session: Session) {
    session.increment('count');
    return {};
  }

  /** What is stored: a copy on the other node may still be from before. */
  @Consistency('strong') @Get('all') all(
    @Session() session: Session,
    @Principal() principal: string | undefined,
  ) {
    const { data, isNew, handle } = session;
    return { data, isNew, principal, handle };
  }

  @Get('near') near(@Session('count') count: unknown) {
    return { count };
  }

  /** Has loaded the session, and writes when the test says so. */
  @Post('slow') async slow(
    @Session() session: Session,
    @Query('at') at: string,
    @Query('how') how: string,
  ) {
    await latches.get(at)?.wait();
    if (how === 'renew') await session.regenerate();
    if (how === 'touch') await session.touch();
    if (how === 'save') {
      session.set('late', 'saved');
      return { saved: await session.save() };
    }
    if (how === 'update') {
      await this.sessions.update(session.handle, (other) => other.set('late', 'updated'));
    } else if (how !== 'touch') session.set('late', 'written');
    return {};
  }
}

const LATE_WRITERS = ['set', 'save', 'update', 'renew', 'touch'] as const;

/** Registers them for one adapter; a file for each, so that they run side by side. */
export function describeRaces(adapter: AdapterName): void {
  describe(`races over two nodes on ${adapter}`, () => {
    let server: RedisUnderTest;
    let probe: RedisProbe;
    let nodes: TestApp[];
    let clients: HttpClient[];

    /** One browser; its requests go to the nodes in turn. */
    const browser = () => {
      const jar = new Map<string, string>();
      let turn = 0;
      const another = () => clients[turn++ % clients.length]!.another(jar);
      const post = async (path: string, json?: unknown): Promise<Answer> => {
        const client = another();
        const answer = await client.post(path, { json });
        jar.clear();
        for (const [name, value] of client.jar) jar.set(name, value);
        return answer;
      };
      return { jar, another, post, get: (path: string) => another().get(path) };
    };

    const trials = <T>(task: (name: string, index: number) => Promise<T>): Promise<T[]> =>
      inParallel(TRIALS, WIDTH, (index) => task(`${adapter}-${index}`, index));

    beforeAll(async () => {
      server = await startRedis();
      probe = await RedisProbe.start(server);
      const session = { redis: patient(server), secret: SECRET, touchAfter: 0 };
      const options = { adapter, controllers: [Races], session };
      nodes = await Promise.all([startApp(options), startApp(options)]);
      clients = nodes.map(({ port }) => new HttpClient(port));
    });

    /** Sessions that were stored before this test and still are, where Redis is not their place. */
    let before = 0;
    const stored = () => nodes[0]!.app.get(SessionService).count();
    const live = async () => (STORE ? (await stored()) - before : (await probe.liveRecords()).size);

    beforeEach(async () => {
      await probe.flush();
      if (STORE) before = await stored();
    });

    afterEach(() => latches.clear());

    afterAll(async () => {
      for (const client of clients) client.close();
      for (const node of nodes) await node.close();
      await probe.stop();
      await server.stop();
    });

    it('no slow request revives a session that was logged out or revoked', async () => {
      const outcomes = await trials(async (name, index) => {
        const user = browser();
        const { handle } = (await user.post('/login', { name })).json;
        const cookie = new Map(user.jar);
        const latch = new Latch();
        latches.set(name, latch);
        const how = LATE_WRITERS[index % LATE_WRITERS.length];
        const slow = user.another().post(`/slow?at=${name}&how=${how}`);
        await latch.reached;

        const end = () => user.post(index % 3 === 0 ? `/revoke/${String(handle)}` : '/logout');
        if (index % 2 === 0) {
          await end();
          latch.open();
        } else {
          const ending = end();
          latch.open();
          await ending;
        }
        const late = await slow;
        if (index % 10 > 1) return late.status;
        // Whatever cookie anybody got on the way opens nothing.
        const jars = [cookie];
        for (const { name: key, value } of late.setCookie.map(parseSetCookie)) {
          jars.push(new Map([[key, value]]));
        }
        for (const jar of jars) {
          const seen = (await clients[index % 2]!.another(jar).get('/all')).json;
          expect(seen).toMatchObject({ isNew: true, data: {} });
        }
        return late.status;
      });
      expect(new Set(outcomes)).toEqual(new Set([201]));
      expect(await live()).toBe(0);
    });

    it('50 parallel increments are 50', async () => {
      const sums = await inParallel(TRIALS / 50, 5, async () => {
        const user = browser();
        await user.post('/start');
        const answers = await inParallel(50, 50, () => user.another().post('/count'));
        const { data } = (await user.get('/all')).json;
        return { data, statuses: [...new Set(answers.map(({ status }) => status))] };
      });
      expect(sums).toEqual(sums.map(() => ({ data: { count: 50 }, statuses: [201] })));
    });

    it('parallel sets of different attributes all stay', async () => {
      const keys = ['a', 'b', 'c', 'd'];
      const seen = await trials(async () => {
        const user = browser();
        await user.post('/start');
        await Promise.all(keys.map((key) => user.another().post(`/set/${key}`)));
        return JSON.stringify((await user.get('/all')).json);
      });
      expect(await live()).toBe(TRIALS);
      const lost = seen.filter((text) => !keys.every((key) => text.includes(`"value of ${key}"`)));
      expect(lost).toEqual([]);
    });

    it('two parallel regenerations leave one live session, and both answers lead to it', async () => {
      await trials(async (_, index) => {
        const user = browser();
        await user.post('/start');
        const before = new Map(user.jar);
        const tabs = [user.another(), user.another()];
        await Promise.all(tabs.map((tab) => tab.post('/renew')));
        const seen = await Promise.all(tabs.map((tab) => tab.get('/all')));
        const handles = new Set(seen.map(({ json }) => json.handle));
        expect(handles.size).toBe(1);
        expect(seen.map(({ json }) => json.isNew)).toEqual([false, false]);
        if (index % 10 > 1) return;
        // A request that is still on its way with the old id reaches the same session.
        const late = await clients[index % 2]!.another(before).get('/all');
        expect(handles).toContain(late.json.handle);
      });
      expect(await live()).toBe(TRIALS);
    });

    itInRedis(
      'a write on its way while the id is renewed lands in the session that goes on',
      async () => {
        const seen = await trials(async (name, index) => {
          const user = browser();
          await user.post('/start');
          const latch = new Latch();
          latches.set(name, latch);
          const slow = user.another().post(`/slow?at=${name}&how=set`);
          await latch.reached;
          if (index % 2 === 0) latch.open();
          await user.post('/renew');
          latch.open();
          expect((await slow).status).toBe(201);
          return (await user.get('/all')).json.data;
        });
        expect(seen.filter((data) => (data as { late?: string }).late !== 'written')).toEqual([]);
        expect(await live()).toBe(TRIALS);
      },
    );

    it('no touch brings a session back', async () => {
      await trials(async (name) => {
        const user = browser();
        await user.post('/login', { name });
        const reading = [user.another(), user.another()].map((tab) => tab.get('/near'));
        const touching = user.another().post(`/slow?at=none&how=touch`);
        await user.post('/logout');
        await Promise.all([...reading, touching]);
      });
      expect(await probe.dump()).toEqual(new Map());
    });

    it('a login that races a logout leaves one session of its own or none, never the old id', async () => {
      const alive = await trials(async (name, index) => {
        const user = browser();
        await (index % 2 === 0 ? user.post('/start') : user.post('/login', { name: 'before' }));
        const planted = new Map(user.jar);
        const [loggingIn, loggingOut] = [user.another(), user.another()];
        const [login, logout] = await Promise.all([
          loggingIn.post('/login', { json: { name } }),
          loggingOut.post('/logout'),
        ]);
        expect([200, 409]).toContain(login.status);
        expect(logout.status).toBe(204);
        const old = (await clients[index % 2]!.another(planted).get('/all')).json;
        expect(old).toMatchObject({ isNew: true, data: {} });
        expect(old.principal).toBeUndefined();
        const mine = (await loggingIn.get('/all')).json;
        expect([name, undefined]).toContain(mine.principal);
        return mine.principal === name;
      });
      expect(await live()).toBe(alive.filter(Boolean).length);
    });

    it('two logins of one browser at once share a session if they are one person, and only then', async () => {
      const handles = await trials(async (name, index) => {
        const user = browser();
        await user.post('/start');
        const people = index % 2 === 0 ? [name, name] : [`${name}-a`, `${name}-b`];
        const tabs = people.map((person) => ({ person, tab: user.another() }));
        const answers = await Promise.all(
          tabs.map(({ person, tab }) => tab.post('/login', { json: { name: person } })),
        );
        expect(answers.map(({ status }) => status)).toEqual([200, 200]);
        const seen = await Promise.all(tabs.map(({ tab }) => tab.get('/all')));
        expect(seen.map(({ json }) => json.principal)).toEqual(people);
        // The loser of two people does not get what the winner's session holds.
        expect(seen.filter(({ json }) => !json.isNew)).toHaveLength(2);
        return new Set(seen.map(({ json }) => json.handle)).size;
      });
      expect(handles.filter((_, index) => index % 2 === 0)).toEqual(Array(TRIALS / 2).fill(1));
      expect(handles.filter((_, index) => index % 2 === 1)).toEqual(Array(TRIALS / 2).fill(2));
      expect(await live()).toBe(TRIALS * 1.5);
    });
  });
}
