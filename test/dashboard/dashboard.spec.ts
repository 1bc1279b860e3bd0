import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Injectable, Module, type CanActivate } from '@nestjs/common';
import { EventSource } from 'eventsource';
import { Script } from 'node:vm';
import {
  MemorySessionStore,
  SessionGuard,
  SessionModule,
  SessionOptionsError,
  SessionService,
  type IndexedSessionStore,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { SessionDashboardModule } from 'nestjs-distributed-session/dashboard';
import { ADAPTERS, SECRET, startApp, TestLogger, until, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';
import { expectNoIds } from '../support/secrets.js';
import {
  follow,
  formsIn,
  isAdmin,
  LocalGuard,
  login,
  OWN,
  PAGE,
  search,
  startDashboardApp,
  submit,
  type DashboardAppOptions,
} from './dashboard-app.js';

/** What somebody may have typed as a name. */
const HOSTILE = `"><img src=x onerror=alert(1)>'&</script>`;

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
}, 60_000);
afterAll(() => redis?.stop());

const opened = new Opened();
afterEach(() => opened.close());
afterEach(async () => {
  if (!redis.isRunning) await redis.run();
  const client = redis.connect();
  await client.flushall();
  client.disconnect();
});

const inRedis = (more = {}) => ({ redis: redis.url, secret: SECRET, ...more });

