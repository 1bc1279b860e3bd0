import { Controller, Get, Header, Res } from '@nestjs/common';
import { PassiveSession, Session } from 'nestjs-distributed-session';

/** What both adapters' responses have. */
interface Answer {
  status(code: number): unknown;
}

@Controller('session')
export class SessionController {
  /** For polling: tells how long the session lasts without making it last longer. 204 if there is none. */
  @PassiveSession()
  @Get()
  @Header('Cache-Control', 'no-store')
  show(@Session() session: Session, @Res({ passthrough: true }) answer: Answer) {
    if (session.isNew) {
      answer.status(204);
      return undefined;
    }
    const { principal = null, roles, expiresAt } = session;
    return { principal, roles, expiresAt, remainingMs: Math.max(0, expiresAt - Date.now()) };
  }
}
