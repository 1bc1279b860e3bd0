import { Controller, Get, Inject, Post, Query, UseGuards } from '@nestjs/common';
import {
  Principal,
  Session,
  SessionGuard,
  SessionModule,
  SessionService,
  type SessionModuleOptions,
} from '../../../dist/index.js';
import { summaryOf, visitOf, type Visit } from '../visit.js';
import { IDLE, SECRET, type Setup } from './contender.js';

declare module '../../../dist/index.js' {
  interface SessionData extends Partial<Visit> {}
}

/** This library, as an application would use it: guard, decorators, signed tokens. */
export const ownSessions = (options: SessionModuleOptions): Setup => ({
  imports: [
    SessionModule.forRoot({
      secret: SECRET,
      idleTimeout: IDLE,
      cookie: { secure: false, name: 'sid' },
      ...options,
    }),
  ],
  controllers: [VisitController],
});

/** The same over Redis. */
export const ours =
  (options: SessionModuleOptions) =>
  (redis: string): Setup =>
    ownSessions({ redis, ...options });

@Controller()
class VisitController {
  constructor(@Inject(SessionService) private readonly sessions: SessionService) {}

  @UseGuards(SessionGuard)
  @Get('read')
  read(@Session() session: Session) {
    return summaryOf(session.data as Visit);
  }

  @UseGuards(SessionGuard)
  @Post('change')
  change(@Session() session: Session) {
    return { visits: session.increment('visits') };
  }

  @Post('login')
  async login(
    @Session() session: Session,
    @Query('user') user: string,
    @Query('bytes') bytes: string,
  ) {
    await session.authenticate(user);
    Object.assign(session.data, visitOf(user, Number(bytes)));
    return {};
  }

  @UseGuards(SessionGuard)
  @Get('devices')
  devices(@Principal() user: string) {
    return this.sessions.forPrincipal(user).list();
  }

  @UseGuards(SessionGuard)
  @Post('logout')
  async logout(@Session() session: Session) {
    await session.destroy();
    return {};
  }
}
