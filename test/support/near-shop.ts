import { setTimeout as pause } from 'node:timers/promises';
import { Controller, Get, HttpCode, Param, Post, UseGuards } from '@nestjs/common';
import {
  Session,
  SessionGuard,
  SessionService,
  type NearCacheFigures,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { SECRET, until, type TestApp, type TestAppOptions } from './app.js';
import type { HttpClient } from './http-client.js';

/** Routes that show how old what is read is. */
@Controller()
export class NearShop {
  @UseGuards(SessionGuard) @Get('me') me(@Session() session: Session) {
    return { note: session.get('note') ?? 0, outage: session.outage ?? null };
  }

  @UseGuards(SessionGuard) @Post('note') @HttpCode(200) note(@Session() session: Session) {
    return { note: session.increment('note') };
  }

  @Post('login/:name') @HttpCode(200) async login(
    @Session() session: Session,
    @Param('name') name: string,
  ) {
    await session.authenticate(name);
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }
}

/** An application with that, which keeps copies. */
export const nearApp = (
  redis: SessionModuleOptions['redis'],
  more: SessionModuleOptions = {},
): TestAppOptions => ({
  adapter: 'express',
  controllers: [NearShop],
  session: {
    redis,
    secret: SECRET,
    nearCache: true,
    touchAfter: '10m',
    idleTimeout: '1h',
    ...more,
  },
});

export const figuresOf = ({ app }: TestApp): NearCacheFigures =>
  app.get(SessionService).nearCache() as NearCacheFigures;

/** All of them keep copies (again). */
export async function areLive(nodes: readonly TestApp[], within = 10_000): Promise<number> {
  const since = performance.now();
  const live = () => nodes.every((node) => figuresOf(node).live);
  await until('copies are kept', live, { within });
  return performance.now() - since;
}

/** What readers of one node saw of what was written on another. */
export interface SeenChanges {
  /** The longest that somebody was served what was out of date by then, in milliseconds. */
  readonly stale: number;
  /** Answers to readers and writers by status. */
  readonly reads: Readonly<Record<string, number>>;
  readonly writes: Readonly<Record<string, number>>;
}

/** Writes a session on one node, and reads it on another, while something is done. */
export async function changesDuring(
  writer: HttpClient,
  reader: HttpClient,
  work: () => Promise<unknown>,
): Promise<SeenChanges> {
  let written: { note: number; at: number }[] = [];
  let stale = 0;
  let done = false;
  const [reads, writes]: Record<string, number>[] = [{}, {}];
  const count = (answers: Record<string, number>, status: number) =>
    (answers[status] = (answers[status] ?? 0) + 1);
  const write = async () => {
    const { status, json } = await writer.post('/note');
    count(writes!, status);
    if (status !== 200) return;
    const note = Number(json.note);
    // What a failover has lost was never there.
    if (note <= (written.at(-1)?.note ?? 0)) written = [];
    written.push({ note, at: performance.now() });
  };
  const read = async (by: HttpClient, overslept: number) => {
    const asked = performance.now();
    const known = written;
    const { status, json } = await by.get('/me');
    count(reads!, status);
    if (status !== 200 || known !== written) return;
    const missed = known.find(({ note }) => note > Number(json.note));
    if (missed && missed.at < asked) stale = Math.max(stale, asked - missed.at - overslept);
  };
  const again = async (task: (overslept: number) => Promise<void>, wait: number) => {
    for (let overslept = 0; !done;) {
      await task(overslept);
      const since = performance.now();
      await pause(wait);
      // On a busy machine this process stood still, and with it whoever is told.
      overslept = performance.now() - since - wait;
    }
  };
  const readers = Array.from({ length: 3 }, () => reader.another(reader.jar));
  const reading = readers.map((one) => again((overslept) => read(one, overslept), 1));
  const load = Promise.all([again(write, 5), ...reading]);
  try {
    await work();
  } finally {
    done = true;
    await load;
  }
  return { stale, reads: reads!, writes: writes! };
}
