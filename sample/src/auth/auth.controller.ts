import {
  All,
  Body,
  Controller,
  Get,
  Header,
  HttpCode,
  HttpException,
  Post,
  UnauthorizedException,
} from '@nestjs/common';
import { Logout, Principal, RequireSession, Session } from 'nestjs-distributed-session';
import { ElevateDto } from './elevate.dto.js';
import { LoginDto } from './login.dto.js';
import { OneTimeCodes } from './one-time-codes.js';
import { Users } from './users.js';

@Controller('auth')
export class AuthController {
  constructor(
    private readonly users: Users,
    private readonly codes: OneTimeCodes,
  ) {}

  /** The cart of the anonymous visitor becomes the user's. */
  @Post('login')
  @HttpCode(200)
  async login(@Session() session: Session, @Body() login: LoginDto) {
    const user = await this.users.verify(login.username, login.password);
    if (!user) {
      throw new UnauthorizedException({
        statusCode: 401,
        code: 'LOGIN_FAILED',
        message: 'Wrong user name or password.',
      });
    }
    // What belongs to one user is not handed on to the next one at the same browser.
    if (session.principal !== undefined && session.principal !== user.name) session.clear();
    // Who logs in once more, as proof that it is them, stays remembered under the same name.
    const before = session.principal === user.name ? session : undefined;
    await session.authenticate(user.name, {
      roles: user.roles,
      factors: ['pwd'],
      rememberMe: login.rememberMe ?? before?.rememberMe,
      label: login.label ?? before?.label,
    });
    return who(session);
  }

  /** A further proof of who it is; what needs it asks for it by `@RequireFactor('otp')`. */
  @RequireSession()
  @Post('elevate')
  @HttpCode(200)
  async elevate(
    @Session() session: Session,
    @Principal() principal: string,
    @Body() { code }: ElevateDto,
  ) {
    const answer = this.codes.check(principal, code);
    if (answer !== 'right') throw refused(answer);
    await session.elevate('otp');
    return { ...who(session), factors: Object.keys(session.factors) };
  }

  /** By POST; a link to it ends nothing. */
  @All('logout')
  @HttpCode(204)
  @Logout()
  logout(): void {}

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

function refused(answer: 'wrong' | 'too many'): HttpException {
  const [statusCode, code, message] =
    answer === 'wrong'
      ? [401, 'WRONG_CODE', 'Wrong code, or one that was used already.']
      : [429, 'TOO_MANY_CODES', 'Too many wrong codes: wait a minute.'];
  return new HttpException({ statusCode, code, message }, statusCode);
}
