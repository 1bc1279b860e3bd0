import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import { Controller, Get, HttpCode, Post, UseGuards } from '@nestjs/common';
import {
  PassiveSession,
  Principal,
  Session,
  SessionGuard,
  SessionId,
  SessionService,
} from 'nestjs-distributed-session';
import { ADAPTERS, inParallel, SECRET, startApp, until, type TestApp } from '../support/app.js';
import { HttpClient, type Answer } from '../support/http-client.js';
import { RedisProbe, type SeenCommand } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

@Controller()
class Shop {
  constructor(private readonly sessions: SessionService) {}

  @Get('ping') ping() {
    return { ok: true };
  }

  @Get('cart') cart(@Session('teas') teas: unknown) {
    return { teas: teas ?? [] };
  }

  @Post('cart') add(@Session() session: Session) {
    session.update('teas', (teas) => [...((teas as string[] | undefined) ?? []), 'green']);
    session.increment('items');
    session.data.seen = true;
    return { items: session.get('items') };
  }

  @Get('everything') @UseGuards(SessionGuard) async everything(
    @Session() session: Session,
    @Session('teas') teas: unknown,
    @SessionId() id: string,
    @Principal() principal: string,
  ) {
    await Promise.all([session.load(), this.sessions.current()?.load(), session.touch()]);
    return { teas, principal, same: id === session.id };
  }

  @PassiveSession() @Get('poll') poll(@Session('items') items: unknown) {
    return { items: items ?? 0 };
  }

  @Post('saved') async saved(@Session() session: Session) {
    session.increment('items');
    await session.save();
    return { items: session.get('items') };
  }

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('alice', { roles: ['customer'] });
    session.set('greeted', true);
    return { principal: session.principal };
  }

  @Post('renew') async renew(@Session() session: Session) {
    await session.regenerate();
    return {};
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }
}

const RUNS = ADAPTERS.flatMap((adapter) => [
  { adapter, told: 'nothing told', events: undefined },
  // What happens to sessions is told in the same commands.
  { adapter, told: 'everything told', events: { modified: true, sweepEvery: '1h' } as const },
]);

/** What is done beside requests while something is told. */
const isBeside = ({ name, args }: SeenCommand): boolean =>
  name === 'ping' || args.some((one) => one.includes(':lease}'));

