import { Body, Controller, Get, Header, HttpCode, Post, UseGuards } from '@nestjs/common';
import { generateKeyPairSync, type KeyObject } from 'node:crypto';
import {
  AllowAnonymous,
  Session,
  type AuthenticateOptions,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import {
  JwksModule,
  JwtIssuer,
  JwtSessionGuard,
  JwtSessionModule,
  TokenClaims,
  TokenPrincipal,
  type JwtIssuerOptions,
  type JwtSessionOptions,
  type SessionTokenClaims,
} from 'nestjs-distributed-session/jwt';
import { startApp, type TestApp, type TestAppOptions } from '../support/app.js';

export const ISSUER = 'https://shop.example';
export const ORDERS = 'https://orders.example';

/** A private key as PEM. */
export const newKey = (kind: 'ed25519' | 'ec' | 'rsa' = 'ed25519', bits = 2_048): string => {
  const encoding = { type: 'pkcs8', format: 'pem' } as const;
  const { privateKey } =
    kind === 'ec'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : kind === 'rsa'
        ? generateKeyPairSync('rsa', { modulusLength: bits })
        : generateKeyPairSync('ed25519');
  return (privateKey as KeyObject).export(encoding) as string;
};

@Controller()
export class Shop {
  @Post('login') @HttpCode(204) async login(
    @Session() session: Session,
    @Body() { name, ...rest }: AuthenticateOptions & { name: string },
  ) {
    await session.authenticate(name, rest);
  }

  @Header('Cache-Control', 'no-store')
  @Post('token')
  @HttpCode(200)
  async token(
    @Session() session: Session,
    @Body() { before = [], ...options }: { before?: string[]; audience: string; ttl?: '1m' },
  ) {
    for (const step of before) {
      if (step === 'login') await session.authenticate('mallory');
      if (step === 'elevate') await session.elevate('otp');
      if (step === 'regenerate') await session.regenerate();
      if (step === 'destroy') await session.destroy();
      if (step === 'save') await session.save();
    }
    const token = await session.token(options);
    return { token, handle: session.handle };
  }

  /** By a method for which a copy would do. */
  @Get('token') async read(@Session() session: Session) {
    return { token: await session.token({ audience: ORDERS }) };
  }

  @Get('me') me(@Session() session: Session) {
    return { principal: session.principal };
  }

  @Post('step') @HttpCode(204) async step(
    @Session() session: Session,
    @Body() { what }: { what: 'elevate' | 'switch' | 'logout' },
  ) {
    if (what === 'elevate') await session.elevate('otp');
    if (what === 'switch') await session.switchPrincipal('bob', { roles: ['guest'] });
    if (what === 'logout') await session.destroy();
  }
}

@UseGuards(JwtSessionGuard)
@Controller()
export class Orders {
  @Get('orders') orders(
    @TokenPrincipal() principal: string,
    @TokenClaims() claims: SessionTokenClaims,
  ) {
    return { principal, claims };
  }

  @AllowAnonymous() @Get('open') open(@TokenPrincipal() principal?: string) {
    return { principal: principal ?? 'nobody' };
  }
}

/** Where sessions are, and tokens come from. */
export function startShop(
  options: Pick<TestAppOptions, 'adapter' | 'logger'>,
  session: SessionModuleOptions,
  issuing: Partial<JwtIssuerOptions> = {},
): Promise<TestApp & { issuer: JwtIssuer }> {
  const issuer = new JwtIssuer({ issuer: ISSUER, keys: newKey(), ...issuing });
  return startApp({
    ...options,
    session: { tokens: issuer, ...session },
    imports: [JwksModule.forRoot()],
    controllers: [Shop],
  }).then((app) => ({ ...app, issuer }));
}

/** A service that has nothing but the keys of the issuer. */
export function startOrders(
  options: Pick<TestAppOptions, 'adapter' | 'logger' | 'controllers'>,
  verifying: Pick<JwtSessionOptions, 'jwks'> & Partial<JwtSessionOptions>,
): Promise<TestApp> {
  return startApp({
    controllers: [Orders],
    ...options,
    imports: [JwtSessionModule.forRoot({ issuer: ISSUER, audience: ORDERS, ...verifying })],
  });
}

export const bearer = (token: unknown): { headers: Record<string, string> } => ({
  headers: { authorization: `Bearer ${String(token)}` },
});
