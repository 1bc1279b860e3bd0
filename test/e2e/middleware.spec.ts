import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import {
  Controller,
  Get,
  HttpCode,
  Next,
  Post,
  Req,
  Res,
  type INestApplication,
  type MiddlewareConsumer,
} from '@nestjs/common';
import flash from 'connect-flash';
import cookieParser from 'cookie-parser';
import { doubleCsrf } from 'csrf-csrf';
import type { NextFunction, Request, RequestHandler, Response } from 'express';
import passport from 'passport';
import { Strategy } from 'passport-local';
import { SECRET, startApp, until, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { RedisGates } from '../support/redis-gates.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

type Callback = (error?: unknown) => void;

/** What middleware for express-session relies on. */
interface ExpressSession {
  readonly id: string;
  readonly cookie: Record<string, unknown>;
  save(callback: Callback): this;
  save(): Promise<void>;
  regenerate(callback: Callback): this;
  destroy(callback: Callback): this;
  reload(callback: Callback): this;
  touch(): this;
  [attribute: string]: unknown;
}

type ShopRequest = Request & { session: ExpressSession };

const people = new passport.Passport();
people.use(
  new Strategy((username, password, done) =>
    done(null, password === 'wonderland' && { name: username }),
  ),
);
people.serializeUser((user, done) => done(null, (user as { name: string }).name));
people.deserializeUser((name, done) => done(null, { name }));

const csrf = doubleCsrf({
  getSecret: () => SECRET,
  getSessionIdentifier: (request) => (request as ShopRequest).session.id,
  cookieName: 'csrf',
  cookieOptions: { secure: false },
});

/** All of them, as their own documentation mounts them behind express-session. */
const MIDDLEWARE: readonly RequestHandler[] = [
  cookieParser(),
  people.initialize(),
  people.session(),
  flash() as RequestHandler,
];

@Controller()
class Shop {
  @Get('visit') visit(@Req() { session }: ShopRequest) {
    session.visits = ((session.visits as number | undefined) ?? 0) + 1;
    return { visits: session.visits, keys: Object.keys(session) };
  }

  @Post('login') @HttpCode(200) login(
    @Req() request: Request,
    @Res() response: Response,
    @Next() next: NextFunction,
  ) {
    const options = { keepSessionInfo: request.query.keep === 'yes', session: true };
    const answer = (error: unknown, user: Express.User | false | null | undefined) => {
      if (error || !user) return error ? next(error) : response.status(401).json({});
      return request.login(user, options, (problem: unknown) =>
        problem ? next(problem) : response.json({ user }),
      );
    };
    (people.authenticate('local', answer) as RequestHandler)(request, response, next);
  }

  @Post('logout') logout(
    @Req() request: Request,
    @Res() response: Response,
    @Next() next: NextFunction,
  ) {
    const keepSessionInfo = request.query.keep === 'yes';
    request.logout({ keepSessionInfo }, (error: unknown) =>
      error ? next(error) : response.redirect('/me'),
    );
  }

  @Get('me') me(@Req() request: ShopRequest) {
    const { user, session } = request;
    return {
      user: user ?? null,
      authenticated: request.isAuthenticated(),
      data: { ...(session as object) },
    };
  }

  @Post('flash') leave(@Req() request: Request, @Res() response: Response) {
    request.flash('info', 'saved');
    request.flash('info', 'twice');
    response.redirect('/flash');
  }

  @Get('flash') take(@Req() request: Request) {
    return { info: request.flash('info') };
  }

  @Get('csrf') token(@Req() request: ShopRequest, @Res({ passthrough: true }) response: Response) {
    request.session.form = true;
    return { token: csrf.generateCsrfToken(request, response, { overwrite: true }) };
  }

  @Post('transfer') transfer() {
    return { done: true };
  }

  @Get('face') face(@Req() { session }: ShopRequest) {
    session.basket = { items: [1] };
    (session.basket as { items: number[] }).items.push(2);
    session.gone = true;
    delete session.gone;
    const listed: string[] = [];
    for (const key in session) listed.push(key);
    return {
      listed,
      keys: Object.keys(session),
      spread: { ...(session as object) },
      json: JSON.parse(JSON.stringify(session)) as unknown,
      has: ['id', 'cookie', 'save', 'basket', 'gone'].map((key) => key in session),
      cookie: session.cookie,
      methods: (['save', 'regenerate', 'destroy', 'reload', 'touch'] as const).map(
        (name) => typeof session[name],
      ),
    };
  }

  @Post('save-and-redirect') save(@Req() { session }: ShopRequest, @Res() response: Response) {
    session.saved = 'yes';
    const same = session.save((error) =>
      response.status(error ? 500 : 200).json({ error, same: same === session }),
    );
  }

  @Post('regenerate') regenerate(@Req() request: ShopRequest, @Res() response: Response) {
    const before = request.session;
    const { id } = before;
    before.regenerate((error) => {
      request.session.fresh = true;
      response.json({
        error: error ?? null,
        otherId: request.session.id !== id,
        otherObject: request.session !== before,
        before: { ...(before as object) },
        after: { ...(request.session as object) },
      });
    });
  }

  @Post('destroy') destroy(@Req() request: ShopRequest, @Res() response: Response) {
    request.session.destroy((error) =>
      response.json({ error: error ?? null, session: typeof request.session }),
    );
  }

  @Post('reload') async reload(@Req() request: ShopRequest, @Res() response: Response) {
    request.session.unsaved = true;
    await new Promise<void>((resolve) => {
      changedMeanwhile().then(resolve, resolve);
    });
    request.session.reload((error) =>
      response.json({ error: error ?? null, data: { ...(request.session as object) } }),
    );
  }

  /** Many do not wait for it. */
  @Post('save-and-go') saveAndGo(@Req() { session }: ShopRequest) {
    session.saved = 'and gone';
    session.times = ((session.times as number | undefined) ?? 0) + 1;
    void session.save();
    session.touch();
    return {};
  }

  @Post('touch') touch(@Req() { session }: ShopRequest) {
    return { same: session.touch() === session };
  }
}

/** Set by a test: what happens to the session while a request works on it. */
let changedMeanwhile = async (): Promise<void> => undefined;

const MOUNTINGS: readonly [string, object][] = [
  [
    'app.use() in main.ts',
    {
      setup: (app: INestApplication) => {
        for (const middleware of MIDDLEWARE) app.use(middleware);
        app.use('/transfer', csrf.doubleCsrfProtection);
      },
    },
  ],
  [
    'consumer.apply() in a module',
    {
      configure: (consumer: MiddlewareConsumer) => {
        consumer.apply(...MIDDLEWARE).forRoutes('{*path}');
        consumer.apply(csrf.doubleCsrfProtection).forRoutes('transfer');
      },
    },
  ],
];

describe.each(MOUNTINGS)('middleware for express-session, mounted by %s', (_, mounting) => {
  let server: RedisUnderTest;
  let gate: RedisGates;
  let probe: RedisProbe;
  let running: TestApp;
  let client: HttpClient;

  const alice = { json: { username: 'alice', password: 'wonderland' } };

  beforeAll(async () => {
    server = await startRedis();
    gate = await RedisGates.start(server);
    probe = await RedisProbe.start(server);
    running = await startApp({
      adapter: 'express',
      controllers: [Shop],
      session: { redis: gate.connection, secret: SECRET, loading: 'eager' },
      ...mounting,
    });
    client = new HttpClient(running.port);
  });

  beforeEach(async () => {
    client.jar.clear();
    await probe.flush();
  });

  afterAll(async () => {
    client.close();
    await running.close();
    await probe.stop();
    await gate.stop();
    await server.stop();
  });

  describe('passport', () => {
    it('asks nothing of Redis and sets no cookie for a stranger', async () => {
      const commands = await probe.commandsDuring(async () => {
        const answer = await client.get('/me');
        expect(answer.json).toEqual({ user: null, authenticated: false, data: {} });
        expect(answer.setCookie).toEqual([]);
      });
      expect(commands).toEqual([]);
    });

    it('refuses a wrong password and stores nothing', async () => {
      const json = { username: 'alice', password: 'wrong' };
      expect((await client.post('/login', { json })).status).toBe(401);
      expect(client.jar.size).toBe(0);
      expect((await probe.dump()).size).toBe(0);
    });

    it.each([
      ['leaves the data of the stranger behind', '', {}],
      ['keeps the data with keepSessionInfo', '?keep=yes', { visits: 2 }],
    ])('logs in under a new id and %s', async (__, query, kept) => {
      await client.get('/visit');
      await client.get('/visit');
      const stranger = new Map(client.jar);

      const login = await client.post(`/login${query}`, alice);
      expect(login.json).toEqual({ user: { name: 'alice' } });
      expect(login.setCookie).toHaveLength(1);
      expect(client.jar).not.toEqual(stranger);
      expect((await client.get('/me')).json).toEqual({
        user: { name: 'alice' },
        authenticated: true,
        data: { ...kept, passport: { user: 'alice' } },
      });
      // Who knows the id from before the login is nobody.
      expect((await client.another(stranger).get('/me')).json).toMatchObject({
        user: null,
        data: {},
      });
      expect((await probe.liveRecords()).size).toBe(1);
    });

    it.each([
      ['leaves the data behind', '', {}],
      ['keeps the data with keepSessionInfo', '?keep=yes', { visits: 1, passport: {} }],
    ])('logs out for good and %s', async (__, query, kept) => {
      await client.post('/login', alice);
      await client.get('/visit');
      const loggedIn = new Map(client.jar);

      const logout = await client.post(`/logout${query}`);
      expect(logout.status).toBe(302);
      expect((await client.get('/me')).json).toEqual({
        user: null,
        authenticated: false,
        data: kept,
      });
      expect((await client.another(loggedIn).get('/me')).json).toMatchObject({
        user: null,
        authenticated: false,
      });
    });

    it('restores the user by one command for each request', async () => {
      await client.post('/login', alice);
      const commands = await probe.commandsDuring(() => client.get('/me'));
      expect(commands).toHaveLength(1);
    });
  });

  it('connect-flash keeps messages over a redirect, for one reader', async () => {
    expect((await client.post('/flash')).status).toBe(302);
    expect((await client.get('/flash')).json).toEqual({ info: ['saved', 'twice'] });
    expect((await client.get('/flash')).json).toEqual({ info: [] });
  });

  describe('csrf-csrf', () => {
    const tokenOf = async (user: HttpClient) => String((await user.get('/csrf')).json.token);
    const transfer = (user: HttpClient, token?: string) =>
      user.post('/transfer', token === undefined ? {} : { headers: { 'x-csrf-token': token } });

    it('takes the token of the session, and no other', async () => {
      const token = await tokenOf(client);
      expect((await transfer(client, token)).status).toBe(201);
      expect((await transfer(client)).status).toBe(403);
      expect((await transfer(client, `${token}x`)).status).toBe(403);

      const mallory = client.another();
      const hers = await tokenOf(mallory);
      expect((await transfer(client, hers)).status).toBe(403);
      const planted = client.another([...client.jar, ['csrf', mallory.jar.get('csrf') as string]]);
      expect((await transfer(planted, hers)).status).toBe(403);
    });

    it('takes no token from before the login', async () => {
      const token = await tokenOf(client);
      await client.post('/login?keep=yes', alice);
      expect((await transfer(client, token)).status).toBe(403);
      expect((await transfer(client, await tokenOf(client))).status).toBe(201);
    });
  });

  describe('the callback API of express-session', () => {
    it('lists the data as own enumerable properties, and nothing else', async () => {
      await client.get('/visit');
      const data = { visits: 1, basket: { items: [1, 2] } };
      expect((await client.get('/face')).json).toMatchObject({
        listed: ['visits', 'basket'],
        keys: ['visits', 'basket'],
        spread: data,
        json: data,
        has: [true, true, true, true, false],
        cookie: { path: '/', httpOnly: true, secure: true, sameSite: 'lax', originalMaxAge: null },
        methods: Array(5).fill('function'),
      });
      expect((await client.get('/me')).json).toMatchObject({ data });
    });

    it('save stores before it calls back, and answers the session itself', async () => {
      const answer = await client.post('/save-and-redirect');
      expect(answer.json).toEqual({ same: true });
      expect((await client.get('/me')).json).toMatchObject({ data: { saved: 'yes' } });
    });

    it('save tells at the end of the request if nobody waited for it', async () => {
      await client.get('/visit');
      expect((await client.post('/save-and-go')).status).toBe(201);
      expect((await client.get('/me')).json).toMatchObject({ data: { saved: 'and gone' } });

      gate.cut(/evalsha/i);
      const lost = await client.another(client.jar).post('/save-and-go');
      gate.release();
      expect(lost.status).toBe(503);
      await until('it works again', async () => (await client.get('/me')).status === 200);
    });

    it('regenerate starts over in another session with another id', async () => {
      await client.get('/visit');
      const before = new Map(client.jar);
      expect((await client.post('/regenerate')).json).toEqual({
        error: null,
        otherId: true,
        otherObject: true,
        before: { visits: 1 },
        after: { fresh: true },
      });
      expect((await client.get('/me')).json).toMatchObject({ data: { fresh: true } });
      expect((await client.another(before).get('/me')).json).toMatchObject({ data: {} });
    });

    it('destroy ends it: req.session is undefined, the cookie is cleared, Redis is empty', async () => {
      await client.get('/visit');
      const before = new Map(client.jar);
      const answer = await client.post('/destroy');
      expect(answer.json).toEqual({ error: null, session: 'undefined' });
      expect(client.jar.size).toBe(0);
      expect((await probe.liveRecords()).size).toBe(0);
      expect((await client.another(before).get('/me')).json).toMatchObject({ data: {} });
    });

    it('reload takes what another request has stored, and drops what was not saved', async () => {
      await client.get('/visit');
      const other = client.another(client.jar);
      changedMeanwhile = async () => void (await other.get('/visit'));
      const answer = await client.post('/reload');
      expect(answer.json).toEqual({ error: null, data: { visits: 2 } });
      expect((await client.get('/me')).json).toMatchObject({ data: { visits: 2 } });
    });

    it('reload reports a session that has ended', async () => {
      await client.get('/visit');
      const other = client.another(client.jar);
      changedMeanwhile = async () => void (await other.post('/destroy'));
      const answer = await client.post('/reload');
      expect(answer.json.error).not.toBeNull();
      expect((await probe.liveRecords()).size).toBe(0);
    });

    it('touch answers the session itself', async () => {
      await client.get('/visit');
      expect((await client.post('/touch')).json).toEqual({ same: true });
    });
  });

  it('an outage reaches the error handler instead of logging anybody out', async () => {
    await client.post('/login', alice);
    await server.kill();
    const answer = await client.get('/me');
    expect(answer.status).toBe(503);
    expect(answer.json).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    expect(answer.setCookie).toEqual([]);
    expect(client.jar.size).toBe(1);
    await server.run();
    await until('it works again', async () => (await client.get('/me')).status === 200);
  });
});

describe('middleware that reads req.session without loading: "eager"', () => {
  it('is told what to do', async () => {
    const running = await startApp({
      adapter: 'express',
      session: { store: 'memory' },
      controllers: [Shop],
      setup: (app) => void app.use(people.session()),
    });
    const client = new HttpClient(running.port, [['__Host-session', 'A'.repeat(44)]]);
    const answer = await client.get('/me');
    expect(answer.status).toBe(500);
    expect(answer.json).toMatchObject({ code: 'SESSION_NOT_LOADED' });
    expect(running.logger.texts('error').join('\n')).toContain("loading: 'eager'");
    client.close();
    await running.close();
  });
});
