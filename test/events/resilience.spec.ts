import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import {
  Controller,
  Headers,
  Injectable,
  Post,
  Sse,
  UseGuards,
  type CanActivate,
  type MessageEvent,
} from '@nestjs/common';
import { NEVER, type Observable } from 'rxjs';
import {
  getSessionServiceToken,
  Principal,
  RequireSession,
  Session,
  SessionEvents,
  SessionGuard,
  SessionModule,
  SessionService,
  type SessionEvent,
  type SessionEventGap,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { until, type TestApp } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

@Injectable()
class Slow implements CanActivate {
  async canActivate() {
    await delay(300);
    return true;
  }
}

@Controller()
class Streams {
  constructor(private readonly events: SessionEvents) {}

  @Post('login') async login(@Session() session: Session) {
    await session.authenticate('alice');
  }
  @Post('renew') async renew(@Session() session: Session) {
    await session.regenerate();
  }
  @RequireSession() @Sse('events') stream(
    @Principal() principal: string,
    @Headers('last-event-id') after?: string,
  ): Observable<MessageEvent> {
    return this.events.stream(principal, { after, heartbeat: 50 });
  }
  @UseGuards(SessionGuard, Slow) @Sse('slow') slow(): Observable<MessageEvent> {
    return NEVER;
  }
}

describe('what is told', () => {
  const opened = new Opened();
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  beforeEach(async () => {
    redis = await startRedis({ keyPrefixes: ['sess.admin'] });
    opened.add({ close: () => redis.stop() });
    probe = await RedisProbe.start(redis);
    opened.add({ close: () => probe.stop() });
  }, 60_000);
  afterEach(opened.close, 60_000);

  const open = async (session: SessionModuleOptions = {}, more: { admin?: object } = {}) => {
    const imports = [
      SessionModule.forRoot({
        redis: redis.connection(),
        cookie: { secure: false },
        events: { sweepEvery: 100 },
        ...session,
      }),
      ...(more.admin ? [SessionModule.forFeature('admin', more.admin)] : []),
    ];
    const app = await opened.app({ adapter: 'express', imports, controllers: [Streams] });
    const events = app.app.get(SessionEvents);
    const heard: SessionEvent[] = [];
    const gaps: SessionEventGap[] = [];
    if (events.on) {
      events.events$.subscribe((event) => heard.push(event));
      events.gaps$.subscribe((gap) => gaps.push(gap));
    }
    return { ...app, sessions: app.app.get(SessionService), events, heard, gaps };
  };
  /** What a stream sends, for so long; and whether it ended by itself. */
  const read = async (
    { port }: TestApp,
    path: string,
    cookie: string,
    ms: number,
    after?: string,
  ) => {
    const leaving = new AbortController();
    const headers = { cookie, ...(after !== undefined && { 'last-event-id': after }) };
    const options = { headers, signal: leaving.signal };
    const response = await fetch(`http://127.0.0.1:${port}${path}`, options);
    let text = '';
    let ended = false;
    const reading = (async () => {
      for await (const chunk of response.body!) text += Buffer.from(chunk).toString();
      ended = true;
    })().catch(() => undefined);
    await Promise.race([delay(ms), reading]);
    const hasEnded = ended;
    leaving.abort();
    await reading;
    const all = (name: string) =>
      [...text.matchAll(new RegExp(`^${name}: (.*)$`, 'gm'))].map(([, one]) => one as string);
    return {
      ids: all('id'),
      types: all('event').filter((one) => one !== 'heartbeat'),
      ended: hasEnded,
    };
  };

  it('goes on behind the last event, whatever signs of life came since', async () => {
    const app = await open();
    const alice = opened.browser(app);
    await alice.post('/login');
    const { cookieHeader: cookie } = alice;
    const first = read(app, '/events', cookie, 500);
    await delay(150);
    await app.sessions.create({ principal: 'alice' });
    const { ids, types } = await first;
    expect(types).toEqual(['created', 'authenticated']);
    const last = ids.at(-1) as string;
    await app.sessions.create({ principal: 'alice' });
    const again = await read(app, '/events', cookie, 300, last);
    expect(again.types).toEqual(['created', 'authenticated']);
    // A stream that has heard nothing yet goes on, too.
    const quiet = await read(app, '/events', cookie, 200);
    expect(quiet.types).toEqual([]);
    await app.sessions.create({ principal: 'alice' });
    const further = await read(app, '/events', cookie, 300, quiet.ids.at(-1));
    expect(further.types).toEqual(['created', 'authenticated']);
  });

  it('ends a stream that opens while its session ends, or gets another id', async () => {
    const app = await open();
    const alice = opened.browser(app);
    await alice.post('/login');
    const opening = read(app, '/slow', alice.cookieHeader, 3_000);
    await delay(100);
    await app.sessions.forPrincipal('alice').revokeAll();
    expect((await opening).ended).toBe(true);

    await alice.post('/login');
    const renewing = read(app, '/slow', alice.cookieHeader, 3_000);
    await delay(100);
    await alice.post('/renew');
    await delay(500);
    await app.sessions.forPrincipal('alice').revokeAll();
    expect((await renewing).ended).toBe(true);
  });

  it('is told without attributes where these cannot be told; logins and grants do not fail', async () => {
    let give: () => Record<string, unknown> = () => ({});
    const { sessions, heard, logger } = await open({ events: { projection: () => give() } });
    const failing: (() => Record<string, unknown>)[] = [
      () => {
        throw new TypeError('no cart');
      },
      () => ({ n: 1n }),
      () => ({ long: 'x'.repeat(10_000) }),
    ];
    for (give of failing) {
      const { handle } = await sessions.create({ principal: 'alice' });
      await sessions.forPrincipal('alice').updateGrants({ roles: [] });
      await sessions.revoke(handle);
    }
    await until('all', () => heard.filter(({ type }) => type === 'revoked').length === 3);
    expect(heard.every(({ attributes }) => Object.keys(attributes).length === 0)).toBe(true);
    expect(logger.texts('warn').filter((text) => /events\.projection/.test(text))).not.toEqual([]);
  });

  it('is told of hundreds at once, however much there is to tell', async () => {
    const projection = () => ({ long: 'x'.repeat(3_900) });
    const { sessions, heard } = await open({
      idleTimeout: 2_000,
      events: { projection, sweepEvery: 100 },
    });
    for (let i = 0; i < 300; i++) await sessions.create({ principal: 'alice' });
    await until('all ends', () => heard.filter(({ type }) => type === 'expired').length === 300, {
      within: 10_000,
    });
  }, 30_000);

  it('keeps no end from others where one who hears it fails', async () => {
    const { sessions, events, heard, logger } = await open();
    const { handle } = await sessions.create({ principal: 'alice' });
    const ended: string[] = [];
    events.follow(handle, {
      principal: 'alice',
      onEnd: () => {
        throw new Error('of an application');
      },
    });
    events.follow(handle, { principal: 'alice', onEnd: ({ type }) => ended.push(type) });
    await sessions.revoke(handle);
    await until('the end', () => heard.some(({ type }) => type === 'revoked'));
    expect(ended).toEqual(['revoked']);
    expect(logger.texts('error').join()).toContain('of an application');
  });

  it('asks for what is open after a silence: what was lost ends, what has another id goes on', async () => {
    const { sessions, events, gaps } = await open();
    const kept = await sessions.create({ principal: 'alice' });
    const lost = await sessions.create({ principal: 'bob' });
    const ended: string[] = [];
    for (const { handle, principal } of [kept, lost]) {
      events.ended({ handle, principal }).subscribe(() => ended.push(handle));
    }
    // The server loses one of them, and what it has told of it.
    const bucket = lost.handle.slice(0, 2);
    await probe.client.del(`{sess:${bucket}}:s:${lost.handle}`);
    await probe.client.del(`{sess:${bucket}}:e`);
    await Promise.all(probe.nodes.map((node) => node.call('CLIENT', 'KILL', 'TYPE', 'pubsub')));
    await until('the gap', () => gaps.length > 0);
    expect(ended).toEqual([lost.handle]);
    expect(gaps.some(({ complete }) => !complete)).toBe(true);
    const session = (await sessions.get(kept.id)) as Session;
    await session.regenerate();
    await session.save();
    await Promise.all(probe.nodes.map((node) => node.call('CLIENT', 'KILL', 'TYPE', 'pubsub')));
    await delay(500);
    expect(ended).toEqual([lost.handle]);
    await sessions.revoke(session.handle);
    await until('its end', () => ended.includes(kept.handle));
  });

  it('is nothing of what a renewed id left behind, nor of who logged out on a node that tells nothing', async () => {
    const telling = await open({ idleTimeout: 1_000, regenerateGrace: 0, replayWindow: '1m' });
    const silent = await open({ idleTimeout: 1_000, replayWindow: '1m', events: false });
    const { id, handle } = await telling.sessions.create({ principal: 'alice' });
    const session = (await silent.sessions.get(id)) as Session;
    await session.regenerate();
    await session.save();
    await delay(2_000);
    expect(telling.heard.filter((one) => one.handle === handle).map(({ type }) => type)).toEqual([
      'created',
      'authenticated',
    ]);
    expect(await probe.keys('*:[xn]')).toEqual([]);
  });

  it('is told of sessions from before, as soon as something of them is', async () => {
    const silent = await open({ idleTimeout: 1_500, events: false });
    const { handle } = await silent.sessions.create({ principal: 'alice' });
    const telling = await open({ idleTimeout: 1_500 });
    await telling.sessions.forPrincipal('alice').setLabel(handle, 'my phone');
    await until('its end', () => telling.heard.some(({ type }) => type === 'expired'));
    expect(telling.heard.at(-1)).toMatchObject({ handle, label: 'my phone' });
    expect(await probe.keys('*:[xn]')).toEqual([]);
  });

  it('is remembered as long as named sessions say; and nothing of them is heard after the end', async () => {
    const before = await probe.connections();
    const app = await open({}, { admin: { events: { retention: '2h' } } });
    const admins = app.app.get<SessionService>(getSessionServiceToken('admin'));
    const { handle } = await admins.create({ principal: 'root' });
    const left = await probe.client.pttl(`{sess.admin:${handle.slice(0, 2)}}:e`);
    expect(left).toBeGreaterThan(3_600_000);
    await app.close();
    opened.drop(app);
    await until('all have gone', async () => (await probe.connections()) === before);
  });
});
