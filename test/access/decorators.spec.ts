import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import {
  Body,
  Controller,
  ForbiddenException,
  Get,
  HttpCode,
  Injectable,
  NotFoundException,
  Post,
  UseGuards,
  type CanActivate,
  type Type,
} from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import {
  AllowAnonymous,
  RequireAssurance,
  RequireFactor,
  RequireFresh,
  RequirePermission,
  RequireRole,
  RequireSession,
  Session,
  SessionForbiddenError,
  SessionGuard,
  SessionRequiredError,
  SessionStepUpError,
  SkipSession,
  type AuthenticateOptions,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, type TestApp, type TestAppOptions } from '../support/app.js';
import { type HttpClient, type Answer } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { clientFor, startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

const OK = { ok: true };

/** Logs in, proves factors, and works with the session; open also behind a guard for everything. */
@AllowAnonymous()
@Controller()
class Desk {
  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name, ...options }: AuthenticateOptions & { name: string },
  ) {
    await session.authenticate(name, options);
  }

  @Post('elevate') @HttpCode(200) async elevate(
    @Session() session: Session,
    @Body() { factor }: { factor: string },
  ) {
    await session.elevate(factor);
  }

  @Post('work') @HttpCode(200) work(@Session() session: Session) {
    session.increment('works');
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal };
  }
}

/** The same doors, by roles and by permissions. */
function doorsBy(Require: typeof RequireRole | typeof RequirePermission): Type {
  @Controller('doors')
  class Doors {
    @Require('a') @Get('one') one() {
      return OK;
    }
    @Require('a', 'b') @Get('several') several() {
      return OK;
    }
    @Require({ all: ['a', 'b'] }) @Get('all') all() {
      return OK;
    }
    @Require({ any: ['a', 'b'] }) @Get('any') any() {
      return OK;
    }
  }
  return Doors;
}

@Controller('proof')
class Proofs {
  @RequireFresh('5m') @Get('fresh') fresh() {
    return OK;
  }
  @RequireFactor('otp') @Get('otp') otp() {
    return OK;
  }
  @RequireFactor(['otp', 'hwk']) @Get('otp-or-hwk') either() {
    return OK;
  }
  @RequireFactor('otp', { within: '5m' }) @Get('otp-lately') lately() {
    return OK;
  }
  @RequireFactor(['otp', 'hwk'], { within: 90_000 }) @Get('either-lately') eitherLately() {
    return OK;
  }
  @RequireAssurance(1) @Get('aal1') aal1() {
    return OK;
  }
  @RequireAssurance(2) @Get('aal2') aal2() {
    return OK;
  }
  @RequireAssurance(3) @Get('aal3') aal3() {
    return OK;
  }
}

@RequireRole('staff')
@Controller('shop')
class Shop {
  @Get('plain') plain() {
    return OK;
  }
  @RequireRole('boss') @Get('boss') boss() {
    return OK;
  }
  @RequirePermission('refund') @RequireFactor('otp') @Get('refund') refund() {
    return OK;
  }
  @RequireFresh('1m') @Get('fresh') fresh() {
    return OK;
  }
  @AllowAnonymous() @Get('open') open() {
    return OK;
  }
}

/** What a refusal tells a program. */
const refusalOf = ({ status, headers, json }: Answer) => ({
  status,
  challenge: headers['www-authenticate'],
  body: json,
});

const unauthenticated = {
  status: 401,
  challenge: 'Session error="login_required"',
  body: {
    statusCode: 401,
    code: 'SESSION_REQUIRED',
    error: 'Unauthorized',
    message: 'This needs an authenticated session: log in first.',
  },
};
const forbidden = {
  status: 403,
  challenge: undefined,
  body: {
    statusCode: 403,
    code: 'SESSION_FORBIDDEN',
    error: 'Forbidden',
    message: 'The session is not allowed to do this.',
  },
};
const stepUp = (asked: object, parameters: string, message: string) => ({
  status: 401,
  challenge: `Session error="insufficient_user_authentication", ${parameters}`,
  body: {
    statusCode: 401,
    code: 'SESSION_STEP_UP_REQUIRED',
    error: 'Unauthorized',
    message,
    stepUp: asked,
  },
});

