import { Controller, Get, HttpCode, Param, Post, Req, UnauthorizedException } from '@nestjs/common';
import { RedisStore } from 'connect-redis';
import expressSession from 'express-session';
import type { Request } from 'express';
import { RequireSession, Session, SessionService } from 'nestjs-distributed-session';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { createClient } from 'redis';
import { SECRET, startApp, type TestApp } from './app.js';

/** What visitors of a {@link FaultLoad} ask for. */
@Controller()
export class FaultShop {
  constructor(private readonly sessions: SessionService) {}

  @Get('read') read(@Session('n') n: unknown) {
    return { n: n ?? null };
  }

  @Post('write') @HttpCode(200) write(@Session() session: Session) {
    return { n: session.increment('n') };
  }

  /** Reads at once and writes later: a fault has time to begin in between. */
  @Post('write-after/:ms') @HttpCode(200) async writeAfter(
    @Session() session: Session,
    @Param('ms') ms: string,
  ) {
    await pause(Number(ms));
    return { n: session.increment('n') };
  }

  @Post('login/:name') @HttpCode(200) async login(
    @Session() session: Session,
    @Param('name') name: string,
  ) {
    await session.authenticate(name);
    return {};
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal };
  }

  @Get('devices/:name') async devices(@Param('name') name: string) {
    const listed = await this.sessions.forPrincipal(name).list({ limit: 1_000 });
    return { handles: listed.map(({ handle }) => handle) };
  }
}

/** What the peer keeps. */
type PeerSession = expressSession.Session & { n?: number; principal?: string };

const sessionOf = (request: Request) => request.session as PeerSession;

/** The same routes over `req.session`. */
@Controller()
class PeerShop {
  @Get('read') read(@Req() request: Request) {
    return { n: sessionOf(request).n ?? null };
  }

  @Post('write') @HttpCode(200) write(@Req() request: Request) {
    const session = sessionOf(request);
    return { n: (session.n = (session.n ?? 0) + 1) };
  }

  @Post('write-after/:ms') @HttpCode(200) async writeAfter(
    @Req() request: Request,
    @Param('ms') ms: string,
  ) {
    await pause(Number(ms));
    return this.write(request);
  }

  @Post('login/:name') @HttpCode(200) async login(
    @Req() request: Request,
    @Param('name') name: string,
  ) {
    const session = sessionOf(request);
    await promisify((done: (error?: unknown) => void) => session.regenerate(done))();
    sessionOf(request).principal = name;
    return {};
  }

  @Post('logout') @HttpCode(204) async logout(@Req() request: Request) {
    const session = sessionOf(request);
    await promisify((done: (error?: unknown) => void) => session.destroy(done))();
  }

  @Get('me') me(@Req() request: Request) {
    const { principal } = sessionOf(request);
    if (principal === undefined) throw new UnauthorizedException();
    return { principal };
  }
}

/** express-session over connect-redis and node-redis, as their documentation shows them. */
export async function startPeer(redisUrl: string): Promise<TestApp> {
  const client = createClient({ url: redisUrl });
  client.on('error', () => undefined);
  await client.connect();
  const store = new RedisStore({ client, prefix: 'peer:', ttl: 1_800 });
  const middleware = expressSession({
    store,
    secret: SECRET,
    resave: false,
    saveUninitialized: false,
    cookie: { secure: false, maxAge: 1_800_000 },
  });
  const running = await startApp({
    adapter: 'express',
    controllers: [PeerShop],
    setup: (app) => void app.use(middleware),
  });
  const close = async () => {
    await running.close();
    client.destroy();
  };
  return { ...running, close };
}
