import { Controller, Get, Header, Post } from '@nestjs/common';
import { Session } from 'nestjs-distributed-session';
import { stored } from '../session/stored.js';

declare module 'nestjs-distributed-session' {
  interface SessionData {
    counter?: number;
  }
}

/** Counts exactly, however many requests count at the same time on however many nodes. */
@Controller('counter')
export class CounterController {
  @Get()
  @Header('Cache-Control', 'no-store')
  show(@Session('counter') count = 0) {
    return { count };
  }

  @Post()
  async count(@Session() session: Session) {
    session.increment('counter');
    await stored(session);
    return this.show(session.get('counter'));
  }
}
