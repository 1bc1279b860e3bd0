import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { IncomingMessage, Server } from 'node:http';
import { SessionService } from 'nestjs-distributed-session';
import { ADAPTERS, SECRET, type TestApp } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';
import {
  follow,
  formsIn,
  LocalGuard,
  login,
  OPERATOR,
  PAGE,
  search,
  startDashboardApp,
  submit,
  type DashboardAppOptions,
} from './dashboard-app.js';

/** Nothing of it may be in an address. */
const ALICE = 'alice.liddell@example.com';
const OTHER_LOGIN = 'a search of another login';

let redis: RedisServer;
beforeAll(async () => {
  redis = await RedisServer.start();
}, 60_000);
afterAll(() => redis?.stop());

const opened = new Opened();
afterEach(() => opened.close());
afterEach(async () => {
  const client = redis.connect();
  await client.flushall();
  client.disconnect();
});

describe.each(ADAPTERS)('addresses of the dashboard on %s', (adapter) => {
  const start = async (options: Omit<DashboardAppOptions, 'adapter'> = {}): Promise<TestApp> =>
    opened.add(await startDashboardApp({ adapter, session: { redis: redis.url }, ...options }));
  const admin = async (app: TestApp, name = 'root'): Promise<HttpClient> => {
    const client = opened.browser(app);
    await login(client, name, { roles: ['admin'] });
    return client;
  };
  /** What servers and proxies on the way write down. */
  const watch = (app: TestApp) => {
    const lines: string[] = [];
    const server = app.app.getHttpServer() as Server;
    server.on('request', ({ method, url }: IncomingMessage) => lines.push(`${method} ${url}`));
    return lines;
  };

  it('tell no principal, whatever is done there without a script', async () => {
    const app = await start();
    const lines = watch(app);
    const client = await admin(app);
    const sessions = app.app.get(SessionService);
    for (let i = 0; i < 4; i++) await sessions.create({ principal: ALICE });

    const found = await search(client, ALICE);
    expect(found.text).toContain('4 sessions');
    const words = found.address.slice(found.address.indexOf('?'));
    expect((await client.get(`${PAGE}/people${words}`)).text).toContain(ALICE);

    // To count keeps the search.
    const [, of] = /<input type="hidden" name="of" value="([^"]+)"/.exec(found.text)!;
    const counted = await client.get(`${PAGE}?of=${of}&count=1`);
    expect(counted.text).toContain('counted just now');
    expect(counted.text).toContain(ALICE);

    // So does to end, from a search and from the list.
    const browsed = await client.get(`${PAGE}?browse=1`);
    for (const page of [found, browsed]) {
      const form = formsIn(page.text, 'sessions/end').find(({ principal }) =>
        principal!.includes(ALICE),
      );
      const after = await follow(client, `${PAGE}/end`, await submit(client, `${PAGE}/end`, form!));
      expect(after.text).toMatch(/The session is ended|no such session/);
      expect(after.text).toContain(`value="${ALICE}"`);
    }
    const [all] = formsIn(found.text, 'sessions/end-all');
    const ended = await submit(client, `${PAGE}/end-all`, all!);
    expect((await follow(client, `${PAGE}/end-all`, ended)).text).toContain('0 sessions');

    expect(lines.length).toBeGreaterThan(12);
    expect(lines).toContain(`POST ${PAGE}/search`);
    for (const line of lines) {
      const texts = line
        .split(/[?=&]/)
        .flatMap((text) => [
          decodeURIComponent(text),
          Buffer.from(text, 'base64url').toString('latin1'),
        ]);
      expect(texts.join('\n')).not.toMatch(/alice|liddell|example/i);
    }
  });

  it('look different each time, and as long for short names as for long ones', async () => {
    const client = await admin(await start());
    const addresses: string[] = [];
    for (const name of [ALICE, ALICE, 'b', 'robert']) {
      addresses.push((await search(client, name)).address);
    }
    expect(new Set(addresses).size).toBe(4);
    expect(new Set(addresses.map(({ length }) => length)).size).toBe(1);
  });

  it('open for the login that has made them, on each node, with and without a secret', async () => {
    for (const more of [{}, { secret: SECRET }]) {
      const [one, two] = [
        await start({ session: { redis: redis.url, ...more } }),
        await start({ session: { redis: redis.url, ...more } }),
      ];
      const client = await admin(one);
      const { address, text } = await search(client, ALICE);
      expect(text).toContain(ALICE);
      const there = opened.browser(two, client.jar);
      expect((await there.get(address)).text).toContain(ALICE);
    }
  });

  it('open for nobody else, nor after another login, nor altered', async () => {
    const app = await start();
    const client = await admin(app);
    const { address } = await search(client, ALICE);
    const shown = async (one: HttpClient, path: string) => {
      const { status, text } = await one.get(path);
      expect(status).toBe(200);
      return { name: text.includes(ALICE), told: text.includes(OTHER_LOGIN) };
    };
    expect(await shown(client, address)).toEqual({ name: true, told: false });
    const closed = { name: false, told: true };
    expect(await shown(await admin(app, 'rita'), address)).toEqual(closed);
    const altered = address.replace(/.{5}$/, (end) => end.toLowerCase() + 'A');
    expect(await shown(client, altered)).toEqual(closed);
    await login(client, 'root', { roles: ['admin'] });
    expect(await shown(client, address)).toEqual(closed);
  });

  it('of visitors without sessions open by the secret of the application', async () => {
    const dashboard = { guards: [LocalGuard] };
    const node = (more = {}) =>
      start({ session: { redis: redis.url, exclude: ['admin/*path'], ...more }, dashboard });
    const shownElsewhere = async (one: TestApp, two: TestApp) => {
      const { address, text } = await search(opened.browser(one), ALICE, { headers: OPERATOR });
      expect(text).toContain(ALICE);
      return (await opened.browser(two).get(address, { headers: OPERATOR })).text;
    };
    const renewed = { secret: [`${SECRET}-new`, SECRET] };
    const sharing = await shownElsewhere(await node({ secret: SECRET }), await node(renewed));
    expect(sharing).toContain(ALICE);
    expect(await shownElsewhere(await node(), await node())).toContain(OTHER_LOGIN);
  });

  it('are made without changing anything', async () => {
    const app = await start();
    const client = await admin(app);
    const stored = redis.connect();
    const all = async () => {
      const keys = (await stored.keys('*')).toSorted();
      return Promise.all(keys.map(async (key) => [key, await stored.dumpBuffer(key)]));
    };
    const before = await all();
    const { address } = await search(client, ALICE);
    await client.get(address);
    expect(await all()).toEqual(before);
    stored.disconnect();
  });
});
