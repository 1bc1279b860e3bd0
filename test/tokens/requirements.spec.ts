import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, UseGuards } from '@nestjs/common';
import { APP_GUARD } from '@nestjs/core';
import {
  AllowAnonymous,
  RequireAssurance,
  RequireFactor,
  RequireFresh,
  RequirePermission,
  RequireRole,
  RequireSession,
  SessionGuard,
  SkipSession,
} from 'nestjs-distributed-session';
import {
  JwksModule,
  JwtIssuer,
  JwtSessionGuard,
  JwtSessionModule,
  TokenPrincipal,
  type SessionTokenClaims,
} from 'nestjs-distributed-session/jwt';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { ADAPTERS, startApp, type TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { bearer, ISSUER, newKey, ORDERS, startOrders } from './shop.js';

const clock = new FakeClock();
const issuer = new JwtIssuer({ issuer: ISSUER, keys: newKey() });

/** `JwtSessionGuard` stands wherever it likes, or not at all: what is required is judged by the token. */
@Controller()
class Orders {
  @RequireSession() @Get('any') any(@TokenPrincipal() sub: string) {
    return { sub };
  }
  @UseGuards(JwtSessionGuard) @RequireRole('admin') @Get('role') role() {
    return {};
  }
  @RequireRole({ any: ['admin', 'buyer'] }) @UseGuards(JwtSessionGuard) @Get('roles') roles() {
    return {};
  }
  @RequirePermission('orders:write') @Get('permission') permission() {
    return {};
  }
  @RequireFresh('5m') @Get('fresh') fresh() {
    return {};
  }
  @RequireFactor('otp', { within: '5m' }) @Get('factor') factor() {
    return {};
  }
  @RequireAssurance(2) @Get('assurance') assurance() {
    return {};
  }
  @RequireRole('admin') @RequireAssurance(2) @Get('both') both() {
    return {};
  }
}

@RequireRole('admin')
@Controller('staff')
class Staff {
  @Get() all() {
    return {};
  }
  @AllowAnonymous() @Get('open') open(@TokenPrincipal() sub?: string) {
    return { sub: sub ?? null };
  }
}

class WithoutBob extends JwtSessionGuard {
  protected override isAllowed({ sub }: SessionTokenClaims): boolean {
    return sub !== 'bob';
  }
}

@UseGuards(WithoutBob)
@Controller('own')
class Own {
  @Get() all() {
    return {};
  }
}

/** In an application that has sessions of its own. */
@Controller()
class Mixed {
  @RequireRole('admin') @Get('session') session() {
    return {};
  }
  @SkipSession() @RequireRole('admin') @Get('token') token() {
    return {};
  }
  @SkipSession() @Get('health') health() {
    return {};
  }
}

const tokenOf = (more: object = {}) =>
  issuer.issue(
    {
      principal: 'alice',
      actor: undefined,
      roles: ['buyer'],
      permissions: [],
      factors: { pwd: clock.now() },
      authenticatedAt: clock.now(),
      assurance: 1,
      sid: 'session',
      realm: undefined,
      ...more,
    },
    { audience: [ORDERS], issuedAt: clock.now(), expiresAt: clock.now() + 3_600_000 },
  );

describe.each(ADAPTERS)('what routes require, by a token, on %s', (adapter) => {
  let orders: TestApp;
  let client: HttpClient;

  beforeAll(async () => {
    const jwks = await issuer.jwks();
    const controllers = [Orders, Staff, Own];
    orders = await startOrders({ adapter, controllers }, { jwks, clock });
    client = new HttpClient(orders.port);
  });

  afterAll(async () => {
    client.close();
    await orders.close();
  });

  const get = async (path: string, more?: object) => {
    const { status, headers, json } = await client.get(path, bearer(await tokenOf(more)));
    return { status, code: json.code, challenge: headers['www-authenticate'], json };
  };
  const old = () => clock.now() - 301_000;

  it.each<[string, object]>([
    ['/any', {}],
    ['/role', { roles: ['admin'] }],
    ['/roles', { roles: ['buyer'] }],
    ['/permission', { permissions: ['orders:write'] }],
    ['/fresh', {}],
    ['/factor', { factors: { otp: clock.now() } }],
    ['/assurance', { assurance: 2 }],
    ['/assurance', { assurance: 3 }],
    ['/both', { assurance: 2, roles: ['admin'] }],
    ['/staff', { roles: ['admin'] }],
    ['/staff/open', {}],
    ['/own', {}],
  ])('lets %s pass with %j', async (path, more) => {
    expect((await get(path, more)).status).toBe(200);
  });

  it.each(['/any', '/role', '/roles', '/permission', '/fresh', '/factor', '/assurance', '/staff'])(
    'asks for a token on %s',
    async (path) => {
      const { status, headers } = await client.get(path);
      expect([status, headers['www-authenticate']]).toEqual([401, 'Bearer']);
    },
  );

  it.each<[string, object]>([
    ['/role', { roles: ['buyer'] }],
    ['/roles', { roles: ['guest'] }],
    ['/permission', { permissions: ['orders:read'] }],
    ['/both', { assurance: 1, roles: ['buyer'] }],
    ['/both', { assurance: 2, roles: ['buyer'] }],
    ['/staff', {}],
    ['/own', { principal: 'bob' }],
  ])('answers 403 on %s with %j', async (path, more) => {
    expect(await get(path, more)).toMatchObject({
      status: 403,
      code: 'SESSION_FORBIDDEN',
      challenge: 'Bearer error="insufficient_scope"',
    });
  });

  it.each<[string, object, string]>([
    ['/fresh', { authenticatedAt: old() }, 'max_age="300"'],
    ['/factor', { factors: { otp: old() } }, 'max_age="300", factor="otp"'],
    ['/assurance', {}, 'acr_values="aal2"'],
    ['/both', { roles: ['admin'] }, 'acr_values="aal2"'],
  ])('asks for more proof on %s with %j', async (path, more, asked) => {
    expect(await get(path, more)).toMatchObject({
      status: 401,
      code: 'SESSION_STEP_UP_REQUIRED',
      challenge: `Bearer error="insufficient_user_authentication", ${asked}`,
    });
  });

  it('lets everybody pass where a method says so against its class', async () => {
    const { status, json } = await client.get('/staff/open');
    expect([status, json]).toEqual([200, { sub: null }]);
  });

  it('stands before everything as APP_GUARD', async () => {
    const app = await startApp({
      adapter,
      imports: [
        JwtSessionModule.forRoot({
          issuer: ISSUER,
          audience: ORDERS,
          jwks: await issuer.jwks(),
          clock,
        }),
        JwksModule.forRoot({ issuer }),
      ],
      controllers: [Orders, Staff],
      providers: [{ provide: APP_GUARD, useClass: JwtSessionGuard }],
    });
    const everywhere = new HttpClient(app.port);
    const token = bearer(await tokenOf());
    const statuses = await Promise.all(
      [
        everywhere.get('/role', token),
        everywhere.get('/roles', token),
        everywhere.get('/staff/open'),
        everywhere.get('/.well-known/jwks.json'),
      ].map(async (answer) => (await answer).status),
    );
    expect(statuses).toEqual([403, 200, 200, 200]);
    everywhere.close();
    await app.close();
  });

  it('is judged by the session where there is one, by the token where a route has none', async () => {
    const app = await startApp({
      adapter,
      session: { store: 'memory', clock },
      imports: [
        JwtSessionModule.forRoot({
          issuer: ISSUER,
          audience: ORDERS,
          jwks: await issuer.jwks(),
          clock,
        }),
      ],
      controllers: [Mixed],
      providers: [{ provide: APP_GUARD, useClass: SessionGuard }],
    });
    const both = new HttpClient(app.port);
    const token = bearer(await tokenOf({ roles: ['admin'] }));
    const bySession = await both.get('/session', token);
    expect([bySession.status, bySession.headers['www-authenticate']]).toEqual([
      401,
      'Session error="login_required"',
    ]);
    expect((await both.get('/token', token)).status).toBe(200);
    expect((await both.get('/token')).status).toBe(401);
    expect((await both.get('/health')).status).toBe(200);
    both.close();
    await app.close();
  });
});
