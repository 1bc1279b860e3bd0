import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, HttpCode, Param, Post } from '@nestjs/common';
import {
  RequireSession,
  Session,
  SessionService,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { ADAPTERS, SECRET, until, type TestApp } from '../support/app.js';
import type { Answer } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';
import { atMost } from '../support/fault-record.js';

@Controller()
class Shop {
  constructor(private readonly sessions: SessionService) {}

  @Post('login/:name') @HttpCode(200) async login(
    @Session() session: Session,
    @Param('name') name: string,
  ) {
    await session.authenticate(name);
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal };
  }

  @Post('count') @HttpCode(200) count(@Session() session: Session) {
    return { n: session.increment('n') };
  }

  @Post('regenerate') @HttpCode(200) async regenerate(@Session() session: Session) {
    await session.regenerate();
  }

  @Post('elevate') @HttpCode(200) async elevate(@Session() session: Session) {
    await session.elevate('otp');
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @Post('end-all/:name') @HttpCode(200) async endAll(@Param('name') name: string) {
    return { ended: await this.sessions.forPrincipal(name).revokeAll() };
  }

  @Post('grant/:name') @HttpCode(200) async grant(@Param('name') name: string) {
    await this.sessions.forPrincipal(name).updateGrants({ roles: ['editor'] });
  }
}

describe.each(ADAPTERS)('writes that a replica confirms, on %s', (adapter) => {
  const opened = new Opened();
  let master: RedisServer;
  let replica: RedisServer;
  let app: TestApp;
  let names = 0;

  beforeAll(async () => {
    master = await RedisServer.start();
    replica = await RedisServer.start(['--replicaof', `127.0.0.1 ${master.port}`]);
    await until('the replica follows', async () => (await replicated()) === '1', {
      within: 20_000,
    });
  });

  afterEach(async () => {
    replica.signal('SIGCONT');
    await opened.close();
  });

  afterAll(async () => {
    await replica?.stop();
    await master?.stop();
  });

  /** How many replicas the master serves. */
  const replicated = async () => {
    const client = master.connect();
    const info = await client.info('replication');
    client.disconnect();
    return /slave0:.*state=online/.test(info) ? '1' : '0';
  };

  const boot = async (more: SessionModuleOptions = {}) => {
    const session = {
      redis: master.url,
      secret: SECRET,
      cookie: { secure: false },
      durability: { replicas: 1, timeout: '100ms' as const },
      ...more,
    };
    app = await opened.app({ adapter, controllers: [Shop], session });
  };

  const service = () => app.app.get(SessionService);

  /** Somebody new, logged in. */
  const user = async (name = `user-${++names}`) => {
    const browser = opened.browser(app);
    expect((await browser.post(`/login/${name}`)).status).toBe(200);
    return { browser, name };
  };

  const expectUnconfirmed = (answer: Answer) => {
    expect(answer.json).toMatchObject({ statusCode: 503, code: 'SESSION_UNCONFIRMED' });
    expect(answer.headers['retry-after']).toBe('1');
    // By name: what a failed test prints stands in a log.
    expect(answer.setCookie.map((cookie) => cookie.split('=')[0])).toEqual([]);
  };

  const waitsDuring = async (action: () => Promise<unknown>) => {
    const probe = await RedisProbe.start(master);
    const commands = await probe.commandsDuring(action);
    await probe.stop();
    return commands.filter(({ name }) => name === 'wait').map(({ args }) => args);
  };

  it('login, renewal, logout and changed grants wait for it, what a session holds does not', async () => {
    await boot();
    const { browser, name } = await user();
    expect(await waitsDuring(() => browser.post('/count'))).toEqual([]);
    expect(await waitsDuring(() => browser.get('/me'))).toEqual([]);
    for (const path of ['/regenerate', '/elevate', `/grant/${name}`, '/logout']) {
      // Twice where the server has to be told of a script first.
      const waits = await waitsDuring(() => browser.post(path));
      expect({ path, waits: [...new Set(waits.map(String))] }).toEqual({ path, waits: ['1,100'] });
    }
    const stranger = opened.browser(app);
    expect(await waitsDuring(() => stranger.post('/count'))).toEqual([]);
    expect(await waitsDuring(() => stranger.post(`/login/${name}`))).not.toEqual([]);
    expect(await waitsDuring(() => stranger.post(`/end-all/${name}`))).not.toEqual([]);
    expect((await stranger.get('/me')).status).toBe(401);
    expect(service().counters().unconfirmed).toBe(0);
  });

  it('what was answered is at the replica by then', async () => {
    await boot();
    const copy = replica.connect();
    for (let i = 0; i < 50; i++) {
      const { browser, name } = await user();
      const [session] = await service().forPrincipal(name).list();
      const key = `{sess:${session!.handle.slice(0, 2)}}:s:${session!.handle}`;
      expect(await copy.exists(key)).toBe(1);
      expect((await browser.post('/logout')).status).toBe(204);
      expect(await copy.exists(key)).toBe(0);
    }
    copy.disconnect();
  });

  it('many at once share the waiting', async () => {
    await boot();
    await user();
    const waits = await waitsDuring(() => Promise.all(Array.from({ length: 50 }, () => user())));
    expect(waits.length).toBeLessThan(50);
  });

  it('without the replica: 503, no cookie, nothing half done; and nobody else waits', async () => {
    await boot();
    const [{ browser, name }, reader] = [await user(), await user()];
    const stranger = opened.browser(app);
    replica.signal('SIGSTOP');

    const refused = Promise.all([
      stranger.post('/login/mallory'),
      browser.another(browser.jar).post('/logout'),
      reader.browser.another(reader.browser.jar).post('/regenerate'),
    ]);
    const since = performance.now();
    for (let i = 0; i < 20; i++) {
      expect((await reader.browser.post('/count')).status).toBe(200);
    }
    expect(performance.now() - since).toBeLessThan(atMost(1_000));
    (await refused).forEach(expectUnconfirmed);
    expect(stranger.jar.size).toBe(0);
    // Nobody has its id, so it is not among somebody's devices.
    expect(await service().forPrincipal('mallory').count()).toBe(0);
    // To ask again is no way around it.
    expectUnconfirmed(await browser.post('/logout'));
    expectUnconfirmed(await browser.post(`/end-all/${name}`));
    expect((await reader.browser.get('/me')).json).toEqual({ principal: reader.name });
    expect(service().counters()).toMatchObject({ breakerOpened: 0, logoutsPending: 1 });
    expect(service().counters().unconfirmed).toBeGreaterThanOrEqual(5);

    replica.signal('SIGCONT');
    await until('the logout is confirmed', async () => {
      return service().counters().logoutsConfirmedLate === 1;
    });
    expect((await browser.post('/logout')).status).toBe(204);
    expect((await browser.get('/me')).status).toBe(401);
    expect((await stranger.post('/login/mallory')).status).toBe(200);
    expect((await stranger.get('/me')).json).toEqual({ principal: 'mallory' });
  });

  it('a login that was not confirmed is done again with what the browser has', async () => {
    await boot();
    const browser = opened.browser(app);
    await browser.post('/count');
    replica.signal('SIGSTOP');
    expectUnconfirmed(await browser.post('/login/trent'));
    replica.signal('SIGCONT');
    expect((await browser.post('/login/trent')).status).toBe(200);
    expect((await browser.post('/count')).json).toEqual({ n: 2 });
    expect(await service().forPrincipal('trent').count()).toBe(1);
  });

  it('a new id that was not confirmed is in the browser all the same: the one before leads nowhere', async () => {
    await boot();
    const [{ browser, name }, other] = [await user(), await user()];
    replica.signal('SIGSTOP');
    for (const path of ['/elevate', `/login/${name}`, '/regenerate']) {
      for (let i = 0; i < 2; i++) {
        const answer = await browser.post(path);
        expect(answer.json).toMatchObject({ statusCode: 503, code: 'SESSION_UNCONFIRMED' });
        expect(answer.setCookie).toHaveLength(1);
        expect((await browser.get('/me')).json).toEqual({ principal: name });
      }
    }
    expect(await service().forPrincipal(name).count()).toBe(1);
    // Who did not get it, and asks again, is not told that it is done.
    const unheard = other.browser.another(other.browser.jar);
    await other.browser.post(`/login/${other.name}`);
    const again = await unheard.post(`/login/${other.name}`);
    expect(again.json).toMatchObject({ code: 'SESSION_UNCONFIRMED' });
    replica.signal('SIGCONT');
    expect((await browser.post('/elevate')).status).toBe(200);
    expect((await unheard.post(`/login/${other.name}`)).status).toBe(200);
    expect((await unheard.get('/me')).json).toEqual({ principal: other.name });
  });

  it('a user without the right to ask for it is told so', async () => {
    const admin = master.connect();
    await admin.call('ACL', 'SETUSER', 'no-wait', 'on', '>secret', '~*', '&*', '+@all', '-wait');
    await boot({ redis: { url: master.url, username: 'no-wait', password: 'secret' } });
    const answer = await opened.browser(app).post('/login/alice');
    expect(answer.status).toBe(503);
    expect(answer.json.message).toContain('NOPERM');
    admin.disconnect();
  });

  it('survives a server that forgets its scripts, and connections that break', async () => {
    await boot();
    const { browser } = await user();
    const admin = master.connect();
    await admin.script('FLUSH');
    expect((await browser.post('/regenerate')).status).toBe(200);
    await admin.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes');
    await until('it works', async () => (await browser.post('/elevate')).status === 200);
    expect((await browser.post('/logout')).status).toBe(204);
    admin.disconnect();
  });

  it.each(['as it is', 'as an option'])('goes by a client that is handed in, %s', async (how) => {
    const client = master.connect();
    opened.add({ close: () => client.disconnect() });
    await boot({ redis: how === 'as it is' ? client : { client } });
    const { browser } = await user();
    replica.signal('SIGSTOP');
    expectUnconfirmed(await browser.post('/logout'));
    replica.signal('SIGCONT');
    expect((await browser.post('/logout')).status).toBe(204);
    await app.close();
    opened.drop(app);
    // It stays the application's; what the library opened beside it is gone.
    expect(client.status).toBe('ready');
    await until('it is gone', async () => !/cmd=wait/.test(String(await client.client('LIST'))));
  });

  it('says at boot what cannot be', async () => {
    await boot({ durability: { replicas: 2, fsync: true } });
    const warnings = app.logger.texts('warn').join('\n');
    expect(warnings).toContain('durability asks for 2 replicas, and a master has 1');
    expect(warnings).toContain('durability.fsync needs Redis 7.2');
    expectUnconfirmed(await opened.browser(app).post('/login/alice'));
  });

  it('a frozen master: in time, and nothing of it later', async () => {
    await boot();
    const { browser, name } = await user();
    master.signal('SIGSTOP');
    const since = performance.now();
    const answer = await opened.browser(app).post('/login/alice-too-late');
    const took = performance.now() - since;
    master.signal('SIGCONT');
    expect(answer.status).toBe(503);
    expect(took).toBeLessThan(atMost(1_000));
    await until('it works again', async () => (await browser.get('/me')).status === 200);
    expect((await browser.get('/me')).json).toEqual({ principal: name });
    expect(await service().forPrincipal('alice-too-late').count()).toBe(0);
  });
});

it('is for a store that needs it', async () => {
  const opened = new Opened();
  const session = { store: 'memory', durability: {} } as SessionModuleOptions;
  await expect(opened.app({ adapter: 'express', session })).rejects.toThrow(/answers for itself/);
});
