import { Controller, DefaultValuePipe, Get, Header, ParseIntPipe, Query } from '@nestjs/common';
import { Session } from 'nestjs-distributed-session';
import { delay } from '../delay.js';

@Controller('slow')
export class SlowController {
  /** Reads the session and takes its time: others are not held up meanwhile. */
  @Get()
  @Header('Cache-Control', 'no-store')
  async read(
    @Session() { principal }: Session,
    @Query('ms', new DefaultValuePipe(0), ParseIntPipe) milliseconds: number,
  ) {
    return { principal: principal ?? null, waitedMs: await delay(milliseconds) };
  }
}
