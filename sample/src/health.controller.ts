import { Controller, Get, ServiceUnavailableException } from '@nestjs/common';
import { SessionService, SkipSession } from 'nestjs-distributed-session';

/** For balancers and operators; no session is touched. */
@SkipSession()
@Controller()
export class HealthController {
  constructor(private readonly sessions: SessionService) {}

  /** This process answers. */
  @Get('ping')
  ping() {
    return { pong: true };
  }

  /** This process answers, and so does its store. */
  @Get('health')
  async health() {
    try {
      await this.sessions.ping();
    } catch {
      throw new ServiceUnavailableException({ status: 'unavailable', store: 'down' });
    }
    return { status: 'ok' };
  }
}
