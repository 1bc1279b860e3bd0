import { Controller, Headers, Sse } from '@nestjs/common';
import {
  PassiveSession,
  Principal,
  RequireSession,
  SessionEvents,
} from 'nestjs-distributed-session';
import { takeUntil } from 'rxjs';
import { Drain } from '../drain.js';

@Controller()
export class EventsController {
  constructor(
    private readonly events: SessionEvents,
    private readonly drain: Drain,
  ) {}

  /**
   * What happens to the sessions of the user, on whatever device and node. A stream that was cut goes on
   * with what came after. That a page is open does not make the session last longer.
   */
  @RequireSession()
  @PassiveSession()
  @Sse('events')
  stream(@Principal() principal: string, @Headers('last-event-id') after?: string) {
    return this.events.stream(principal, { after }).pipe(takeUntil(this.drain.ending));
  }
}
