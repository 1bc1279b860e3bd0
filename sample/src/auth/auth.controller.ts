import {
  Body,
  Controller,
  Get,
  Header,
  HttpCode,
  Post,
  UnauthorizedException,
} from '@nestjs/common';
import { RequireSession, Session } from 'nestjs-distributed-session';
import { LoginDto } from './login.dto.js';
import { Users } from './users.js';

@Controller('auth')
export class AuthController {
  constructor(private readonly users: Users) {}

  /** The cart of the anonymous visitor becomes the user's. */
  @Post('login')
  @HttpCode(200)
  async login(@Session() session: Session, @Body() { username, password }: LoginDto) {
    const user = await this.users.verify(username, password);
    if (!user) {
      throw new UnauthorizedException({
        statusCode: 401,
        code: 'LOGIN_FAILED',
        message: 'Wrong user name or password.',
      });
    }
    // What belongs to one user is not handed on to the next one at the same browser.
    if (session.principal !== undefined && session.principal !== user.name) session.clear();
    await session.authenticate(user.name, { roles: user.roles });
    return who(session);
  }

  @Post('logout')
  @HttpCode(204)
  async logout(@Session() session: Session) {
    await session.destroy();
  }

  @RequireSession()
  @Get('me')
  @Header('Cache-Control', 'no-store')
  me(@Session() session: Session) {
    return who(session);
  }
}

function who({ principal, roles }: Session) {
  return { principal, roles };
}