describe.each(ADAPTERS)('what decorators require, on %s', (adapter) => {
  const clock = new FakeClock();
  const opened = new Opened();

  const start = async (options: Partial<TestAppOptions> = {}): Promise<TestApp> => {
    const { session, controllers = [], ...others } = options;
    return opened.app({
      adapter,
      session: { store: 'memory', clock, ...session },
      controllers: [Desk, ...controllers],
      ...others,
    });
  };
  /** A browser in front of an application of its own. */
  const visit = async (options: Partial<TestAppOptions> = {}) => {
    return opened.browser(await start(options));
  };
  const login = async (client: HttpClient, options: AuthenticateOptions & { name?: string } = {}) =>
    expect((await client.post('/login', { json: { name: 'alice', ...options } })).status).toBe(200);
  const statusesOf = async (client: HttpClient, paths: readonly string[]) => {
    const statuses: Record<string, number> = {};
    for (const path of paths) statuses[path] = (await client.get(path)).status;
    return statuses;
  };

  afterEach(opened.close);

  describe.each([
    ['roles', 'RequireRole', RequireRole],
    ['permissions', 'RequirePermission', RequirePermission],
  ] as const)('%s', (kind, name, Require) => {
    const paths = ['/doors/one', '/doors/several', '/doors/all', '/doors/any'];

    it.each<[string[], number[]]>([
      [[], [403, 403, 403, 403]],
      [['a'], [200, 403, 403, 200]],
      [['b'], [403, 403, 403, 200]],
      [
        ['b', 'a', 'c'],
        [200, 200, 200, 200],
      ],
      [
        ['A', 'aa', 'a b', '*', 'constructor'],
        [403, 403, 403, 403],
      ],
    ])('%j open exactly what asks for no more', async (owned, statuses) => {
      const client = await visit({ controllers: [doorsBy(Require)] });
      await login(client, { [kind]: owned });
      expect(Object.values(await statusesOf(client, paths))).toEqual(statuses);
    });

    it('of the other kind, or of the login before, open nothing', async () => {
      const client = await visit({ controllers: [doorsBy(Require)] });
      const other = kind === 'roles' ? 'permissions' : 'roles';
      await login(client, { [other]: ['a', 'b'] });
      expect(Object.values(await statusesOf(client, paths))).toEqual([403, 403, 403, 403]);
      await login(client, { [kind]: ['a', 'b'] });
      expect((await client.get('/doors/all')).status).toBe(200);
      await login(client);
      expect(Object.values(await statusesOf(client, paths))).toEqual([403, 403, 403, 403]);
    });

    it('refuse with 401 and a challenge who is nobody, with 403 and none who is somebody', async () => {
      const client = await visit({ controllers: [doorsBy(Require)] });
      await client.post('/work');
      for (const path of paths) {
        expect(refusalOf(await client.get(path))).toEqual(unauthenticated);
      }
      await login(client);
      for (const path of paths) expect(refusalOf(await client.get(path))).toEqual(forbidden);
    });

    it.each<[string, unknown[]]>([
      ['nothing', []],
      ['an empty name', ['']],
      ['an empty name among others', ['a', '']],
      ['no string', [1]],
      ['null', [null]],
      ['a list', [['a']]],
      ['an empty object', [{}]],
      ['any of none', [{ any: [] }]],
      ['all of none', [{ all: [] }]],
      ['any of an empty name', [{ any: [''] }]],
      ['any of a string', [{ any: 'ab' }]],
      ['any and all at once', [{ any: ['a'], all: ['b'] }]],
      ['an object and a name', [{ any: ['a'] }, 'b']],
      ['a name and an object', ['a', { any: ['b'] }]],
    ])('are refused where the decorator stands, if they are %s', (_, given) => {
      const decorate = () => (Require as (...args: unknown[]) => unknown)(...given);
      expect(decorate).toThrow(TypeError);
      expect(decorate).toThrow(`@${name}`);
    });
  });

  it.each<[string, () => unknown, string]>([
    ['RequireFresh: no duration', () => RequireFresh('soon' as never), '@RequireFresh'],
    ['RequireFresh: nothing', () => RequireFresh(undefined as never), '@RequireFresh'],
    ['RequireFresh: zero', () => RequireFresh(0), '@RequireFresh'],
    ['RequireFresh: below zero', () => RequireFresh(-1), '@RequireFresh'],
    ['RequireFresh: no number', () => RequireFresh(Number.NaN), '@RequireFresh'],
    ['RequireFactor: nothing', () => RequireFactor(undefined as never), '@RequireFactor'],
    ['RequireFactor: an empty name', () => RequireFactor(''), '@RequireFactor'],
    ['RequireFactor: an empty list', () => RequireFactor([]), '@RequireFactor'],
    ['RequireFactor: no string', () => RequireFactor(['otp', 1 as never]), '@RequireFactor'],
    [
      'RequireFactor: no duration',
      () => RequireFactor('otp', { within: '5 minutes' as never }),
      '@RequireFactor',
    ],
    ['RequireFactor: no time', () => RequireFactor('otp', { within: 0 }), '@RequireFactor'],
    ['RequireAssurance: 0', () => RequireAssurance(0 as never), '@RequireAssurance'],
    ['RequireAssurance: 4', () => RequireAssurance(4 as never), '@RequireAssurance'],
    ['RequireAssurance: a string', () => RequireAssurance('2' as never), '@RequireAssurance'],
  ])('a wrong argument is refused where the decorator stands: %s', (_, decorate, told) => {
    expect(decorate).toThrow(TypeError);
    expect(decorate).toThrow(told);
  });

  it('RequireSession lets whoever is logged in pass, and challenges all others', async () => {
    const client = await visit();
    expect(refusalOf(await client.get('/me'))).toEqual(unauthenticated);
    await client.post('/work');
    expect(refusalOf(await client.get('/me'))).toEqual(unauthenticated);
    await login(client);
    expect((await client.get('/me')).json).toEqual({ principal: 'alice' });
    clock.advance('31m');
    expect(refusalOf(await client.get('/me'))).toEqual(unauthenticated);
    expect(client.jar.size).toBe(0);
  });

  describe('RequireFresh', () => {
    const stale = stepUp(
      { maxAge: 300 },
      'max_age="300"',
      'This needs a login within the last 5m: log in again.',
    );

    it('goes by the last login: neither activity nor a further factor renews it', async () => {
      const client = await visit({ controllers: [Proofs] });
      expect(refusalOf(await client.get('/proof/fresh'))).toEqual(unauthenticated);
      await login(client);
      for (let minute = 0; minute < 5; minute++) {
        expect((await client.get('/proof/fresh')).status).toBe(200);
        clock.advance('1m');
        await client.post('/work');
      }
      expect((await client.get('/proof/fresh')).status).toBe(200);
      clock.advance(1);
      expect(refusalOf(await client.get('/proof/fresh'))).toEqual(stale);
      await client.post('/elevate', { json: { factor: 'otp' } });
      expect(refusalOf(await client.get('/proof/fresh'))).toEqual(stale);
      expect((await client.get('/me')).status).toBe(200);
      await login(client);
      expect((await client.get('/proof/fresh')).status).toBe(200);
    });

    it('takes no login for fresh that lies in the future by more than clocks differ', async () => {
      const client = await visit({ controllers: [Proofs] });
      await login(client);
      clock.advance(-60_000);
      expect((await client.get('/proof/fresh')).status).toBe(200);
      clock.advance(-1);
      expect(refusalOf(await client.get('/proof/fresh'))).toEqual(stale);
    });
  });

  describe('RequireFactor', () => {
    const missing = stepUp({ factors: ['otp'] }, 'factor="otp"', 'This needs a proof of otp.');
    const missingEither = stepUp(
      { factors: ['otp', 'hwk'] },
      'factor="otp hwk"',
      'This needs a proof of otp or hwk.',
    );

    it('lets any of its factors do, from the login or later', async () => {
      const client = await visit({ controllers: [Proofs] });
      const paths = ['/proof/otp', '/proof/otp-or-hwk'];
      expect(refusalOf(await client.get('/proof/otp'))).toEqual(unauthenticated);
      await login(client, { factors: ['pwd'] });
      expect(refusalOf(await client.get('/proof/otp'))).toEqual(missing);
      expect(refusalOf(await client.get('/proof/otp-or-hwk'))).toEqual(missingEither);

      await client.post('/elevate', { json: { factor: 'hwk' } });
      expect(Object.values(await statusesOf(client, paths))).toEqual([401, 200]);
      await client.post('/elevate', { json: { factor: 'otp' } });
      expect(Object.values(await statusesOf(client, paths))).toEqual([200, 200]);
      clock.advance('29m');
      expect(Object.values(await statusesOf(client, paths))).toEqual([200, 200]);

      await login(client, { factors: ['pwd', 'hwk'] });
      expect(Object.values(await statusesOf(client, paths))).toEqual([401, 200]);
      await login(client, { factors: ['pwd'] });
      expect(Object.values(await statusesOf(client, paths))).toEqual([401, 401]);
    });

    it('asks for a proof within a time, which activity does not renew', async () => {
      const client = await visit({ controllers: [Proofs] });
      const lately = stepUp(
        { factors: ['otp'], maxAge: 300 },
        'max_age="300", factor="otp"',
        'This needs a proof of otp within the last 5m.',
      );
      await login(client, { factors: ['pwd', 'otp'] });
      clock.advance('5m');
      expect((await client.get('/proof/otp-lately')).status).toBe(200);
      await client.post('/work');
      clock.advance(1);
      expect(refusalOf(await client.get('/proof/otp-lately'))).toEqual(lately);
      expect((await client.get('/proof/otp')).status).toBe(200);
      // Another factor is no proof of this one.
      await client.post('/elevate', { json: { factor: 'hwk' } });
      expect(refusalOf(await client.get('/proof/otp-lately'))).toEqual(lately);
      expect((await client.get('/proof/either-lately')).status).toBe(200);
      await client.post('/elevate', { json: { factor: 'otp' } });
      expect((await client.get('/proof/otp-lately')).status).toBe(200);
      clock.advance(90_001);
      expect(refusalOf(await client.get('/proof/either-lately'))).toEqual(
        stepUp(
          { factors: ['otp', 'hwk'], maxAge: 90 },
          'max_age="90", factor="otp hwk"',
          'This needs a proof of otp or hwk within the last 90s.',
        ),
      );
    });

    it('is not met by a name that every object has', async () => {
      @Controller('odd')
      class Odd {
        @RequireFactor('constructor') @Get() odd() {
          return OK;
        }
      }
      const client = await visit({ controllers: [Odd] });
      await login(client, { factors: ['pwd'] });
      expect((await client.get('/odd')).status).toBe(401);
    });
  });

  describe('RequireAssurance', () => {
    const paths = ['/proof/aal1', '/proof/aal2', '/proof/aal3'];

    it.each<[string[], number]>([
      [[], 1],
      [['pwd'], 1],
      [['otp'], 1],
      [['pwd', 'pin'], 1],
      [['otp', 'sms', 'hwk'], 1],
      [['pwd', 'something of our own'], 1],
      [['pwd', 'otp'], 2],
      [['pin', 'fpt'], 2],
      [['mfa'], 2],
      [['pwd', 'hwk'], 3],
      [['sc', 'pin'], 3],
    ])('takes %j for level %i', async (factors, level) => {
      const client = await visit({ controllers: [Proofs] });
      await login(client, { factors });
      expect(Object.values(await statusesOf(client, paths))).toEqual(
        [1, 2, 3].map((asked) => (asked <= level ? 200 : 401)),
      );
    });

    it('says which level is missing, and is met step by step', async () => {
      const client = await visit({ controllers: [Proofs] });
      for (const path of paths) {
        expect(refusalOf(await client.get(path))).toEqual(unauthenticated);
      }
      await login(client, { factors: ['pwd'] });
      for (const level of [2, 3]) {
        expect(refusalOf(await client.get(`/proof/aal${level}`))).toEqual(
          stepUp(
            { assurance: level },
            `acr_values="aal${level}"`,
            `This needs assurance level ${level}: prove a further factor.`,
          ),
        );
      }
      await client.post('/elevate', { json: { factor: 'otp' } });
      expect(Object.values(await statusesOf(client, paths))).toEqual([200, 200, 401]);
      await client.post('/elevate', { json: { factor: 'hwk' } });
      expect(Object.values(await statusesOf(client, paths))).toEqual([200, 200, 200]);
    });

    it("goes by the application's own levels", async () => {
      const assurance = (factors: readonly string[]) => (factors.includes('badge') ? 3 : 1);
      const client = await visit({ controllers: [Proofs], session: { assurance } });
      await login(client, { factors: ['pwd', 'hwk'] });
      expect(Object.values(await statusesOf(client, paths))).toEqual([200, 401, 401]);
      await login(client, { factors: ['badge'] });
      expect(Object.values(await statusesOf(client, paths))).toEqual([200, 200, 200]);
    });
  });

  describe('of a class and of its method', () => {
    it('both count, and all of several on one', async () => {
      const client = await visit({ controllers: [Shop] });
      const paths = ['/shop/plain', '/shop/boss', '/shop/refund'];
      const all = async () => Object.values(await statusesOf(client, paths));
      expect(await all()).toEqual([401, 401, 401]);
      await login(client, { roles: ['boss'], permissions: ['refund'], factors: ['otp'] });
      expect(await all()).toEqual([403, 403, 403]);
      await login(client, { roles: ['staff'], factors: ['otp'] });
      expect(await all()).toEqual([200, 403, 403]);
      await login(client, { roles: ['staff', 'boss'], permissions: ['refund'] });
      expect(await all()).toEqual([200, 200, 401]);
      await login(client, { roles: ['staff'], permissions: ['refund'], factors: ['otp'] });
      expect(await all()).toEqual([200, 403, 200]);
    });

    it('AllowAnonymous of a method opens it whatever its class says', async () => {
      const client = await visit({ controllers: [Shop] });
      expect((await client.get('/shop/open')).status).toBe(200);
      await login(client);
      expect((await client.get('/shop/open')).status).toBe(200);
      expect((await client.get('/shop/plain')).status).toBe(403);
    });

    it('SkipSession of a method opens it where its class asks for nothing but a login', async () => {
      @RequireSession()
      @Controller('members')
      class Members {
        @Get('closed') closed() {
          return OK;
        }
        @SkipSession() @Get('skipped') skipped() {
          return OK;
        }
      }
      const client = await visit({ controllers: [Members] });
      const paths = ['/members/closed', '/members/skipped'];
      expect(Object.values(await statusesOf(client, paths))).toEqual([401, 200]);
      await login(client);
      expect(Object.values(await statusesOf(client, paths))).toEqual([200, 200]);
    });

    it('what a method requires holds whatever its class opens', async () => {
      @AllowAnonymous()
      @Controller('public')
      class Public {
        @Get('open') open() {
          return OK;
        }
        @RequireRole('staff') @Get('closed') closed() {
          return OK;
        }
      }
      @SkipSession()
      @Controller('without')
      class Without {
        @Get('open') open() {
          return OK;
        }
        @RequireRole('staff') @Get('closed') closed() {
          return OK;
        }
        @RequireSession() @Get('somebody') somebody() {
          return OK;
        }
      }
      const client = await visit({ controllers: [Public, Without] });
      const paths = ['/public/open', '/public/closed', '/without/open'];
      expect(Object.values(await statusesOf(client, paths))).toEqual([200, 401, 200]);
      await login(client);
      expect(Object.values(await statusesOf(client, paths))).toEqual([200, 403, 200]);
      for (const path of ['/without/closed', '/without/somebody']) {
        const answer = await client.get(path);
        expect([path, answer.status]).toEqual([path, 500]);
        expect(answer.json).toMatchObject({ code: 'SESSION_UNAVAILABLE' });
      }
    });

    it('SkipSession beside a requirement is an error that is logged, and never open', async () => {
      @Controller('odd')
      class Odd {
        @SkipSession() @RequireRole('staff') @Get('above') above() {
          return OK;
        }
        @RequireRole('staff') @SkipSession() @Get('below') below() {
          return OK;
        }
        @SkipSession() @RequireFresh('5m') @Get('fresh') fresh() {
          return OK;
        }
        @SkipSession() @RequireSession() @Get('session') session() {
          return OK;
        }
        @RequireSession() @SkipSession() @Get('session-above') sessionAbove() {
          return OK;
        }
      }
      @RequireRole('staff')
      @Controller('odd-method')
      class OddMethod {
        @SkipSession() @Get() odd() {
          return OK;
        }
      }
      @RequireRole('staff')
      @SkipSession()
      @Controller('odd-class')
      class OddClass {
        @Get() odd() {
          return OK;
        }
      }
      const running = await start({ controllers: [Odd, OddClass, OddMethod] });
      const client = opened.browser(running);
      const paths = ['above', 'below', 'fresh', 'session', 'session-above'];
      const all = ['/odd-class', '/odd-method', ...paths.map((path) => `/odd/${path}`)];
      const refusals = Object.fromEntries(all.map((path) => [path, 500]));
      expect(await statusesOf(client, all)).toEqual(refusals);
      await login(client, { roles: ['staff'] });
      expect(await statusesOf(client, all)).toEqual(refusals);
      expect((await client.get('/odd/above')).json).toEqual({
        statusCode: 500,
        code: 'SESSION_UNAVAILABLE',
        error: 'Internal Server Error',
        message: 'Internal server error',
      });
      expect(running.logger.texts('error').join()).toContain('@SkipSession()');
    });

    it('AllowAnonymous beside a requirement does not lift it, in either order', async () => {
      @Controller('odd')
      class Odd {
        @AllowAnonymous() @RequireRole('staff') @Get('above') above() {
          return OK;
        }
        @RequireRole('staff') @AllowAnonymous() @Get('below') below() {
          return OK;
        }
      }
      @AllowAnonymous()
      @RequireRole('staff')
      @Controller('odd-class')
      class OddClass {
        @Get() odd() {
          return OK;
        }
      }
      const client = await visit({ controllers: [Odd, OddClass] });
      const paths = ['/odd/above', '/odd/below', '/odd-class'];
      expect(Object.values(await statusesOf(client, paths))).toEqual([401, 401, 401]);
      await login(client);
      expect(Object.values(await statusesOf(client, paths))).toEqual([403, 403, 403]);
      await login(client, { roles: ['staff'] });
      expect(Object.values(await statusesOf(client, paths))).toEqual([200, 200, 200]);
    });

    it('hold in controllers that inherit, which may only add to them', async () => {
      @RequireRole('staff')
      class Base {
        @Get('plain') plain() {
          return OK;
        }
        @RequirePermission('refund') @Get('refund') refund() {
          return OK;
        }
        @AllowAnonymous() @Get('open') open() {
          return OK;
        }
      }
      @Controller('heir')
      class Heir extends Base {}
      @RequireRole('boss')
      @Controller('stricter')
      class Stricter extends Base {
        @Get('own') own() {
          return OK;
        }
      }
      const client = await visit({ controllers: [Stricter, Heir] });
      const ofHeir = ['/heir/plain', '/heir/refund', '/heir/open'];
      const ofStricter = ['plain', 'refund', 'open', 'own'].map((path) => `/stricter/${path}`);
      const paths = [...ofHeir, ...ofStricter];
      const all = async () => Object.values(await statusesOf(client, paths));
      expect(await all()).toEqual([401, 401, 200, 401, 401, 200, 401]);
      await login(client, { roles: ['boss'], permissions: ['refund'] });
      expect(await all()).toEqual([403, 403, 200, 403, 403, 200, 403]);
      await login(client, { roles: ['staff'] });
      expect(await all()).toEqual([200, 403, 200, 403, 403, 200, 403]);
      await login(client, { roles: ['staff', 'boss'] });
      expect(await all()).toEqual([200, 403, 200, 200, 403, 200, 200]);
      await login(client, { roles: ['staff', 'boss'], permissions: ['refund'] });
      expect(await all()).toEqual([200, 200, 200, 200, 200, 200, 200]);
    });
  });

  it('who may not do it is told so at once, and not asked to prove more first', async () => {
    @Controller('both')
    class Both {
      @RequireFresh('1m') @RequireRole('staff') @Get('role') role() {
        return OK;
      }
      @RequirePermission('refund') @RequireFactor('otp') @Get('permission') permission() {
        return OK;
      }
      @RequireAssurance(3) @Get('policy') policy() {
        return OK;
      }
    }
    const client = await visit({
      controllers: [Both, Shop],
      session: { policy: (session) => session.roles.includes('staff') },
    });
    const paths = ['/both/role', '/both/permission', '/both/policy', '/shop/fresh'];
    await login(client);
    clock.advance('2m');
    for (const path of paths) expect(refusalOf(await client.get(path))).toEqual(forbidden);
    await login(client, { roles: ['staff'], permissions: ['refund'] });
    clock.advance('2m');
    for (const path of paths) {
      const { status, json } = await client.get(path);
      expect([path, status, json.code]).toEqual([path, 401, 'SESSION_STEP_UP_REQUIRED']);
    }
  });

  describe('the option policy', () => {
    it('is asked about the session and the route, and refuses with 403', async () => {
      @RequireSession()
      @Controller('rooms')
      class Rooms {
        @Get('of-alice') ofAlice() {
          return OK;
        }
        @Get('of-bob') ofBob() {
          return OK;
        }
      }
      const client = await visit({
        controllers: [Rooms],
        session: {
          policy: async (session, context) => {
            await Promise.resolve();
            if (context.getClass() !== Rooms) return true;
            const { url } = context.switchToHttp().getRequest<{ url: string }>();
            return url.endsWith(`of-${session.principal}`);
          },
        },
      });
      expect(refusalOf(await client.get('/rooms/of-alice'))).toEqual(unauthenticated);
      await login(client);
      expect((await client.get('/rooms/of-alice')).status).toBe(200);
      expect(refusalOf(await client.get('/rooms/of-bob'))).toEqual(forbidden);
      await login(client, { name: 'bob' });
      expect((await client.get('/rooms/of-bob')).status).toBe(200);
      expect(refusalOf(await client.get('/rooms/of-alice'))).toEqual(forbidden);
    });

    it.each([
      ['undefined', () => undefined as unknown as boolean],
      ['a promise of undefined', async () => undefined as unknown as boolean],
      ['false', () => false],
      ['a promise of false', async () => false],
    ])('refuses where it answers %s', async (_, policy) => {
      const client = await visit({ session: { policy } });
      await login(client);
      expect(refusalOf(await client.get('/me'))).toEqual(forbidden);
    });

    it('may throw an answer of its own', async () => {
      const policy = () => {
        throw new ForbiddenException('not on Sundays');
      };
      const client = await visit({ session: { policy } });
      await login(client);
      const answer = await client.get('/me');
      expect(answer.status).toBe(403);
      expect(answer.json).toMatchObject({ message: 'not on Sundays' });
    });

    it('is asked once for each request, however many ask for the guard', async () => {
      const asked: string[] = [];
      @UseGuards(SessionGuard)
      @RequireRole('staff')
      @RequireSession()
      @Controller('guarded')
      class Guarded {
        @UseGuards(SessionGuard) @RequirePermission('refund') @RequireFresh('5m') @Get() get() {
          return OK;
        }
        @AllowAnonymous() @Get('open') open() {
          return OK;
        }
      }
      const client = await visit({
        controllers: [Guarded],
        session: {
          policy: (session, context) => {
            asked.push(`${session.principal} ${context.getHandler().name}`);
            return true;
          },
        },
      });
      await client.get('/guarded');
      expect(asked).toEqual([]);
      await login(client, { roles: ['staff'], permissions: ['refund'] });
      expect((await client.get('/guarded')).status).toBe(200);
      expect(asked.splice(0)).toEqual(['alice get']);
      expect((await client.get('/guarded')).status).toBe(200);
      expect((await client.get('/guarded/open')).status).toBe(200);
      expect(asked.splice(0)).toEqual(['alice get']);
      // Whoever lacks a role is refused without asking.
      await login(client);
      expect((await client.get('/guarded')).status).toBe(403);
      expect(asked).toEqual([]);
    });
  });

  describe('behind a guard for everything', () => {
    @Controller('anything')
    class Anything {
      @Get('closed') closed() {
        return OK;
      }
      @RequireRole('staff') @Get('staff') staff() {
        return OK;
      }
      @RequireFactor('otp') @Get('otp') otp() {
        return OK;
      }
      @AllowAnonymous() @Get('open') open() {
        return OK;
      }
      @SkipSession() @Get('skipped') skipped() {
        return OK;
      }
    }
    const paths = ['closed', 'staff', 'otp', 'open', 'skipped'].map((path) => `/anything/${path}`);

    it('decorators add to what it asks, and open what they name', async () => {
      const client = await visit({
        controllers: [Anything, Shop],
        providers: [{ provide: APP_GUARD, useClass: SessionGuard }],
      });
      const all = async () => Object.values(await statusesOf(client, paths));
      expect(await all()).toEqual([401, 401, 401, 200, 200]);
      expect((await client.get('/shop/open')).status).toBe(200);
      await login(client);
      expect(await all()).toEqual([200, 403, 401, 200, 200]);
      await login(client, { roles: ['staff'], factors: ['otp'] });
      expect(await all()).toEqual([200, 200, 200, 200, 200]);
      expect((await client.get('/shop/boss')).status).toBe(403);
    });

    it('a guard of the application that changes what counts, and the decorators, both judge', async () => {
      const client = await visit({
        controllers: [Anything],
        providers: [{ provide: APP_GUARD, useClass: EmployeesGuard }],
      });
      const all = async () => Object.values(await statusesOf(client, paths));
      expect(await all()).toEqual([401, 401, 401, 200, 200]);
      await login(client, { roles: ['staff'], factors: ['otp'] });
      expect(await all()).toEqual([404, 404, 404, 200, 200]);
      await login(client, { claims: { employee: true } });
      expect(await all()).toEqual([200, 404, 401, 200, 200]);
      await login(client, { claims: { employee: true }, roles: ['staff'], factors: ['otp'] });
      expect(await all()).toEqual([200, 200, 200, 200, 200]);
    });
  });

  describe('a guard of the application', () => {
    it('judges as SessionGuard does, but for what it overrides', async () => {
      @Controller('rooms')
      class Rooms {
        @UseGuards(EmployeesGuard) @Get('employees') employees() {
          return OK;
        }
        @UseGuards(EmployeesGuard) @RequireRole('staff') @Get('staff') staff() {
          return OK;
        }
        @UseGuards(RealGuard) @Get('real') real() {
          return OK;
        }
      }
      const client = await visit({ controllers: [Rooms] });
      for (const path of ['/rooms/employees', '/rooms/staff', '/rooms/real']) {
        expect(refusalOf(await client.get(path))).toEqual(unauthenticated);
      }
      await login(client, { roles: ['staff'] });
      expect((await client.get('/rooms/employees')).json).toMatchObject({
        message: 'no such room',
      });
      expect((await client.get('/rooms/real')).status).toBe(200);
      await login(client, { name: 'guest', claims: { employee: true } });
      expect((await client.get('/rooms/employees')).status).toBe(200);
      expect(refusalOf(await client.get('/rooms/staff'))).toEqual(forbidden);
      expect(refusalOf(await client.get('/rooms/real'))).toEqual(unauthenticated);
    });

    it.each<[string, Error, object]>([
      [
        'a step up',
        new SessionStepUpError('Over 1000 €: prove it.', { factors: ['otp'], maxAge: 60 }),
        stepUp(
          { factors: ['otp'], maxAge: 60 },
          'max_age="60", factor="otp"',
          'Over 1000 €: prove it.',
        ),
      ],
      ['a login', new SessionRequiredError(), unauthenticated],
      ['nothing', new SessionForbiddenError(), forbidden],
    ])('that refuses and asks for %s answers as ours does', async (_, error, refusal) => {
      @Injectable()
      class Own implements CanActivate {
        canActivate(): boolean {
          throw error;
        }
      }
      @Controller('own')
      class Rooms {
        @UseGuards(Own) @Get('guard') guard() {
          return OK;
        }
        @Get('handler') async handler(@Session() session: Session) {
          session.set('seen', true);
          throw error;
        }
      }
      const client = await visit({ controllers: [Rooms] });
      expect(refusalOf(await client.get('/own/guard'))).toEqual(refusal);
      expect(refusalOf(await client.get('/own/handler'))).toEqual(refusal);
    });
  });

  describe('in an outage', () => {
    let redis: RedisUnderTest;

    beforeAll(async () => {
      redis = await startRedis();
    });

    afterAll(() => redis.stop());

    it('everything that is required answers 503: no login is asked for, no cookie is taken away', async () => {
      const connection = await clientFor(redis, { retryStrategy: null });
      const client = await visit({
        controllers: [Proofs, Shop, doorsBy(RequireRole)],
        // With one the application would have made a connection like this one.
        session: { redis: connection, store: undefined, nearCache: false },
      });
      await login(client, { roles: ['staff', 'a'], factors: ['pwd', 'otp'] });
      const paths = ['/me', '/doors/one', '/proof/fresh', '/proof/otp', '/proof/aal2'];
      expect(new Set(Object.values(await statusesOf(client, paths)))).toEqual(new Set([200]));
      const jar = new Map(client.jar);
      connection.disconnect();
      for (const path of paths) {
        const answer = await client.get(path);
        expect([path, answer.status]).toEqual([path, 503]);
        expect(answer.json).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
        expect(answer.headers['www-authenticate']).toBeUndefined();
        expect(answer.headers['retry-after']).toBe('1');
        expect(answer.setCookie).toEqual([]);
      }
      expect(client.jar).toEqual(jar);
      expect((await client.get('/shop/open')).status).toBe(200);
    });
  });
});

@Injectable()
class EmployeesGuard extends SessionGuard {
  protected override isAllowed(session: Session): boolean {
    return session.claims.employee === true;
  }

  protected override refuseForbidden(): never {
    throw new NotFoundException('no such room');
  }
}

@Injectable()
class RealGuard extends SessionGuard {
  protected override isAuthenticated(session: Session): boolean {
    return session.principal !== undefined && session.principal !== 'guest';
  }
}
