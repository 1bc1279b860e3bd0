import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  getSessionServiceToken,
  SessionModule,
  SessionService,
  type SessionFeatureOptions,
} from 'nestjs-distributed-session';
import {
  SessionDashboardModule,
  type SessionDashboardOptions,
} from 'nestjs-distributed-session/dashboard';
import { ADAPTERS, SECRET, TestLogger, until, type TestApp } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';
import {
  follow,
  formsIn,
  isAdmin,
  LocalGuard,
  login,
  openBreaker,
  OPERATOR,
  PAGE,
  search,
  startDashboardApp,
  submit,
} from './dashboard-app.js';

const STAFF = '/admin/staff';

let redis: RedisServer;
let other: RedisServer;
beforeAll(async () => {
  [redis, other] = await Promise.all([RedisServer.start(), RedisServer.start()]);
}, 60_000);
afterAll(() => Promise.all([redis?.stop(), other?.stop()]));

const opened = new Opened();
afterEach(() => opened.close());
afterEach(async () => {
  for (const one of [redis, other]) {
    one.signal('SIGCONT');
    const client = one.connect();
    await client.flushall();
    client.disconnect();
  }
});

interface TwoOptions {
  staff?: SessionFeatureOptions;
  first?: SessionDashboardOptions;
  second?: SessionDashboardOptions;
}

