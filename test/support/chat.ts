import {
  Body,
  Controller,
  Get,
  HttpCode,
  Inject,
  Post,
  UseGuards,
  type Type,
} from '@nestjs/common';
import {
  MessageBody,
  SubscribeMessage,
  WebSocketGateway,
  type WsResponse,
} from '@nestjs/websockets';
import {
  AllowAnonymous,
  Logout,
  PassiveSession,
  Principal,
  RequireRole,
  RequireSession,
  Session,
  SessionGuard,
  SessionService,
  SessionSockets,
  UseSession,
} from 'nestjs-distributed-session';
import { interval, map, take, type Observable } from 'rxjs';
import { Latch } from './app.js';

/** What tests see of the gateway, and what waits in a handler until they let it go on. */
export class Waiting {
  latch = new Latch();
  /** Who has opened a socket. */
  readonly greeted: (string | undefined)[] = [];
}

const answer = (event: string, data: unknown): WsResponse => ({ event, data });

/** What clients do with their sessions over a socket. */
@WebSocketGateway()
export class Chat {
  constructor(
    @Inject(SessionService) private readonly sessions: SessionService,
    @Inject(Waiting) private readonly waiting: Waiting,
    @Inject(SessionSockets) private readonly sockets: SessionSockets,
  ) {}

  handleConnection(client: object) {
    this.waiting.greeted.push(this.sockets.principalOf(client));
  }

  @RequireSession()
  @SubscribeMessage('who')
  who(@Principal() principal: string, @Session() session: Session) {
    return answer('who', { principal, roles: session.roles, known: session === this.current });
  }

  @SubscribeMessage('anybody')
  anybody(@Session() session: Session) {
    return answer('anybody', { principal: session.principal ?? null, n: session.get('n') ?? null });
  }

  @SubscribeMessage('plain')
  plain() {
    return answer('plain', 'heard');
  }

  @UseGuards(SessionGuard)
  @AllowAnonymous()
  @SubscribeMessage('add')
  add(@Session() session: Session, @MessageBody() by: number) {
    return answer('add', session.increment('n', by));
  }

  @RequireRole('admin')
  @SubscribeMessage('admin')
  admin() {
    return answer('admin', 'done');
  }

  @PassiveSession()
  @SubscribeMessage('poll')
  poll(@Session() session: Session) {
    return answer('poll', session.principal);
  }

  @SubscribeMessage('login')
  async login(@Session() session: Session) {
    await session.authenticate('mallory');
    return answer('login', 'done');
  }

  @SubscribeMessage('elevate')
  async elevate(@Session() session: Session) {
    await session.elevate('otp');
    return answer('elevate', 'done');
  }

  @SubscribeMessage('put')
  put(@Session() session: Session) {
    session.data.put = true;
    return answer('put', 'done');
  }

  @SubscribeMessage('destroy')
  async destroy(@Session() session: Session) {
    await session.destroy();
    return answer('destroy', 'done');
  }

  @Logout()
  @SubscribeMessage('logout')
  logout() {
    return answer('logout', 'done');
  }

  @SubscribeMessage('fail')
  fail(@Session() session: Session) {
    session.set('failed', true);
    throw new Error('of the application');
  }

  @SubscribeMessage('count')
  count(@Session() session: Session): Observable<WsResponse> {
    return interval(5).pipe(
      take(3),
      map((i) => answer('count', session.increment('n') * 10 + i)),
    );
  }

  @SubscribeMessage('slow')
  async slow(@Session() session: Session) {
    await this.waiting.latch.wait();
    session.set('slow', 'done');
    return answer('slow', 'done');
  }

  @UseSession('admin')
  @RequireSession()
  @SubscribeMessage('of-admin')
  ofAdmin(@Principal() principal: string) {
    return answer('of-admin', principal);
  }

  get current(): Session | undefined {
    return this.sessions.current();
  }
}

/** The same with options of its server, which are said by a decorator. */
export function chatWith(options?: object): Type {
  if (!options) return Chat;
  @WebSocketGateway(options)
  class ChatWithOptions extends Chat {}
  return ChatWithOptions;
}

/** Another namespace of socket.io. */
@WebSocketGateway({ namespace: 'side' })
export class Side {
  @RequireSession()
  @SubscribeMessage('side')
  side(@Principal() principal: string) {
    return answer('side', principal);
  }
}

interface Login {
  principal: string;
  roles?: string[];
}

/** What they do over HTTP. */
@Controller()
export class Pages {
  @Get('data')
  data(@Session() session: Session) {
    return { ...session.data, principal: session.principal, handle: session.handle };
  }

  @PassiveSession()
  @Get('look')
  look(@Session() session: Session) {
    return { principal: session.principal ?? null };
  }

  @Post('begin')
  begin(@Session() session: Session) {
    session.set('n', 1);
    return { handle: session.handle };
  }

  @Post('login')
  async login(@Session() session: Session, @Body() { principal, roles }: Login) {
    await session.authenticate(principal, { roles });
    return { handle: session.handle };
  }

  @Post('login-admin')
  @UseSession('admin')
  async loginAdmin(@Session() session: Session) {
    await session.authenticate('root');
    return {};
  }

  @Post('logout-admin')
  @UseSession('admin')
  @HttpCode(204)
  async logoutAdmin(@Session() session: Session) {
    await session.destroy();
  }

  @Post('regenerate')
  async regenerate(@Session() session: Session) {
    await session.regenerate();
    return {};
  }

  @Post('elevate')
  async elevate(@Session() session: Session) {
    await session.elevate('otp');
    return {};
  }

  @Post('switch')
  async switch(@Session() session: Session) {
    await session.switchPrincipal('bob');
    return {};
  }

  @Post('logout')
  @HttpCode(204)
  @Logout()
  logout() {}
}
