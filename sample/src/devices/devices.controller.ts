import {
  Body,
  Controller,
  Delete,
  Get,
  Header,
  HttpCode,
  NotFoundException,
  Param,
  Patch,
  Post,
} from '@nestjs/common';
import {
  PassiveSession,
  Principal,
  RequireSession,
  Session,
  SessionService,
} from 'nestjs-distributed-session';
import { LabelDto } from './label.dto.js';

/** Where a user is logged in. Handles name sessions and open none: they may stand in a page and in a URL. */
@RequireSession()
@Controller('devices')
export class DevicesController {
  constructor(private readonly sessions: SessionService) {}

  /** For polling, too: asking does not make the session last longer. */
  @PassiveSession()
  @Get()
  @Header('Cache-Control', 'no-store')
  async list(@Principal() principal: string) {
    return { devices: await this.sessions.forPrincipal(principal).list() };
  }

  @Delete(':handle')
  @HttpCode(204)
  async signOut(
    @Session() session: Session,
    @Principal() principal: string,
    @Param('handle') handle: string,
  ) {
    // Of the own session the cookie goes, too.
    if (handle === session.handle) return session.destroy();
    mustExist(await this.sessions.forPrincipal(principal).revoke(handle));
  }

  @Patch(':handle')
  @HttpCode(204)
  async name(
    @Principal() principal: string,
    @Param('handle') handle: string,
    @Body() { label }: LabelDto,
  ) {
    mustExist(await this.sessions.forPrincipal(principal).setLabel(handle, label));
  }

  /** To be offered after a change of the password or the like (OWASP ASVS 7.4.3). */
  @Post('revoke-others')
  @HttpCode(200)
  async signOutOthers(@Session() session: Session, @Principal() principal: string) {
    return { revoked: await this.sessions.forPrincipal(principal).revokeOthers(session) };
  }
}

/** Another user's device is as absent as one that nobody has. */
function mustExist(found: boolean): void {
  if (found) return;
  throw new NotFoundException({
    statusCode: 404,
    code: 'NO_SUCH_DEVICE',
    message: 'You have no device with this handle.',
  });
}
