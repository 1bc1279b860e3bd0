import {
  Body,
  Controller,
  Delete,
  Get,
  Header,
  NotFoundException,
  Param,
  Put,
} from '@nestjs/common';
import { RequireRole, SessionService, SessionSockets } from 'nestjs-distributed-session';
import { Users } from '../auth/users.js';
import { RolesDto } from './roles.dto.js';

/** What administrators see and do of other users. */
@RequireRole('admin')
@Controller('admin/users/:principal')
export class AdminController {
  constructor(
    private readonly users: Users,
    private readonly sessions: SessionService,
    private readonly sockets: SessionSockets,
  ) {}

  @Get('sessions')
  @Header('Cache-Control', 'no-store')
  async list(@Param('principal') principal: string) {
    return { sessions: await this.sessions.forPrincipal(principal).list() };
  }

  @Delete('sessions')
  async revoke(@Param('principal') principal: string) {
    // That they end is told by itself, but not by whom.
    await this.sockets.toPrincipal(principal).emit('ending', { by: 'by an administrator' });
    return { revoked: await this.sessions.forPrincipal(principal).revokeAll() };
  }

  /** First for logins to come, then for the sessions there are: none is left with the former roles. */
  @Put('roles')
  async setRoles(@Param('principal') principal: string, @Body() { roles }: RolesDto) {
    if (!this.users.update(principal, { roles })) {
      throw new NotFoundException({
        statusCode: 404,
        code: 'NO_SUCH_USER',
        message: 'There is no user with this name.',
      });
    }
    return { changed: await this.sessions.forPrincipal(principal).updateGrants({ roles }) };
  }
}
