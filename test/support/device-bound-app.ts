import { Controller, Get, HttpCode, Post } from '@nestjs/common';
import { Principal, RequireSession, Session } from 'nestjs-distributed-session';

/** An application whose sessions are bound to devices. */
@Controller()
export class DeviceController {
  @Get() page() {
    return 'a page';
  }

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('alice');
    return { principal: session.principal };
  }

  @Post('cart') @HttpCode(204) put(@Session() session: Session) {
    session.increment('items');
  }

  @Post('logout') @HttpCode(204) logout(@Session() session: Session) {
    return session.destroy();
  }

  @Post('regenerate') @HttpCode(204) regenerate(@Session() session: Session) {
    return session.regenerate();
  }

  @RequireSession() @Post('elevate') @HttpCode(204) elevate(@Session() session: Session) {
    return session.elevate('otp');
  }

  @RequireSession() @Get('me') me(@Session() session: Session, @Principal() principal: string) {
    return { principal, device: session.device ?? null };
  }

  @Get('open') open(@Session() session: Session) {
    const { principal = null, roles, device = null, handle } = session;
    return { principal, roles, device, handle, items: session.get('items') ?? 0 };
  }

  @Post('unguarded/elevate') async unguarded(@Session() session: Session) {
    await session.elevate('otp');
  }
}