describe.each(ADAPTERS)('the dashboard on %s', (adapter) => {
  const start = async (options: Omit<DashboardAppOptions, 'adapter'> = {}): Promise<TestApp> =>
    opened.add(await startDashboardApp({ adapter, session: inRedis(), ...options }));
  const visit = (app: TestApp) => opened.browser(app);
  const admin = async (app: TestApp, more = {}): Promise<HttpClient> => {
    const client = visit(app);
    await login(client, 'root', { roles: ['admin'], ...more });
    return client;
  };
  const show = async (client: HttpClient, principal: string) =>
    (await search(client, principal)).text;
  /** What an address of the page says. */
  const wordsOf = (address: string) => address.slice(address.indexOf('?'));

  describe('is for administrators', () => {
    const routes = ['', '/figures', '/people?of=x', '/events', '/page.js', '/page.css'];

    it('others get 401 and 403 on each route, and end nothing', async () => {
      const app = await start();
      const [nobody, alice] = [visit(app), visit(app)];
      const handle = await login(alice, 'alice');
      for (const route of routes) {
        expect((await nobody.get(PAGE + route)).status).toBe(401);
        expect((await alice.get(PAGE + route)).status).toBe(403);
      }
      const fields = { principal: '"alice"', handle };
      expect((await submit(nobody, `${PAGE}/end`, fields)).status).toBe(401);
      expect((await submit(alice, `${PAGE}/end`, fields)).status).toBe(403);
      expect((await submit(alice, `${PAGE}/end-all`, fields)).status).toBe(403);
      const sought = { principal: 'alice' };
      expect((await submit(nobody, `${PAGE}/search`, sought)).status).toBe(401);
      expect((await submit(alice, `${PAGE}/search`, sought)).status).toBe(403);
      expect((await alice.get('/me')).status).toBe(200);
    });

    it('guards of the application decide, with what they need', async () => {
      @Injectable()
      class Rota {
        readonly duty = 'carol';
      }
      @Module({ providers: [Rota], exports: [Rota] })
      class RotaModule {}
      @Injectable()
      class DutyGuard implements CanActivate {
        constructor(
          private readonly rota: Rota,
          private readonly sessions: SessionService,
        ) {}
        canActivate(): boolean {
          return this.sessions.current()?.principal === this.rota.duty;
        }
      }
      const app = await start({
        dashboard: { guards: [SessionGuard, DutyGuard], imports: [RotaModule], path: '/ops/' },
      });
      const [carol, dave] = [visit(app), visit(app)];
      await login(carol, 'carol');
      await login(dave, 'dave');
      expect((await carol.get('/ops')).status).toBe(200);
      expect((await dave.get('/ops')).status).toBe(403);
      expect((await visit(app).get('/ops')).status).toBe(401);
    });

    it('sessions of another name may be those of administrators', async () => {
      const app = await start({
        imports: [SessionModule.forFeature('staff', { cookie: { name: 'staff' } })],
        dashboard: { allow: isAdmin, session: 'staff' },
      });
      // An administrator of the shop is none of the staff.
      expect((await (await admin(app)).get(PAGE)).status).toBe(401);
    });
  });

  describe('has answers', () => {
    it('that browsers keep to themselves, and that nothing else may be loaded by', async () => {
      const client = await admin(await start());
      const { address } = await search(client, 'root');
      const policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
      for (const [route, type] of [
        ['', 'text/html; charset=utf-8'],
        [`/people${wordsOf(address)}`, 'text/html; charset=utf-8'],
        ['/figures', 'application/json; charset=utf-8'],
        ['/page.css', 'text/css; charset=utf-8'],
        ['/page.js', 'text/javascript; charset=utf-8'],
      ]) {
        const { status, headers } = await client.get(PAGE + route);
        expect({ route, status, headers }).toMatchObject({
          status: 200,
          headers: {
            'content-type': type,
            'content-security-policy': policy,
            'cache-control': 'no-store',
            'referrer-policy': 'no-referrer',
            'x-content-type-options': 'nosniff',
          },
        });
      }
    });

    it('without anything inline, and with a script that is one', async () => {
      const client = await admin(await start({ session: inRedis({ events: true }) }));
      const { text } = await client.get(`${PAGE}?browse=1`);
      expect(text).not.toMatch(/<style|style=|\son\w+=|javascript:/i);
      expect([...text.matchAll(/<script[^>]*>/g)].map(String)).toEqual([
        '<script src="sessions/page.js" defer>',
      ]);
      expect(text).not.toMatch(/https?:\/\//);
      const script = (await client.get(`${PAGE}/page.js`)).text;
      expect(() => new Script(script)).not.toThrow();
      expect(script).not.toMatch(/innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(/);
    });

    it('without ids, tokens and data', async () => {
      const app = await start({ session: inRedis({ events: true }) });
      const client = await admin(app);
      await login(visit(app), 'alice', { label: 'Till' });
      const texts: string[] = [];
      const [alice, root] = [await search(client, 'alice'), await search(client, 'root')];
      const people = `/people${wordsOf(root.address)}`;
      for (const query of ['?browse=1', wordsOf(alice.address), people, '/figures']) {
        texts.push((await client.get(PAGE + query)).text);
      }
      expectNoIds('the page', texts);
      expect(texts.join()).not.toContain('a-secret-tea');
      expect(texts[1]).toContain('Till');
    });

    it.each<[string, () => Omit<DashboardAppOptions, 'adapter'>, string]>([
      ['prefixed', () => ({ setup: (app) => void app.setGlobalPrefix('api') }), '/api'],
      ['versioned', () => ({ setup: (app) => void app.enableVersioning() }), ''],
      [
        'by forRoutes',
        () => ({ session: inRedis({ forRoutes: ['login', 'me', 'admin/*path'] }) }),
        '',
      ],
      ['beside what is excluded', () => ({ session: inRedis({ exclude: ['page'] }) }), ''],
    ])('where it is %s', async (_, options, prefix) => {
      const app = await start(options());
      const client = visit(app);
      const { json } = await client.post(`${prefix}/login`, {
        json: { name: 'root', roles: ['admin'] },
      });
      const page = await search(client, 'root', { page: prefix + PAGE });
      expect(page.status).toBe(200);
      expect((await client.get(`${prefix}${PAGE}/page.css`)).status).toBe(200);
      expect(formsIn(page.text, 'sessions/end')).toEqual([
        { principal: '"root"', handle: json.handle },
      ]);
      const slash = await client.get(`${prefix}${PAGE}/?browse=1&principal=root`);
      // Fastify takes the two for two.
      if (slash.status !== 404) {
        expect(slash.headers.location).toBe('../sessions?browse=1');
      }
    });
  });

  describe('without a script', () => {
    it('a session is searched for, shown and ended', async () => {
      const app = await start();
      const client = await admin(app);
      const [here, there] = [visit(app), visit(app)];
      await login(here, 'alice', { label: 'Till' });
      const handle = await login(there, 'alice', {
        label: 'Phone',
        client: { browser: 'Firefox 145', os: 'Android', address: '192.0.2.7' },
      });
      const page = await show(client, 'alice');
      for (const text of ['Till', 'Phone', 'Firefox 145 on Android', '192.0.2.7', '2 sessions']) {
        expect(page).toContain(text);
      }
      const forms = formsIn(page, 'sessions/end');
      expect(forms).toHaveLength(2);
      const answer = await submit(
        client,
        `${PAGE}/end`,
        forms.find((one) => one.handle === handle)!,
      );
      expect(answer.status).toBe(303);
      expect(answer.headers.location).toMatch(/^\.\.\/sessions\?of=[\w-]+&done=ended$/);
      expect((await there.get('/me')).status).toBe(401);
      expect((await here.get('/me')).status).toBe(200);
      const after = (await follow(client, `${PAGE}/end`, answer)).text;
      expect(after).toContain('The session is ended.');
      expect(after).not.toContain('Phone');
      const again = await submit(client, `${PAGE}/end`, { principal: '"alice"', handle });
      expect(again.headers.location).toMatch(/&done=none$/);
      const orders = app.logger.texts('log').filter((text) => text.includes(' ended '));
      expect(orders).toEqual([
        `"root" ended the session with handle "${handle}" of "alice" SessionDashboard`,
        `"root" ended the session with handle "${handle}" of "alice": there was none SessionDashboard`,
      ]);
    });

    it('all sessions of somebody are ended, and nobody else’s', async () => {
      const app = await start();
      const client = await admin(app);
      const [one, two, bob] = [visit(app), visit(app), visit(app)];
      await login(one, 'alice');
      await login(two, 'alice');
      await login(bob, 'bob');
      const [form] = formsIn(await show(client, 'alice'), 'sessions/end-all');
      const answer = await submit(client, `${PAGE}/end-all`, form!);
      expect(answer.headers.location).toMatch(/^\.\.\/sessions\?of=[\w-]+&done=all-2$/);
      for (const gone of [one, two]) expect((await gone.get('/me')).status).toBe(401);
      expect((await bob.get('/me')).status).toBe(200);
      expect(app.logger.texts('log').join('\n')).toContain(
        '"root" ended all sessions of "alice" (2)',
      );
      const told = (await follow(client, `${PAGE}/end-all`, answer)).text;
      expect(told).toContain('2 sessions are ended.');
    });

    it('principals are found without a name, and counted', async () => {
      const app = await start();
      const client = await admin(app);
      for (const name of ['alice', 'bob', 'carol']) await login(visit(app), name);
      await visit(app).post('/login', { json: { name: 'carol' } });
      const page = (await client.get(`${PAGE}?browse=1`)).text;
      const names = [...page.matchAll(/<h3[^>]*>\s*<bdi>(\w+)/g)].map(([, name]) => name);
      expect(new Set(names)).toEqual(new Set(['alice', 'bob', 'carol', 'root']));
      expect(page).toContain('not counted');
      expect(page).toContain('your own');
      expect((await client.get(`${PAGE}?count=1`)).text).toContain('5 sessions');
    });

    it('of very many the first fifty are shown', async () => {
      const app = await start();
      const sessions = app.app.get(SessionService);
      for (let i = 0; i < 60; i++) await sessions.create({ principal: `user-${i}` });
      const page = (await (await admin(app)).get(`${PAGE}?browse=1`)).text;
      expect([...page.matchAll(/<h3/g)]).toHaveLength(50);
      expect(page).toContain('These were found first');
    });

    it('somebody unknown has no sessions; nonsense finds nobody', async () => {
      const client = await admin(await start());
      expect(await show(client, 'nobody-of-that-name')).toContain('0 sessions');
      for (const query of ['?of=', '?of=a&of=b', '?of[x]=a', '?principal=root', '?done=1']) {
        const { status, text } = await client.get(PAGE + query);
        expect({ query, status, shown: text.includes('<h3') }).toEqual({
          query,
          status: 200,
          shown: false,
        });
      }
      expect((await client.get(`${PAGE}/people`)).status).toBe(400);
      const fields = [{}, { principal: 'alice' }, { principal: '{}', handle: 'x' }];
      for (const one of fields) {
        expect((await submit(client, `${PAGE}/end`, one as Record<string, string>)).status).toBe(
          400,
        );
      }
      const none = await submit(client, `${PAGE}/end`, { principal: '"a"', handle: '../x' });
      expect(none.headers.location).toMatch(/&done=none$/);
      expect((await submit(client, `${PAGE}/search`, {})).status).toBe(400);
      const bodies = ['principal=', 'principal=a&principal=b', `principal=${'a'.repeat(1_025)}`];
      for (const body of bodies) {
        const headers = { ...OWN, 'content-type': 'application/x-www-form-urlencoded' };
        const answer = await client.post(`${PAGE}/search`, { headers, body });
        expect(answer.headers.location).toBe('../sessions');
      }
    });
  });

  it('takes orders from its own page only', async () => {
    const app = await start();
    const client = await admin(app);
    const alice = visit(app);
    const handle = await login(alice, 'alice');
    const body = new URLSearchParams({ principal: '"alice"', handle }).toString();
    const form = { 'content-type': 'application/x-www-form-urlencoded' };
    const elsewhere: Record<string, string>[] = [
      { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example' },
      { 'sec-fetch-site': 'same-site' },
      { origin: 'https://evil.example' },
      { origin: 'null' },
      {},
    ];
    for (const from of elsewhere) {
      for (const path of ['/end', '/end-all', '/search']) {
        const answer = await client.post(PAGE + path, { headers: { ...form, ...from }, body });
        expect(answer.status).toBe(403);
        expect(answer.json.code).toBe('SESSION_CSRF_REFUSED');
      }
    }
    expect((await client.get(`${PAGE}/end-all`)).status).toBe(404);
    expect((await alice.get('/me')).status).toBe(200);
  });

  it('has a token in its forms where one is always needed', async () => {
    const app = await start({ session: inRedis({ csrf: { token: 'always' } }) });
    const client = await admin(app);
    const alice = visit(app);
    await login(alice, 'alice');
    const [form] = formsIn(await show(client, 'alice'), 'sessions/end');
    const { _csrf: token, ...without } = form!;
    expect(token).toMatch(/^[\w-]{43}$/);
    expect((await submit(client, `${PAGE}/end`, without)).status).toBe(403);
    expect((await submit(client, `${PAGE}/search`, { principal: 'alice' })).status).toBe(403);
    expect((await submit(client, `${PAGE}/end`, form!)).status).toBe(303);
    expect((await alice.get('/me')).status).toBe(401);
  });

  it('is guarded against other sites also where its visitors have no sessions', async () => {
    const app = await start({
      session: inRedis({ exclude: ['admin/*path'] }),
      dashboard: { guards: [LocalGuard] },
    });
    const client = visit(app);
    const operator = { 'x-operator': 'yes' };
    const alice = visit(app);
    const handle = await login(alice, 'alice');
    expect((await client.get(PAGE)).status).toBe(403);
    expect((await client.get(PAGE, { headers: operator })).status).toBe(200);
    const json = { principal: '"alice"', handle };
    for (const from of [undefined, 'cross-site']) {
      const headers = { ...operator, ...(from !== undefined && { 'sec-fetch-site': from }) };
      expect((await client.post(`${PAGE}/end`, { json, headers })).status).toBe(403);
    }
    const headers = { ...operator, ...OWN, accept: 'application/json' };
    const answer = await client.post(`${PAGE}/end`, { json, headers });
    expect(answer.json).toEqual({ done: 'ended', said: 'The session is ended.' });
    expect((await alice.get('/me')).status).toBe(401);
    expect(app.logger.texts('log').join('\n')).toContain(
      `Somebody whom the guards let in without a session ended the session with handle "${handle}"`,
    );
  });

  it('takes names for names: in the page, in fields, in events, in the log', async () => {
    const app = await start({ session: inRedis({ events: true }) });
    const client = await admin(app);
    const victim = visit(app);
    const name = `${HOSTILE}\n"root" ended everything`;
    const label = HOSTILE;
    const agent = { browser: HOSTILE, os: HOSTILE, address: HOSTILE };
    await login(victim, name, { label, clientKind: HOSTILE, client: agent });
    const feed = () => client.get(PAGE).then(({ text }) => text.includes('&#60;img') && text);
    const pages = [
      await show(client, name),
      (await client.get(`${PAGE}?browse=1`)).text,
      await until('the event is shown', feed),
      (await client.get(`${PAGE}/people${wordsOf((await search(client, name)).address)}`)).text,
    ];
    for (const page of pages) {
      expect(page).not.toMatch(/<img/i);
      expect(page).toContain('&#60;img src=x onerror=alert(1)&#62;&#39;&#38;&#60;/script&#62;');
    }
    const [form] = formsIn(pages[0]!, 'sessions/end');
    expect(JSON.parse(form!.principal!)).toBe(name);
    expect((await submit(client, `${PAGE}/end`, form!)).status).toBe(303);
    expect((await victim.get('/me')).status).toBe(401);
    const lines = app.logger.texts().filter((text) => text.includes(' ended the session'));
    expect(lines).toHaveLength(1);
    expect(lines[0]).not.toContain('\n');
  });

  describe('tells events', () => {
    const listen = (port: number, client: HttpClient, after?: string) => {
      const query = after === undefined ? '' : `?after=${after}`;
      const source = new EventSource(`http://127.0.0.1:${port}${PAGE}/events${query}`, {
        fetch: (url, init) =>
          fetch(url, { ...init, headers: { ...init.headers, cookie: client.cookieHeader } }),
      });
      opened.add(source);
      const seen: { type: string; principal?: string; id: string }[] = [];
      let gaps = 0;
      let isOpen = false;
      source.addEventListener('session', ({ data }) => seen.push(JSON.parse(data as string)));
      source.addEventListener('gap', () => gaps++);
      source.addEventListener('heartbeat', () => (isOpen = true));
      return { source, seen, gaps: () => gaps, isOpen: () => isOpen };
    };

    it('as they happen, and those that a page does not have yet; never what is in a session', async () => {
      const projection = ({ data }: { data: object }) => ({ ...data });
      const app = await start({ session: inRedis({ events: { projection } }) });
      const client = await admin(app);
      const first = listen(app.port, client, '');
      await until('it is open', first.isOpen);
      await login(visit(app), 'alice', { label: 'Till' });
      await until('a login is told', () =>
        first.seen.some(({ principal }) => principal === 'alice'),
      );
      const known = first.seen.at(-1)!.id;
      await login(visit(app), 'bob');
      const later = listen(app.port, client, known);
      await until('bob is told to who comes back', () =>
        later.seen.some(({ principal }) => principal === 'bob'),
      );
      expect(later.seen.map(({ principal }) => principal)).not.toContain('alice');
      expect(later.gaps()).toBe(0);
      const lost = listen(app.port, client, 'unknown');
      await until('that some are missing is told', () => lost.gaps() === 1);
      expect(JSON.stringify(first.seen)).not.toContain('a-secret-tea');
      expectNoIds('events', [JSON.stringify(first.seen)]);
    });

    it('until the session of the administrator ends', async () => {
      const app = await start({ session: inRedis({ events: true }) });
      const client = await admin(app);
      const stream = listen(app.port, client);
      await until('it is open', stream.isOpen);
      await app.app.get(SessionService).forPrincipal('root').revokeAll();
      await until('it is closed', () => stream.source.readyState === EventSource.CLOSED, {
        within: 15_000,
      });
    });

    it('or says which option to set', async () => {
      const client = await admin(await start());
      expect((await client.get(PAGE)).text).toContain('set the option <code>events</code>');
      expect((await client.get(`${PAGE}/events`)).status).toBe(404);
    });

    it('counts from the index where somebody looks for ends', async () => {
      const app = await start({ session: inRedis({ events: { sweepEvery: '1s' } }) });
      const client = await admin(app);
      await login(visit(app), 'alice');
      const live = async () => {
        const { expiry } = (await client.get(`${PAGE}/figures`)).json as {
          expiry?: { sessions: number };
        };
        return expiry?.sessions === 2;
      };
      await until('two are counted', live, { within: 15_000 });
      const page = (await client.get(PAGE)).text;
      expect(page).toContain('<span id="live">2</span>');
      expect(page).toContain('from the index');
    });
  });

  describe('while the store does not answer', () => {
    it('says so, to who is known and to who is not', async () => {
      const session = inRedis({ exclude: ['admin/*path'] });
      const app = await start({ session, dashboard: { guards: [LocalGuard] } });
      const client = visit(app);
      const headers = { 'x-operator': 'yes' };
      await redis.kill();
      const page = await client.get(`${PAGE}?browse=1&count=1`, { headers });
      expect(page.status).toBe(200);
      expect(page.text).toContain('The session store does not answer.');
      expect((await search(client, 'alice', { headers })).text).toContain(
        'The session store does not answer.',
      );
      const figures = (await client.get(`${PAGE}/figures`, { headers })).json;
      expect(figures).toMatchObject({ store: 'down', counters: { logoutsPending: 0 } });
      const json = { principal: '"alice"' };
      const order = await client.post(`${PAGE}/end-all`, { json, headers: { ...headers, ...OWN } });
      expect(order.status).toBe(503);
      expect(order.text).toContain('is not known');
      expect(app.logger.texts('warn').join('\n')).toContain(
        'wanted to end all sessions of "alice"',
      );
    });

    it('is a page, too, where guards cannot ask who it is', async () => {
      const app = await start();
      const client = await admin(app);
      await redis.kill();
      const page = await client.get(PAGE);
      expect(page.status).toBe(503);
      expect(page.headers['content-type']).toBe('text/html; charset=utf-8');
      expect(page.headers['retry-after']).toBe('1');
      expect(page.headers['content-security-policy']).toContain("default-src 'none'");
      expect(page.text).toContain('The session store does not answer.');
      expect(page.setCookie).toEqual([]);
      expect((await client.get(`${PAGE}/page.css`)).status).toBe(200);
      expect((await client.get(`${PAGE}/figures`)).status).toBe(503);
    });
  });

  it('works over memory, and says where a store keeps no lists', async () => {
    const app = await start({ session: { store: 'memory', events: true } });
    const client = await admin(app);
    expect((await client.get(`${PAGE}?browse=1`)).text).toContain('<bdi>root</bdi>');
    const plain = new Proxy(new MemorySessionStore(new FakeClock()), {
      get: (store, name) => {
        if (['placesOf', 'list', 'countIn', 'admit', 'replace', 'endIn'].includes(String(name)))
          return undefined;
        const value = Reflect.get(store, name, store) as unknown;
        return typeof value === 'function' ? (value.bind(store) as unknown) : value;
      },
    }) as unknown as IndexedSessionStore;
    const poor = await start({
      session: { store: plain, maxSessions: Infinity },
      dashboard: { guards: [LocalGuard] },
    });
    const headers = { 'x-operator': 'yes' };
    const lost = visit(poor);
    expect((await lost.get(`${PAGE}?browse=1`, { headers })).text).toContain('keeps no lists');
    expect((await search(lost, 'a', { headers })).text).toContain('keeps no indexes');
  });

  it('is no activity of its visitor while it asks by itself', async () => {
    const app = await start({ session: inRedis({ touchAfter: 0, idleTimeout: '1h' }) });
    const client = await admin(app);
    const { address } = await search(client, 'root');
    const stored = opened.add({
      redis: redis.connect(),
      close() {
        this.redis.disconnect();
      },
    }).redis;
    const key = (await stored.keys('*')).find((name) => !name.includes(':p:'))!;
    const left = () => stored.pexpire(key, 1_000_000).then(() => stored.pttl(key));
    await left();
    await client.get(`${PAGE}/figures`);
    await client.get(`${PAGE}/people${wordsOf(address)}`);
    expect(await stored.pttl(key)).toBeLessThanOrEqual(1_000_000);
    await client.get(PAGE);
    expect(await stored.pttl(key)).toBeGreaterThan(1_000_000);
  });
});

describe('an application with a dashboard', () => {
  const boot = (imports: object[], session = true) =>
    startApp({
      adapter: 'express',
      logger: new TestLogger(),
      imports: imports as never[],
      ...(session && { session: { store: 'memory' } }),
    }).then(async (app) => app.close());
  const dashboard = SessionDashboardModule.forRoot.bind(SessionDashboardModule);

  it.each([
    ['nobody said who may see it', () => dashboard()],
    ['the list of guards is empty', () => dashboard({ guards: [] })],
    ['a guard is none', () => dashboard({ guards: [undefined as never] })],
    ['the path is none', () => dashboard({ allow: isAdmin, path: 'a b/../c' })],
    ['it would ask all the time', () => dashboard({ allow: isAdmin, refreshEvery: '10ms' })],
  ])('does not boot where %s', (_, make) => {
    expect(make).toThrow(SessionOptionsError);
  });

  it.each([
    ['everybody who is logged in could see it', dashboard({ guards: [SessionGuard] }), true],
    ['SessionModule is missing', dashboard({ allow: isAdmin }), false],
    ['its sessions are not there', dashboard({ allow: isAdmin, session: 'staff' }), true],
  ])('does not boot where %s', async (_, module, session) => {
    await expect(boot([module], session)).rejects.toMatchObject({
      code: 'SESSION_OPTIONS_INVALID',
    });
  });

  it('boots with the guard alone where a policy decides', async () => {
    const app = await startApp({
      adapter: 'express',
      imports: [dashboard({ guards: [SessionGuard] })],
      session: { store: 'memory', policy: (session) => isAdmin(session) },
    });
    const client = new HttpClient(app.port);
    expect((await client.get(PAGE)).status).toBe(401);
    client.close();
    await app.close();
  });
});
