import type { INestApplicationContext } from '@nestjs/common';
import { WsAdapter } from '@nestjs/platform-ws';
import type { IncomingMessage } from 'node:http';
import type { BoundSocket, SocketFace } from './bound-socket.js';
import { SocketHost, type SessionSocketOptions } from './socket-host.js';
import { interceptGateways } from './ws-gateways.js';
import { inSessions, refusalOf } from './ws-messages.js';

/** What Nest's `WsAdapter` takes. */
type WsAdapterOptions = NonNullable<ConstructorParameters<typeof WsAdapter>[1]>;

/** How the adapter works. */
export interface SessionWsAdapterOptions extends SessionSocketOptions, WsAdapterOptions {}

/** With this code a socket is closed whose session is over; 4000 to 4999 are an application's own (RFC 6455). */
export const SESSION_ENDED_CODE = 4401;
const GOING_AWAY = 1001;
const OPEN = 1;

/** What is needed of a socket of `ws`, which an application may have in another version. */
interface WsClient {
  readonly readyState: number;
  on(event: 'exception', listener: (error: unknown) => void): unknown;
  once(event: 'close', listener: () => void): unknown;
  send(text: string): void;
  close(code: number, reason?: string): void;
}

type Verdict = (accepted: boolean, status?: number, body?: string, headers?: object) => void;
type Verifier = (info: { readonly req: IncomingMessage }, verdict: Verdict) => unknown;

/**
 * Nest's adapter for `ws`, with sessions: read from the handshake, whose origin is checked; in the handlers of
 * messages; and sockets end with their session, by code 4401.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) if the application has no SessionModule
 * @example app.useWebSocketAdapter(new SessionWsAdapter(app));
 */
export class SessionWsAdapter extends WsAdapter {
  readonly #host: SocketHost;
  readonly #required: boolean;
  /** By the request that opened it, later by the client. */
  readonly #sockets = new WeakMap<object, BoundSocket>();

  constructor(
    app: INestApplicationContext,
    { required = false, ...options }: SessionWsAdapterOptions = {},
  ) {
    super(app, options);
    this.#host = SocketHost.of(app, 'SessionWsAdapter');
    interceptGateways(app);
    this.#required = required;
  }

  override create(port: number, options: Parameters<WsAdapter['create']>[1] = {}) {
    const own = options.verifyClient as Verifier | undefined;
    const server = super.create(port, {
      ...options,
      verifyClient: (info: Parameters<Verifier>[0], verdict: Verdict) =>
        verifiedBy(own, info, verdict, () => void this.#verify(info.req, verdict)),
    }) as {
      on(event: string, listener: (client: WsClient, request: IncomingMessage) => void): void;
    };
    server.on('connection', (client, request) => this.#attach(client, request));
    return server;
  }

  override bindMessageHandlers(...args: Parameters<WsAdapter['bindMessageHandlers']>): void {
    const [client, handlers, transform] = args;
    const socket = this.#sockets.get(client as object);
    super.bindMessageHandlers(client, inSessions(handlers, socket), transform);
  }

  async #verify(raw: IncomingMessage, verdict: Verdict): Promise<void> {
    try {
      const handshake = this.#host.handshakeOf(raw);
      const socket = await this.#host.open(handshake, { required: this.#required });
      // Also if it is not opened after all.
      if (raw.socket.destroyed) socket.release();
      else raw.socket.once('close', () => socket.release());
      this.#sockets.set(raw, socket);
      verdict(true);
    } catch (error) {
      const body = refusalOf(error);
      const headers = { 'Content-Type': 'application/json; charset=utf-8' };
      verdict(false, body.statusCode, JSON.stringify(body), headers);
    }
  }

  #attach(client: WsClient, request: IncomingMessage): void {
    const socket = this.#sockets.get(request) as BoundSocket;
    this.#sockets.set(client, socket);
    client.once('close', () => socket.release());
    const face = faceOf(client);
    // Nest 11 tells exceptions as if the client of `ws` were one of socket.io.
    client.on('exception', (error) => face.emit('exception', error));
    socket.attach(face);
  }
}

function faceOf(client: WsClient): SocketFace {
  return {
    client,
    emit: (event, data) => {
      if (client.readyState === OPEN) client.send(JSON.stringify({ event, data }));
    },
    end: () => client.close(SESSION_ENDED_CODE, 'session ended'),
    leave: () => client.close(GOING_AWAY),
  };
}

/** First by what the application says, in either of the two ways that `ws` knows. */
function verifiedBy(
  own: Verifier | undefined,
  info: Parameters<Verifier>[0],
  verdict: Verdict,
  next: () => void,
): void {
  if (!own) return next();
  if (own.length < 2) return own(info, verdict) ? next() : verdict(false);
  own(info, (accepted, ...refusal) => (accepted ? next() : verdict(false, ...refusal)));
}
