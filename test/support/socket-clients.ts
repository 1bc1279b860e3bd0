import type { INestApplicationContext, WebSocketAdapter } from '@nestjs/common';
import { once } from 'node:events';
import {
  SessionIoAdapter,
  type SessionIoAdapterOptions,
} from 'nestjs-distributed-session/socket.io';
import { SessionWsAdapter } from 'nestjs-distributed-session/ws';
import { io, type Socket } from 'socket.io-client';
import { WebSocket } from 'ws';

/** What a client opens its socket with. */
export interface Opening {
  headers?: Record<string, string>;
  /** As socket.io sends it beside the handshake. */
  auth?: Record<string, unknown>;
  namespace?: string;
}

/** How a socket was refused: the status, and the code of the error. */
export class SocketRefusal extends Error {
  constructor(
    readonly status: number,
    readonly code: unknown,
  ) {
    super(`refused: ${status} ${String(code)}`);
  }
}

/** What the tests do with a socket, whatever platform it is of. */
export interface TestSocket {
  /** What came, in order. */
  readonly received: { event: string; data: unknown }[];
  /** Resolves when it is closed by the server: what it was told of why. */
  readonly closed: Promise<unknown>;
  readonly isClosed: boolean;
  send(event: string, data?: unknown): void;
  /** Sends, and waits for the answer, or for the refusal. */
  ask(event: string, data?: unknown): Promise<unknown>;
  /** The next event of a name. */
  next(event: string): Promise<unknown>;
  /** A sign of life by the protocol, of which no handler hears. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

/** A platform of Nest's gateways, and its client. */
export interface Platform {
  readonly name: string;
  /** What tells a client why it was closed. */
  readonly ended: (reason: string) => unknown;
  readonly leaving: unknown;
  adapter(app: INestApplicationContext, options?: SessionIoAdapterOptions): WebSocketAdapter;
  open(port: number, opening?: Opening): Promise<TestSocket>;
}

abstract class Client implements TestSocket {
  readonly received: { event: string; data: unknown }[] = [];
  readonly #waiting: { event: string; done: (data: unknown) => void }[] = [];
  #close!: (why: unknown) => void;
  readonly closed = new Promise<unknown>((resolve) => (this.#close = resolve));
  isClosed = false;

  abstract send(event: string, data?: unknown): void;
  abstract ping(): Promise<void>;
  abstract close(): Promise<void>;

  next(event: string): Promise<unknown> {
    return new Promise((done) => this.#waiting.push({ event, done }));
  }

  async ask(event: string, data?: unknown): Promise<unknown> {
    const answers = [this.next(event), this.next('exception'), this.closed];
    this.send(event, data);
    return Promise.race(answers);
  }

  protected hear(event: string, data: unknown): void {
    this.received.push({ event, data });
    for (const one of this.#waiting.splice(0)) {
      if (one.event === event) one.done(data);
      else this.#waiting.push(one);
    }
  }

  protected ended(why: unknown): void {
    this.isClosed = true;
    this.#close(why);
  }
}

class WsClient extends Client {
  constructor(private readonly socket: WebSocket) {
    super();
    socket.on('message', (text: Buffer) => {
      const { event, data } = JSON.parse(text.toString()) as { event: string; data: unknown };
      this.hear(event, data);
    });
    socket.on('close', (code, reason) => this.ended({ code, reason: reason.toString() }));
  }

  send(event: string, data?: unknown): void {
    this.socket.send(JSON.stringify({ event, data }));
  }

  async ping(): Promise<void> {
    this.socket.ping();
    await once(this.socket, 'pong');
  }

  async close(): Promise<void> {
    this.socket.close();
    await this.closed;
  }
}

export const WS: Platform = {
  name: 'ws',
  ended: () => ({ code: 4401, reason: 'session ended' }),
  leaving: { code: 1001, reason: '' },
  adapter: (app, options) => new SessionWsAdapter(app, options),
  open(port, { headers = {} } = {}) {
    const socket = new WebSocket(`ws://127.0.0.1:${port}`, { headers });
    const client = new WsClient(socket);
    return new Promise((resolve, reject) => {
      socket.on('open', () => resolve(client));
      socket.on('error', reject);
      socket.on('unexpected-response', (_, response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => (text += chunk.toString()));
        response.on('end', () => {
          const code = text.startsWith('{') ? (JSON.parse(text) as { code: string }).code : text;
          reject(new SocketRefusal(response.statusCode ?? 0, code));
        });
      });
    });
  },
};

class IoClient extends Client {
  #reason: unknown;

  constructor(private readonly socket: Socket) {
    super();
    socket.onAny((event: string, data: unknown) => {
      this.hear(event, data);
      if (event === 'session-ended') this.#reason = data;
    });
    socket.on('disconnect', (why) => this.ended(this.#reason ?? why));
  }

  send(event: string, data?: unknown): void {
    this.socket.emit(event, data);
  }

  /** The server's own, which this client answers. */
  async ping(): Promise<void> {
    await new Promise<void>((resolve) => this.socket.io.once('ping', () => resolve()));
  }

  async close(): Promise<void> {
    this.socket.disconnect();
    await this.closed;
  }
}

const ioBy = (transport: 'websocket' | 'polling'): Platform => ({
  name: `socket.io by ${transport}`,
  ended: (reason) => ({ reason }),
  // Not by a word of the server: after that clients do not connect again by themselves.
  leaving: 'transport close',
  adapter: (app, options) => new SessionIoAdapter(app, options),
  open(port, { headers = {}, auth = {}, namespace = '' } = {}) {
    const socket = io(`http://127.0.0.1:${port}/${namespace}`, {
      transports: [transport],
      extraHeaders: headers,
      auth,
      forceNew: true,
      reconnection: false,
    });
    const client = new IoClient(socket);
    return new Promise((resolve, reject) => {
      socket.on('connect', () => resolve(client));
      socket.on('connect_error', (error) => {
        socket.disconnect();
        reject(refusalIn(error as IoError));
      });
    });
  },
});

interface IoError extends Error {
  /** What the application says. */
  readonly data?: { statusCode: number; code: string };
  /** The status, by polling; what Node says, by websocket. */
  readonly description?: number | { message?: string };
}

function refusalIn({ data, description, message }: IoError): Error {
  if (data) return new SocketRefusal(data.statusCode, data.code);
  const status =
    typeof description === 'number'
      ? description
      : Number(/\b(\d{3})\b/.exec(description?.message ?? '')?.[1]);
  return new SocketRefusal(status, message);
}

export const IO = ioBy('websocket');
export const IO_POLLING = ioBy('polling');
