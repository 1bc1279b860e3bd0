import {
  Body,
  Controller,
  DefaultValuePipe,
  Get,
  Header,
  Param,
  ParseIntPipe,
  Post,
  Query,
} from '@nestjs/common';
import { Session } from 'nestjs-distributed-session';
import { delay } from '../delay.js';
import { NoteDto } from './note.dto.js';

/** Notes, each an attribute of the session. */
@Controller('notes')
export class NotesController {
  /** Sets a note, takes its time, answers; the session is written when it answers. */
  @Post(':key')
  async set(
    @Session() session: Session,
    @Param('key') key: string,
    @Body() { value }: NoteDto,
    @Query('delay', new DefaultValuePipe(0), ParseIntPipe) milliseconds: number,
  ) {
    session.set(nameOf(key), value);
    await delay(milliseconds);
    return { value };
  }

  @Get(':key')
  @Header('Cache-Control', 'no-store')
  show(@Session() session: Session, @Param('key') key: string) {
    return { value: session.get(nameOf(key)) ?? null };
  }
}

/** Clients choose keys: they must not reach other attributes. */
function nameOf(key: string): string {
  return `note:${key}`;
}
