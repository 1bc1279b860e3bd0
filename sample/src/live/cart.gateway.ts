import {
  ConnectedSocket,
  SubscribeMessage,
  WebSocketGateway,
  WebSocketServer,
} from '@nestjs/websockets';
import {
  OnSessionEvent,
  PassiveSession,
  Session,
  SessionService,
  type SessionEvent,
} from 'nestjs-distributed-session';
import type { Server, Socket } from 'socket.io';

/**
 * Tells all tabs of a browser what is in its cart, on whatever nodes they are. A cart is its session's, and
 * anonymous visitors have one, too: so there is a room for each session and not for each user.
 */
// By long polling the requests of one socket may meet different nodes, and only one knows it.
@WebSocketGateway({ transports: ['websocket'] })
export class CartGateway {
  @WebSocketServer()
  private readonly server!: Server;

  constructor(private readonly sessions: SessionService) {}

  /** Tells what is in the cart, now and whenever it changes. */
  @PassiveSession()
  @SubscribeMessage('cart')
  async enter(@Session() session: Session, @ConnectedSocket() socket: Socket) {
    if (session.isNew) return { event: 'cart', data: { items: [] } };
    // First the room, then the cart: what changes between is told, too.
    await socket.join(roomOf(session.handle));
    return { event: 'cart', data: await this.#cartOf(session.handle) };
  }

  /** Each node hears it, and tells the tabs that it has. */
  @OnSessionEvent(['modified', 'authenticated', 'elevated', 'regenerated'])
  async tell({ handle = '', previous }: SessionEvent): Promise<void> {
    const room = roomOf(handle);
    if (previous !== undefined) {
      // Of another user's login the sockets are closed by now.
      this.server.in(roomOf(previous)).socketsJoin(room);
      this.server.in(roomOf(previous)).socketsLeave(roomOf(previous));
    }
    if (!this.server.of('/').adapter.rooms.has(room)) return;
    this.server.to(room).emit('cart', await this.#cartOf(handle));
  }

  /** As it is now: events tell how much there is in it, and not what. */
  async #cartOf(handle: string) {
    const session = await this.sessions.find(handle);
    return { items: session?.get('cart') ?? [] };
  }
}

const roomOf = (handle: string): string => `cart:${handle}`;