describe.each(RUNS)('commands of one request, on $adapter, $told', ({ adapter, events }) => {
  let server: RedisUnderTest;
  let probe: RedisProbe;
  let running: TestApp;
  let client: HttpClient;
  let now = Date.now();

  /** Names of the commands of one request, which must succeed. */
  const sentBy = async (send: () => Promise<{ status: number }>, status = 200) => {
    const commands = await probe.commandsDuring(async () => {
      expect((await send()).status).toBe(status);
    });
    return commands.filter((one) => !isBeside(one)).map(({ name }) => name);
  };

  beforeAll(async () => {
    server = await startRedis();
    probe = await RedisProbe.start(server);
    await probe.watch();
    running = await startApp({
      adapter,
      controllers: [Shop],
      session: {
        redis: server.connection(),
        secret: SECRET,
        // With copies there are fewer: test/near-cache/served.spec.ts counts them.
        nearCache: false,
        touchAfter: '10s',
        clock: { now: () => now },
        ...(events && { events }),
      },
    });
    client = new HttpClient(running.port);
    // Redis knows the scripts from here on.
    await client.post('/cart');
    await client.post('/cart');
    await client.get('/poll');
    await client.post('/logout');
    if (events) {
      await until('the first sweep is over', async () => {
        const seen = await probe.commandsDuring(() => delay(200));
        return seen.every(isBeside);
      });
    }
  });

  beforeEach(() => client.jar.clear());

  afterAll(async () => {
    client.close();
    await running.close();
    await probe.stop();
    await server.stop();
  });

  it('is none where the session is not used', async () => {
    await client.post('/cart');
    expect(await sentBy(() => client.get('/ping'))).toEqual([]);
  });

  it('is none for a session that is read and is not there', async () => {
    expect(await sentBy(() => client.get('/cart'))).toEqual([]);
    expect(await sentBy(() => client.get('/poll'))).toEqual([]);
    expect(await sentBy(() => client.get('/everything'), 401)).toEqual([]);
  });

  it('is one for a read, and the same one extends the session when that is due', async () => {
    await client.post('/cart');
    expect(await sentBy(() => client.get('/cart'))).toEqual(['get']);
    now += 11_000;
    expect(await sentBy(() => client.get('/cart'))).toEqual(['getex']);
    expect(await sentBy(() => client.get('/cart'))).toEqual(['get']);
    now += 11_000;
    expect(await sentBy(() => client.get('/poll'))).toEqual(['evalsha']);
  });

  it('is one however many guards, decorators and services ask for the session', async () => {
    await client.post('/cart');
    await client.post('/login');
    expect(await sentBy(() => client.get('/everything'))).toEqual(['get']);
    now += 11_000;
    expect(await sentBy(() => client.get('/everything'))).toEqual(['getex']);
  });

  it('is one for a first write, two for a read and any number of writes', async () => {
    expect(await sentBy(() => client.post('/cart'), 201)).toEqual(['evalsha']);
    expect(await sentBy(() => client.post('/cart'), 201)).toEqual(['get', 'evalsha']);
    now += 11_000;
    expect(await sentBy(() => client.post('/cart'), 201)).toEqual(['getex', 'evalsha']);
    expect(await sentBy(() => client.post('/saved'), 201)).toEqual(['get', 'evalsha']);
  });

  it('is one for a login, three if there was an anonymous session before', async () => {
    expect(await sentBy(() => client.post('/login'))).toEqual(['evalsha']);
    const other = client.another();
    await other.post('/cart');
    const commands = await sentBy(() => other.post('/login'));
    expect(commands.length).toBeLessThanOrEqual(3);
    expect((await other.get('/cart')).json).toEqual({ teas: ['green'] });
  });

  it('is three for a new id, two for a logout, none for a second logout', async () => {
    await client.post('/cart');
    expect((await sentBy(() => client.post('/renew'), 201)).length).toBeLessThanOrEqual(3);
    const jar = new Map(client.jar);
    expect((await sentBy(() => client.post('/logout'), 204)).length).toBeLessThanOrEqual(2);
    expect(await sentBy(() => client.post('/logout'), 204)).toEqual([]);
    const late = client.another(jar);
    expect((await sentBy(() => late.post('/logout'), 204)).length).toBeLessThanOrEqual(2);
  });

  it('is none for a token that is malformed or forged', async () => {
    await client.post('/cart');
    const [name, token] = [...client.jar][0] as [string, string];
    const id = token.slice(0, 44);
    const mac = token.slice(45);
    const flipped = (text: string, at: number) =>
      text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1);
    const wrong = [
      id,
      `${id}.`,
      `${id}.${flipped(mac, 5)}`,
      `${id}.${flipped(mac, 42)}`,
      `${flipped(id, 20)}.${mac}`,
      `${token}x`,
      ` ${token.slice(1)}`,
      'A'.repeat(88),
      '',
    ];
    for (const bad of wrong) {
      const forged = client.another([[name, bad]]);
      expect(await sentBy(() => forged.get('/cart'))).toEqual([]);
      expect(await sentBy(() => forged.get('/everything'), 401)).toEqual([]);
    }
    expect((await client.get('/cart')).json).toEqual({ teas: ['green'] });
  });

  it('is none for 10,000 anonymous reads, which store nothing and set no cookie', async () => {
    const before = await probe.size();
    let answers: Answer[] = [];
    const commands = await probe.commandsDuring(async () => {
      answers = await inParallel(10_000, 50, () => client.get('/cart'));
    });
    expect(answers).toHaveLength(10_000);
    expect(answers.filter(({ status }) => status !== 200)).toEqual([]);
    expect(answers.filter(({ setCookie }) => setCookie.length > 0)).toEqual([]);
    expect(commands.filter((one) => !isBeside(one))).toEqual([]);
    expect(await probe.size()).toBe(before);
  });
});
