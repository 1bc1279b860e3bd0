import type { INestApplicationContext } from '@nestjs/common';
import { IoAdapter } from '@nestjs/platform-socket.io';
import { STATUS_CODES, type IncomingMessage } from 'node:http';
import type { BoundSocket, SocketFace } from './bound-socket.js';
import { SocketHost, type SessionSocketOptions } from './socket-host.js';
import { interceptGateways } from './ws-gateways.js';
import { inSessions, refusalOf, type HandshakeRefusal } from './ws-messages.js';

/** How the adapter works. */
export interface SessionIoAdapterOptions extends SessionSocketOptions {}

type Server = ReturnType<IoAdapter['createIOServer']>;
type Namespace = ReturnType<Server['of']>;
type Client = Parameters<Parameters<Namespace['use']>[0]>[0];
type ServerOptions = NonNullable<Parameters<IoAdapter['createIOServer']>[1]>;
type AllowRequest = NonNullable<ServerOptions['allowRequest']>;

/**
 * Nest's adapter for socket.io, with sessions: read from the handshake, whose origin is checked; in the
 * handlers of messages; and sockets end with their session, after the event `session-ended`.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) if the application has no SessionModule
 * @example app.useWebSocketAdapter(new SessionIoAdapter(app));
 */
export class SessionIoAdapter extends IoAdapter {
  readonly #host: SocketHost;
  readonly #options: SessionSocketOptions;
  readonly #sockets = new WeakMap<object, BoundSocket>();

  constructor(app: INestApplicationContext, options: SessionIoAdapterOptions = {}) {
    super(app);
    this.#host = SocketHost.of(app, 'SessionIoAdapter');
    interceptGateways(app);
    this.#options = options;
  }

  override createIOServer(port: number, options?: ServerOptions): Server {
    const { connectionStateRecovery: recovery, allowRequest } = options ?? {};
    const server = super.createIOServer(port, {
      ...options,
      // A connection that is recovered would go on with whatever session it had.
      ...(recovery && { connectionStateRecovery: { ...recovery, skipMiddlewares: false } }),
      allowRequest: (request, verdict) => this.#allow(request, verdict, allowRequest),
    } as ServerOptions);
    this.#guard(server.of('/'));
    server.on('new_namespace', (namespace) => this.#guard(namespace));
    return server;
  }

  override bindMessageHandlers(...args: Parameters<IoAdapter['bindMessageHandlers']>): void {
    const [client, handlers, transform] = args;
    super.bindMessageHandlers(client, inSessions(handlers, this.#sockets.get(client)), transform);
  }

  /** Before anything else of socket.io, on both of its transports. */
  #allow(
    request: IncomingMessage,
    verdict: Parameters<AllowRequest>[1],
    next: AllowRequest = (_, allow) => allow(null, true),
  ): void {
    try {
      this.#host.judge(this.#host.handshakeOf(request));
    } catch (error) {
      const body = refusalOf(error);
      // It would be answered 400 on the one transport, and 403 on the other.
      if (request.headers.upgrade !== undefined) return refuseUpgrade(request, body);
      return verdict(body.message, false);
    }
    next(request, verdict);
  }

  #guard(namespace: Namespace): void {
    namespace.use((client, next) => void this.#open(client).then(() => next(), next));
    namespace.on('connection', (client) => this.#attach(client));
  }

  async #open(client: Client): Promise<void> {
    const { token } = client.handshake.auth as { token?: unknown };
    try {
      const given = typeof token === 'string' ? token : undefined;
      const handshake = this.#host.handshakeOf(client.request, given);
      const socket = await this.#host.open(handshake, this.#options);
      // Also if it is not opened after all.
      if (client.conn.readyState !== 'open') socket.release();
      else client.conn.once('close', () => socket.release());
      this.#sockets.set(client, socket);
    } catch (error) {
      const data = refusalOf(error);
      throw Object.assign(new Error(data.message), { data });
    }
  }

  #attach(client: Client): void {
    const socket = this.#sockets.get(client);
    if (!socket) return void client.disconnect(true);
    client.once('disconnect', () => socket.release());
    socket.attach(faceOf(client));
  }
}

function faceOf(client: Client): SocketFace {
  return {
    client,
    emit: (event, data) => void client.emit(event, data),
    end: (reason) => {
      client.emit('session-ended', { reason });
      client.disconnect(true);
    },
    // Told by the server to go, it would not come back by itself, to another node.
    leave: () => client.conn.close(),
  };
}

function refuseUpgrade({ socket }: IncomingMessage, body: HandshakeRefusal): void {
  const text = JSON.stringify(body);
  socket.on('error', () => undefined);
  socket.end(
    [
      `HTTP/1.1 ${body.statusCode} ${STATUS_CODES[body.statusCode]}`,
      'Connection: close',
      'Content-Type: application/json; charset=utf-8',
      `Content-Length: ${Buffer.byteLength(text)}`,
      '',
      text,
    ].join('\r\n'),
  );
}
