import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, Headers, Post, Query, Sse, type MessageEvent } from '@nestjs/common';
import { EventSource } from 'eventsource';
import { setTimeout as delay } from 'node:timers/promises';
import {
  catchError,
  firstValueFrom,
  interval,
  map,
  NEVER,
  of,
  timeout,
  type Observable,
} from 'rxjs';
import {
  Logout,
  Principal,
  RequireSession,
  Session,
  SessionEvents,
  SessionService,
  SkipSession,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { ADAPTERS, until, type TestApp } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis } from '../support/redis-under-test.js';

@Controller()
class Streams {
  constructor(private readonly events: SessionEvents) {}

  @Post('login') async login(@Session() session: Session, @Query('as') name = 'alice') {
    await session.authenticate(name);
  }
  @Post('renew') async renew(@Session() session: Session) {
    await session.regenerate();
  }
  @Logout() @Post('logout') logout() {}
  @Get('me') me(@Session() session: Session) {
    return { handle: session.handle };
  }

  @RequireSession() @Sse('events') stream(
    @Principal() principal: string,
    @Headers('last-event-id') after?: string,
  ): Observable<MessageEvent> {
    return this.events.stream(principal, { after, heartbeat: 100 });
  }
  @Sse('ticks') ticks(): Observable<MessageEvent> {
    return interval(20).pipe(map((n) => ({ data: String(n) })));
  }
  @Sse('late') async late(@Session() session: Session): Promise<Observable<MessageEvent>> {
    await session.load();
    return NEVER;
  }
  @SkipSession() @Sse('public') open(): Observable<MessageEvent> {
    return interval(20).pipe(map((n) => ({ data: String(n) })));
  }
  @RequireSession() @Get('next') next(@Principal() principal: string) {
    const event = this.events.of(principal).pipe(
      map(({ type }) => ({ type })),
      timeout(2_000),
      catchError(() => of({ type: 'nothing' })),
    );
    return firstValueFrom(event);
  }
}

/** A stream, as a browser reads it. */
class Stream {
  readonly seen: { type: string; id: string; data: string }[] = [];
  readonly source: EventSource;
  opened = 0;
  closed = 0;

  constructor(port: number, path: string, client: HttpClient, after?: string) {
    this.source = new EventSource(`http://127.0.0.1:${port}${path}`, {
      fetch: (url, init) =>
        fetch(url, {
          ...init,
          headers: {
            ...(init.headers as Record<string, string>),
            cookie: client.cookieHeader,
            ...(after !== undefined && this.opened === 0 && { 'last-event-id': after }),
          },
        }),
    });
    this.source.addEventListener('open', () => this.opened++);
    this.source.addEventListener('error', () => this.closed++);
    for (const type of ['message', 'authenticated', 'revoked', 'destroyed', 'gap', 'heartbeat']) {
      this.source.addEventListener(type, ({ lastEventId: id, data }) =>
        this.seen.push({ type, id, data: String(data) }),
      );
    }
  }

  types(): string[] {
    return this.seen.map(({ type }) => type).filter((type) => type !== 'heartbeat');
  }

  close(): void {
    this.source.close();
  }
}