describe.each(ADAPTERS)('two dashboards on %s', (adapter) => {
  /** One of the sessions of `forRoot`, one of those that are named. */
  const start = async ({ staff, first, second }: TwoOptions = {}): Promise<TestApp> => {
    const dashboard = { allow: isAdmin };
    const more = { ...dashboard, name: 'staff', path: 'admin/staff', ...second };
    return opened.add(
      await startDashboardApp({
        adapter,
        session: { redis: redis.url, secret: SECRET, events: { sweepEvery: '1s' } },
        // The named sessions come last: what is imported first must not need them yet.
        imports: [SessionDashboardModule.forRoot(more), SessionModule.forFeature('staff', staff)],
        dashboard: { ...dashboard, ...first },
      }),
    );
  };
  const servicesOf = ({ app }: TestApp) => ({
    shop: app.get(SessionService),
    staff: app.get<SessionService>(getSessionServiceToken('staff'), { strict: false }),
  });

  it('each show, count and end their own sessions, and tell of no others', async () => {
    const app = await start();
    const { shop, staff } = servicesOf(app);
    const client = opened.browser(app);
    await login(client, 'root', { roles: ['admin'] });
    await shop.create({ principal: 'alice', label: 'Till' });
    await staff.create({ principal: 'alice', label: 'Desk' });
    await staff.create({ principal: 'bob', label: 'Office' });
    await staff.create({ principal: 'carol' });

    const [here, there] = [
      await search(client, 'alice'),
      await search(client, 'alice', { page: STAFF }),
    ];
    // The other one tells all events, with the names of their sessions.
    const listIn = ({ text }: { text: string }) => text.slice(0, text.indexOf('id="events-title"'));
    expect(listIn(here)).toContain('Till');
    expect(listIn(here)).not.toContain('Desk');
    expect(here.text).toContain('<h1>Sessions</h1>');
    expect(there.text).toContain('Desk');
    expect(there.text).not.toContain('Till');
    expect(there.text).toContain('<h1>Sessions: staff</h1>');

    const browsed = (await client.get(`${STAFF}?browse=1`)).text;
    expect(browsed).toContain('Office');
    expect(browsed).not.toContain('Till');
    expect(browsed).not.toMatch(/<h3[^>]*>\s*<bdi>root/);
    expect(browsed).toMatch(/<h3[^>]*>\s*<bdi>carol/);

    // An address of one is none of the other.
    const words = there.address.slice(STAFF.length);
    expect((await client.get(PAGE + words)).text).toContain('search again');

    await until('those of staff are counted by their own index', async () => {
      const figures = async (page: string) => {
        const { expiry } = (await client.get(`${page}/figures`)).json;
        return (expiry as { sessions: number } | undefined)?.sessions;
      };
      return (await figures(STAFF)) === 3 && (await figures(PAGE)) === 2;
    });
    const told = await until('the events are there', async () => {
      const { text } = await client.get(STAFF);
      const list = text.slice(text.indexOf('id="events"'));
      return list.includes('Office') && list;
    });
    expect(told).not.toContain('Till');

    const [all] = formsIn(there.text, 'staff/end-all');
    const answer = await submit(client, `${STAFF}/end-all`, all!);
    const after = await follow(client, `${STAFF}/end-all`, answer);
    expect(after.text).toContain('1 session is ended.');
    expect(after.text).toContain('<h1>Sessions: staff</h1>');
    expect(await staff.forPrincipal('alice').count()).toBe(0);
    expect(await shop.forPrincipal('alice').count()).toBe(1);
    expect(app.logger.texts('log').join('\n')).toContain(
      '"root" ended all sessions of "alice" among the sessions named "staff" (1)',
    );
    const [own] = formsIn(here.text, 'sessions/end');
    const none = await submit(client, `${STAFF}/end`, own!);
    expect(none.headers.location).toMatch(/&done=none$/);
    expect(await shop.forPrincipal('alice').count()).toBe(1);
  });

  it('have guards of their own, by the sessions that are said', async () => {
    const app = await start({ second: { session: 'staff' } });
    const client = opened.browser(app);
    await login(client, 'root', { roles: ['admin'] });
    expect((await client.get(PAGE)).status).toBe(200);
    expect((await client.get(STAFF)).status).toBe(401);
  });

  it('know which store does not answer, where sessions have one of their own', async () => {
    const guarded = { allow: undefined, guards: [LocalGuard] } as SessionDashboardOptions;
    const app = await start({ staff: { redis: other.url }, first: guarded, second: guarded });
    const client = opened.browser(app);
    const figuresOf = async (page: string) =>
      (await client.get(`${page}/figures`, { headers: OPERATOR })).json;
    await openBreaker(other, async () => (await figuresOf(STAFF)).breaker as string);
    await until('that of staff is open', async () => (await figuresOf(STAFF)).breaker === 'open');
    expect(await figuresOf(STAFF)).toMatchObject({ store: 'down' });
    expect(await figuresOf(PAGE)).toMatchObject({ store: 'up', breaker: 'closed' });
  });

  it.each<[string, TwoOptions, RegExp]>([
    [
      'the name is unknown',
      { second: { name: 'crew' } },
      /no sessions named "crew".*SessionModule\.forFeature\('crew', …\)/,
    ],
    [
      'both are in one place',
      { second: { path: 'Admin/sessions' } },
      /more than once with the path.*`path` of its own/,
    ],
    ['the name is none', { second: { name: '' } }, /name is one that .* was given/],
  ])('do not boot where %s, and say what to do', async (_, options, problem) => {
    const failure = await start(options).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(failure).toMatchObject({ code: 'SESSION_OPTIONS_INVALID' });
    expect((failure as Error).message).toMatch(problem);
  });

  it('are possible over memory as well', async () => {
    const app = opened.add(
      await startDashboardApp({
        adapter,
        logger: new TestLogger(),
        session: { store: 'memory' },
        imports: [SessionModule.forFeature('staff')],
        dashboard: { name: 'staff', guards: [LocalGuard] },
      }),
    );
    const { shop, staff } = servicesOf(app);
    await shop.create({ principal: 'alice' });
    await staff.create({ principal: 'bob' });
    const { text } = await opened.browser(app).get(`${PAGE}?browse=1`, { headers: OPERATOR });
    expect(text).toContain('<bdi>bob</bdi>');
    expect(text).not.toContain('<bdi>alice</bdi>');
  });
});
