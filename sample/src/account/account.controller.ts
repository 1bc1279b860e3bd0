import { Body, Controller, Get, Header, HttpCode, Post } from '@nestjs/common';
import {
  Principal,
  RequireFactor,
  RequireFresh,
  RequireSession,
  Session,
  SessionService,
} from 'nestjs-distributed-session';
import { Users } from '../auth/users.js';
import { EmailDto } from './email.dto.js';

/** What a stolen session alone must not be enough for. */
@Controller('account')
export class AccountController {
  constructor(
    private readonly users: Users,
    private readonly sessions: SessionService,
  ) {}

  @RequireSession()
  @Get()
  @Header('Cache-Control', 'no-store')
  show(@Principal() principal: string) {
    return { principal, email: this.users.find(principal)?.email ?? null };
  }

  /** Whoever reads the user's mail can take the account: the password must have been given lately. */
  @RequireFresh('5m')
  @Post('email')
  @HttpCode(200)
  changeEmail(@Principal() principal: string, @Body() { email }: EmailDto) {
    this.users.update(principal, { email });
    return { email };
  }

  /** A demo: the account stays, only its sessions end. */
  @RequireFactor('otp')
  @Post('delete')
  @HttpCode(200)
  async delete(@Session() session: Session, @Principal() principal: string) {
    await this.sessions.forPrincipal(principal).revokeAll();
    // This one has ended with them; its cookie goes, too.
    await session.destroy();
    return { deleted: true };
  }
}
