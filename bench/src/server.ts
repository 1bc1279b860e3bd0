import 'reflect-metadata';
import {
  Controller,
  Get,
  Inject,
  Post,
  Query,
  Req,
  Res,
  UnauthorizedException,
  type INestApplication,
  type Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { AddressInfo } from 'node:net';
import type { Server } from 'node:http';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { SESSION_STORE, type SessionStore } from '../../dist/index.js';
import type { Adapter, PeerReply, PeerRequest, PeerSessions } from './contenders/contender.js';
import { contender, type ContenderName } from './contenders/index.js';
import type { Abilities } from './results.js';
import { summaryOf, visitOf } from './visit.js';

const PEER = Symbol('peer');

/** The routes of all contenders but ours, which has decorators for the same. */
@Controller()
class PeerController {
  constructor(@Inject(PEER) private readonly sessions: PeerSessions) {}

  @Get('read')
  async read(@Req() request: PeerRequest, @Res({ passthrough: true }) reply: PeerReply) {
    const visit = await this.sessions.read(request, reply);
    if (!visit) throw new UnauthorizedException();
    return summaryOf(visit);
  }

  @Post('change')
  async change(@Req() request: PeerRequest, @Res({ passthrough: true }) reply: PeerReply) {
    await this.sessions.change?.(request, reply);
    return {};
  }

  @Post('login')
  async login(
    @Req() request: PeerRequest,
    @Res({ passthrough: true }) reply: PeerReply,
    @Query('user') user: string,
    @Query('bytes') bytes: string,
  ) {
    await this.sessions.login(request, reply, visitOf(user, Number(bytes)));
    return {};
  }

  @Get('devices')
  devices(@Req() request: PeerRequest) {
    return this.sessions.devices?.(request);
  }

  @Post('logout')
  async logout(@Req() request: PeerRequest, @Res({ passthrough: true }) reply: PeerReply) {
    await this.sessions.logout?.(request, reply);
    return {};
  }
}

/** Bytes that are in use, after everything else has been collected. */
function heap(): number {
  setFlagsFromString('--expose-gc');
  (runInNewContext('gc') as () => void)();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** What the store says that it can do, of ours. */
function abilitiesIn(app: INestApplication): Abilities {
  const { abilities } = app.get<SessionStore>(SESSION_STORE, { strict: false });
  return { revocation: abilities?.revocation ?? 'at-once' };
}

/** One contender's application, in this process: `server.js <contender> <adapter> <redis url> <place>`. */
async function serve(
  name: ContenderName,
  adapter: Adapter,
  redisUrl: string,
  place: string,
): Promise<void> {
  const setup = await contender(name).start(redisUrl, adapter, place);
  const controllers: Type[] = setup.peer ? [PeerController] : [];
  class ContenderModule {}
  const app = await NestFactory.create(
    {
      module: ContenderModule,
      imports: setup.imports ?? [],
      controllers: [...controllers, ...(setup.controllers ?? [])],
      providers: [{ provide: PEER, useValue: setup.peer }, ...(setup.providers ?? [])],
    },
    adapter === 'express' ? new ExpressAdapter() : new FastifyAdapter(),
    { logger: ['error', 'warn'] },
  );
  await setup.mount?.(app);
  await app.listen(0, '127.0.0.1');
  process.on('message', (message) => {
    if (message === 'cpu') process.send?.({ cpu: process.cpuUsage() });
    if (message === 'statements') process.send?.({ statements: setup.statements?.() ?? 0 });
    if (message === 'heap') process.send?.({ heap: heap() });
    if (message === 'abilities') process.send?.(abilitiesIn(app));
    if (message === 'stop') {
      void app
        .close()
        .then(() => setup.close?.())
        .then(() => process.disconnect());
    }
  });
  const { port } = (app.getHttpServer() as Server).address() as AddressInfo;
  process.send?.({ port });
}

const [name, adapter, redisUrl, place = ''] = process.argv.slice(2);
await serve(name as ContenderName, adapter as Adapter, redisUrl as string, place);
