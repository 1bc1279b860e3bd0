import { Controller, Get, HttpCode, Param, Post, type Type } from '@nestjs/common';
import {
  Principal,
  RequireSession,
  Session,
  SessionService,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { SECRET, type TestApp } from '../support/app.js';
import type { Opened } from '../support/opened.js';
import type { HttpClient } from '../support/http-client.js';

@Controller()
class Shop {
  constructor(private readonly sessions: SessionService) {}

  @Post('login/:name') @HttpCode(200) async login(
    @Session() session: Session,
    @Param('name') name: string,
  ) {
    await session.authenticate(name);
    return { handle: session.handle };
  }

  @Post('cart/:what') @HttpCode(200) add(@Session() session: Session, @Param('what') what: string) {
    session.set('basket', [...((session.get('basket') as string[] | undefined) ?? []), what]);
  }

  @RequireSession() @Get('cart') cart(@Session() session: Session, @Principal() principal: string) {
    return { principal, basket: session.get('basket') ?? [] };
  }

  @Post('count') @HttpCode(200) count(@Session() session: Session) {
    return { n: session.increment('n') };
  }

  @Post('renew') @HttpCode(200) async renew(@Session() session: Session) {
    await session.regenerate();
  }

  @RequireSession() @Get('devices') async devices(@Principal() principal: string) {
    return { devices: (await this.sessions.forPrincipal(principal).list()).length };
  }

  @RequireSession() @Post('end-all') @HttpCode(200) async endAll(@Principal() principal: string) {
    return { ended: await this.sessions.forPrincipal(principal).revokeAll() };
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }
}

/** A shop whose users have carts and several devices. */
export const openShop = (
  opened: Opened,
  redis: string,
  more: SessionModuleOptions = {},
  providers: readonly Type[] = [],
) =>
  opened.app({
    adapter: 'express',
    controllers: [Shop],
    providers: [...providers],
    session: {
      // A machine that does other things as well may take its time.
      redis: { url: redis, commandTimeout: 10_000, socketTimeout: 21_000 },
      secret: SECRET,
      cookie: { secure: false },
      idleTimeout: '30m',
      touchAfter: 0,
      bootWithoutStore: true,
      ...more,
    },
  });

/** Somebody who has logged in over HTTP, and put something into their cart. */
export class Shopper {
  private constructor(
    readonly name: string,
    readonly browser: HttpClient,
    public handle: string,
  ) {}

  static async enter(browser: HttpClient, name: string): Promise<Shopper> {
    await browser.post('/cart/before-login');
    const { json } = await browser.post(`/login/${name}`);
    await browser.post(`/cart/of-${name}`);
    return new Shopper(name, browser, String(json.handle));
  }

  /** Whether they go on as if nothing had happened. */
  async isAsBefore(): Promise<boolean> {
    const { status, json } = await this.browser.get('/cart');
    const wanted = JSON.stringify({
      principal: this.name,
      basket: ['before-login', `of-${this.name}`],
    });
    return status === 200 && JSON.stringify(json) === wanted;
  }

  async devices(): Promise<number> {
    return Number((await this.browser.get('/devices')).json.devices);
  }
}

/** The name and value of the cookie that a session's client would have. */
export const cookieOf = (app: TestApp, browser: HttpClient, session: Session): [string, string] => {
  const [name = ''] = browser.jar.keys();
  return [name, app.app.get(SessionService).tokenOf(session)];
};