describe.each(ADAPTERS)('event streams on %s', (adapter) => {
  const opened = new Opened();
  let apps: TestApp[];
  let probe: RedisProbe;

  const open = async (session: SessionModuleOptions) =>
    opened.app({
      adapter,
      session: { cookie: { secure: false }, events: { sweepEvery: 100 }, ...session },
      controllers: [Streams],
    });
  const stream = (app: TestApp, path: string, client: HttpClient, after?: string) =>
    opened.add(new Stream(app.port, path, client, after));

  beforeEach(async () => {
    const redis = await startRedis();
    opened.add({ close: () => redis.stop() });
    probe = await RedisProbe.start(redis);
    opened.add({ close: () => probe.stop() });
    apps = [];
    for (let i = 0; i < 2; i++) apps.push(await open({ redis: redis.connection() }));
  });
  afterEach(opened.close);

  it('tell a user what happens to their sessions, and nothing of others', async () => {
    const [here, there] = apps as [TestApp, TestApp];
    const alice = opened.browser(here);
    await alice.post('/login');
    const events = stream(here, '/events', alice);
    await until('it is open', () => events.opened === 1);
    const phone = opened.browser(there);
    await opened.browser(there).post('/login?as=bob');
    await phone.post('/login');
    await phone.post('/logout');
    await until('both', () => events.types().length >= 2);
    expect(events.types()).toEqual(['authenticated', 'destroyed']);
    const [first] = events.seen.filter(({ type }) => type === 'authenticated');
    expect(JSON.parse(first?.data ?? '')).toMatchObject({
      id: first?.id,
      type: 'authenticated',
      principal: 'alice',
      client: { address: '127.0.0.1' },
    });
    await until('a sign of life', () => events.seen.some(({ type }) => type === 'heartbeat'));
  });

  it('go on behind what was heard last, on whatever node', async () => {
    const [here, there] = apps as [TestApp, TestApp];
    const alice = opened.browser(here);
    await alice.post('/login');
    const events = stream(here, '/events', alice);
    await until('it is open', () => events.opened === 1);
    const sessions = there.app.get(SessionService);
    const first = await sessions.create({ principal: 'alice' });
    await until('the login', () => events.types().length === 1);
    const { id } = events.seen.find(({ type }) => type === 'authenticated') as { id: string };
    events.close();

    await sessions.revoke(first.handle);
    const anonymous = opened.browser(there);
    await anonymous.post('/login?as=carol');
    // From an anonymous session that lived in another bucket.
    await anonymous.post('/login');
    const again = stream(there, '/events', alice, id);
    await until('what came after', () => again.types().length >= 2);
    await sessions.create({ principal: 'alice' });
    await until('what comes now', () => again.types().length >= 3);
    expect(again.types()).toEqual(['revoked', 'authenticated', 'authenticated']);
    expect(new Set(again.seen.filter(({ id: one }) => one).map((one) => one.id)).size).toBe(3);
  });

  it('say so where what was heard last is not remembered', async () => {
    const [here] = apps as [TestApp];
    const alice = opened.browser(here);
    await alice.post('/login');
    const events = stream(here, '/events', alice, '0mabcdefghijklmnopqrs.0');
    await until('the gap', () => events.types()[0] === 'gap');
  });

  it.each(['/events', '/ticks', '/late'])(
    '%s ends with its session, on whatever node',
    async (path) => {
      const [here, there] = apps as [TestApp, TestApp];
      const alice = opened.browser(here);
      await alice.post('/login');
      const { handle } = (await alice.get('/me')).json as { handle: string };
      const events = stream(here, path, alice);
      await until('it is open', () => events.opened === 1);
      // A new id is no end.
      await alice.post('/renew');
      await delay(200);
      expect(events.closed).toBe(0);
      await there.app.get(SessionService).revoke(handle);
      await until('it is cut', () => events.closed > 0, { within: 1_000 });
      // Of its own end it tells last.
      if (path === '/events') expect(events.types().at(-1)).toBe('revoked');
    },
  );

  it('end when somebody else logs in in the same browser', async () => {
    const [here, there] = apps as [TestApp, TestApp];
    const alice = opened.browser(here);
    await alice.post('/login');
    const events = stream(here, '/events', alice);
    await until('it is open', () => events.opened === 1);
    const same = opened.browser(there, [...alice.jar]);
    await same.post('/login?as=bob');
    await until('it is cut', () => events.closed > 0, { within: 1_000 });
    expect(events.types()).not.toContain('revoked');
  });

  it('do not end where they have no session', async () => {
    const [here] = apps as [TestApp];
    const alice = opened.browser(here);
    await alice.post('/login');
    const events = stream(here, '/public', alice);
    await until('it is open', () => events.opened === 1);
    await here.app.get(SessionService).forPrincipal('alice').revokeAll();
    await delay(300);
    expect(events.closed).toBe(0);
  });

  it('are no different where nothing is told, but that nothing ends them', async () => {
    const quiet = await open({ store: 'memory', events: false });
    const alice = opened.browser(quiet);
    await alice.post('/login');
    const ticks = stream(quiet, '/ticks', alice);
    await until('it is open', () => ticks.opened === 1);
    await quiet.app.get(SessionService).forPrincipal('alice').revokeAll();
    await delay(200);
    expect(ticks.closed).toBe(0);
    const refused = await alice.another([...alice.jar]).get('/events');
    expect([401, 500]).toContain(refused.status);
    expect(() => quiet.app.get(SessionEvents).events$).toThrow(/set the option `events`/);
  });

  it('may be asked for one event after the other', async () => {
    const [here, there] = apps as [TestApp, TestApp];
    const alice = opened.browser(here);
    await alice.post('/login');
    const waiting = alice.get('/next');
    await delay(100);
    await there.app.get(SessionService).create({ principal: 'alice' });
    expect((await waiting).json).toEqual({ type: 'created' });
  });
});
