import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import { Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import { Consistency, RequireSession, Session, SessionService } from 'nestjs-distributed-session';
import { inParallel, SECRET, startApp, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { patient, startRedis, trialsOf, type RedisUnderTest } from '../support/redis-under-test.js';
import { itInRedis, itListed } from '../support/store-under-test.js';

const TRIALS = trialsOf(200);
/** Trials that run at the same time, each of a principal of its own. */
const WIDTH = 8;
const DEVICES = 6;
/** What sessions do while they are ended; each may get a new id, or write, or both. */
const ACTS = ['me', 'write', 'renew', 'elevate', 'switch', 'write-and-renew'] as const;

@Controller()
class Shop {
  @Post('login/:name') @HttpCode(200) async login(
    @Session() session: Session,
    @Param('name') name: string,
  ) {
    await session.authenticate(name, { factors: ['pwd'] });
    return {};
  }

  /** What is stored: a copy on the other node may still be from before. */
  @Consistency('strong') @RequireSession() @Get('me') me(@Session() { principal, actor }: Session) {
    return { principal, actor };
  }

  @RequireSession() @Post('act/:act') async act(
    @Session() session: Session,
    @Param('act') act: (typeof ACTS)[number],
  ) {
    if (act.startsWith('write')) session.increment('writes');
    if (act.endsWith('renew')) await session.regenerate();
    if (act === 'elevate') await session.elevate('otp');
    if (act === 'switch') await session.switchPrincipal(`customer of ${session.principal}`);
    return {};
  }
}

describe('ending all sessions of a principal while they are in use', () => {
  let server: RedisUnderTest;
  const nodes: TestApp[] = [];
  const clients: HttpClient[] = [];
  let services: SessionService[];

  beforeAll(async () => {
    server = await startRedis();
    for (const adapter of ['express', 'fastify'] as const) {
      const session = { redis: patient(server), secret: SECRET, cookie: { secure: false } };
      const node = await startApp({ adapter, session, controllers: [Shop] });
      nodes.push(node);
      clients.push(new HttpClient(node.port));
    }
    services = nodes.map(({ app }) => app.get(SessionService));
  }, 60_000);

  afterAll(async () => {
    for (const client of clients) client.close();
    for (const node of nodes) await node.close();
    await server?.stop();
  });

  /** A browser that remembers every cookie it ever had; its requests go to the nodes in turn. */
  class Device {
    readonly tokens = new Set<string>();
    #jar: ReadonlyMap<string, string> = new Map();
    #turn: number;

    constructor(turn: number) {
      this.#turn = turn;
    }

    async post(path: string): Promise<number> {
      const client = clients[this.#turn++ % clients.length]!.another(this.#jar);
      const { status } = await client.post(path);
      const token = client.jar.get('session');
      if (token !== undefined) this.tokens.add(token);
      if (token !== undefined && status < 400) this.#jar = new Map(client.jar);
      return status;
    }
  }

  const whoIs = async (token: string): Promise<unknown[]> =>
    Promise.all(
      clients.map(async (client) => {
        const { status, json } = await client.another([['session', token]]).get('/me');
        return status === 200 ? json.principal : status;
      }),
    );

  itListed(
    `none that was there serves another request, those that came after live: ${TRIALS} trials`,
    async () => {
      const seen = { acted: 0, refused: 0, survived: 0 };
      await inParallel(TRIALS, WIDTH, async (trial) => {
        const name = `user-${trial}`;
        const devices = Array.from({ length: DEVICES }, (_, i) => new Device(i));
        for (const device of devices) expect(await device.post(`/login/${name}`)).toBe(200);

        const running = devices.flatMap((device, i) => [
          device.post(`/act/${ACTS[(trial + i) % ACTS.length]}`),
          device.post(`/act/${ACTS[(trial + i + 1) % ACTS.length]}`),
        ]);
        const others = Array.from({ length: 3 }, (_, i) => new Device(i));
        const arriving = others.map((device) => device.post(`/login/${name}`));
        // Sometimes first, sometimes in the middle, sometimes last.
        await Promise.all(running.slice(0, trial % 5).map((one) => one.catch(() => undefined)));
        await services[trial % 2]!.forPrincipal(name).revokeAll();

        const check = async () => {
          const tokens = devices.flatMap((device) => [...device.tokens]);
          for (const token of tokens) expect(await whoIs(token)).toEqual([401, 401]);
        };
        await check();
        for (const status of await Promise.all(running)) {
          if (status === 201) seen.acted++;
          else seen.refused++;
        }
        // What the requests that were under way may have got as new ids.
        await check();

        expect(await Promise.all(arriving)).toEqual([200, 200, 200]);
        const later = new Device(0);
        expect(await later.post(`/login/${name}`)).toBe(200);
        expect(await whoIs([...later.tokens].at(-1)!)).toEqual([name, name]);
        const live = [later];
        for (const device of others) {
          const [one, other] = await whoIs([...device.tokens].at(-1)!);
          expect(one).toBe(other);
          if (one === name) live.push(device);
        }
        seen.survived += live.length - 1;
        const sessions = services[0]!.forPrincipal(name);
        expect(await sessions.list()).toHaveLength(live.length);
        expect(await sessions.count()).toBe(live.length);
        expect(await services[1]!.forPrincipal(`customer of ${name}`).count()).toBe(0);
      });
      // Or nothing was raced for.
      expect(seen.acted).toBeGreaterThan(TRIALS);
      expect(seen.refused).toBeGreaterThan(TRIALS);
      expect(seen.survived).toBeGreaterThan(0);
    },
    180_000,
  );

  itInRedis(
    'none of thousands escapes by getting a new id between two steps: 10 trials',
    async () => {
      const sessions = services[0]!;
      let renewed = 0;
      let refused = 0;
      for (let trial = 0; trial < 10; trial++) {
        const principal = `robot-${trial}`;
        const ids = await inParallel(
          2_000,
          200,
          async () => (await sessions.create({ principal })).id,
        );
        const renewing = await inParallel(400, 40, async (i) => {
          const session = (await services[1]!.get(ids[(i * 5) % ids.length]!))!;
          await session.regenerate();
          return session;
        });
        const successors = renewing.map(({ id }) => id);
        // The last are still alive when the first are ended already.
        const early = renewing.splice(0, 100).map((session) => session.save());
        if (trial % 2 === 0) await Promise.all(early);
        const ending = sessions.forPrincipal(principal).revokeAll();
        // In the middle: it takes some round trips.
        for (let i = 0; i < trial % 5; i++) await sessions.ping();
        const late = renewing.map((session) => session.save());
        expect(await ending).toBe(ids.length);
        const outcomes = await Promise.all([...early, ...late]);
        renewed += outcomes.filter(Boolean).length;
        refused += outcomes.filter((saved) => !saved).length;
        for (const id of [...ids, ...successors]) expect(await sessions.get(id)).toBeUndefined();
        expect(await sessions.forPrincipal(principal).count()).toBe(0);
      }
      expect(renewed).toBeGreaterThan(0);
      expect(refused).toBeGreaterThan(0);
    },
    120_000,
  );
});
