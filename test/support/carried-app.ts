import { Body, Controller, Get, HttpCode, Inject, Post, UseGuards } from '@nestjs/common';
import {
  CsrfToken,
  RequireFactor,
  RequireFresh,
  Session,
  SessionCsrfGuard,
  SessionGuard,
  SessionService,
  UseSession,
} from 'nestjs-distributed-session';
import type { Latch } from './app.js';
import { HttpClient, type Answer } from './http-client.js';

/** A small shop, as any application would write it: nothing in it knows where its sessions are. */
@Controller()
export class CarriedShop {
  /** Where a request of `/slow` waits. */
  static latch: Latch | undefined;

  constructor(@Inject(SessionService) private readonly sessions: SessionService) {}

  @Get('me') me(@Session() session: Session) {
    const { principal = null, roles, isNew } = session;
    return { principal, roles, isNew, id: session.handle, cart: session.get('cart') ?? [] };
  }

  @Get('nothing') nothing() {
    return {};
  }

  @Post('cart') @HttpCode(200) add(
    @Session() session: Session,
    @Body() item: { sku: string; qty: number },
  ) {
    const cart = session.get('cart') ?? [];
    session.set('cart', [...cart, item]);
    return { count: cart.length + 1 };
  }

  @Post('set') @HttpCode(200) set(@Session() session: Session, @Body() body: object) {
    for (const [name, value] of Object.entries(body)) session.set(name, value);
    return {};
  }

  @Post('unset') @HttpCode(200) unset(@Session() session: Session, @Body() body: object) {
    for (const name of Object.keys(body)) session.delete(name);
    return {};
  }

  @Post('slow') @HttpCode(200) async slow(@Session() session: Session) {
    await CarriedShop.latch?.wait();
    return { n: session.increment('n') };
  }

  @Post('slow-elevate') @HttpCode(204) async slowly(@Session() session: Session) {
    await CarriedShop.latch?.wait();
    await session.elevate('otp');
  }

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() body: { as?: string; rememberMe?: boolean; idpSession?: string } = {},
  ) {
    const { as = 'alice', ...how } = body ?? {};
    await session.authenticate(as, { roles: ['buyer'], factors: ['password'], ...how });
    return {};
  }

  @Post('logout') @HttpCode(204) logout(@Session() session: Session) {
    return session.destroy();
  }

  @Post('regenerate') @HttpCode(204) regenerate(@Session() session: Session) {
    return session.regenerate();
  }

  @Post('elevate') @HttpCode(204) elevate(@Session() session: Session) {
    return session.elevate('otp');
  }

  @Post('act') @HttpCode(204) act(@Session() session: Session) {
    return session.switchPrincipal('bob', { roles: ['buyer'] });
  }

  @Post('flash') @HttpCode(204) leave(@Session() session: Session) {
    session.flash('note', 'saved');
  }

  @Get('flash') take(@Session() session: Session) {
    return { notes: session.flash('note') };
  }

  @UseGuards(SessionGuard) @Get('private') private(@Session() session: Session) {
    return { principal: session.principal };
  }

  @UseGuards(SessionGuard) @RequireFactor('otp') @Get('vault') vault() {
    return {};
  }

  @UseGuards(SessionGuard) @RequireFresh('5m') @Get('fresh') fresh() {
    return {};
  }

  @Get('csrf') csrf(@CsrfToken() token: string) {
    return { token };
  }

  @UseGuards(SessionCsrfGuard) @Post('transfer') @HttpCode(204) transfer() {}

  @Post('revoke-all') @HttpCode(200) async revokeAll(@Body() { of }: { of: string }) {
    return { ended: await this.sessions.forPrincipal(of).revokeAll() };
  }

  @Post('revoke-others') @HttpCode(200) async revokeOthers(@Session() session: Session) {
    const { principal = '' } = session;
    return { ended: await this.sessions.forPrincipal(principal).revokeOthers(session) };
  }

  @Post('change-password') @HttpCode(200) async changePassword(@Session() session: Session) {
    await this.sessions.forPrincipal('alice').revokeAll();
    await session.authenticate('alice');
    return {};
  }

  @Get('names') names(@Session() session: Session) {
    const tried = [() => this.sessions.tokenOf(session), () => this.sessions.referenceOf(session)];
    return tried.map((name) => {
      try {
        return name();
      } catch (error) {
        return (error as Error).name;
      }
    });
  }

  @Post('revoke') @HttpCode(200) async revoke(@Body() { handle }: { handle: string }) {
    return { ended: await this.sessions.revoke(handle) };
  }
}

/** Sessions of another name. */
@UseSession('admin')
@Controller('admin')
export class CarriedAdmin {
  @Get('me') me(@Session() session: Session) {
    return { principal: session.principal ?? null };
  }

  @Post('slow-elevate') @HttpCode(204) async slowly(@Session() session: Session) {
    await CarriedShop.latch?.wait();
    await session.elevate('otp');
  }

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('root');
    return {};
  }
}

/** A browser, and what it says of itself. */
export class Browser extends HttpClient {
  login = (body: object = {}) => this.post('/login', { json: body });
  me = async () => (await this.get('/me')).json;
  principal = async () => (await this.me()).principal;

  /** The cookies as somebody who steals them has them. */
  stolen(): Browser {
    return new Browser(this.port, [...this.jar]);
  }

  /** All of the token, however many cookies it is in. */
  get token(): string {
    const [first = '', ...rest] = [...this.jar.values()];
    return first.replace(/^\d+\./, '') + rest.join('');
  }
}

/** The lengths of the cookies that an answer sets, attributes and all. */
export const cookieLengths = ({ setCookie }: Answer): number[] =>
  setCookie.map((line) => line.length);

/** Text that no compression makes shorter by much. */
export function noise(length: number, seed = 1): string {
  let state = seed;
  return Array.from({ length }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fff_ffff;
    return String.fromCharCode(33 + ((state >> 16) % 90));
  }).join('');
}
