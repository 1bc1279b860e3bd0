import { HttpException, Logger } from '@nestjs/common';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { TransportResponse } from '../core/session-id-transport.interface.js';
import { RawTransportRequest } from './raw-transport-request.js';
import { corridorOf } from './session-corridor.js';
import { ABOUT_THE_BODY } from './response-gate.js';
import { toHttpException } from './session-http.exception.js';
import type { SessionHost } from './session-host.js';

type Next = (error?: unknown) => void;

interface FastifyRequest {
  readonly raw: IncomingMessage;
  readonly protocol: string;
  readonly ip: string;
  readonly host: string;
}

interface FastifyReply {
  readonly raw: ServerResponse;
  statusCode: number;
  header(name: string, value: string): unknown;
  getHeader(name: string): string | number | string[] | undefined;
  removeHeader(name: string): unknown;
}

interface FastifyInstance {
  /** Nest's middleware support; there already if `NestFactory` made the application. */
  use?(middleware: (raw: IncomingMessage, response: ServerResponse, next: Next) => void): unknown;
  addHook(
    name: 'onRequest',
    hook: (request: FastifyRequest, reply: FastifyReply, done: Next) => void,
  ): unknown;
  addHook(
    name: 'onSend',
    hook: (
      request: FastifyRequest,
      reply: FastifyReply,
      payload: unknown,
      done: (error: unknown, payload?: unknown) => void,
    ) => void,
  ): unknown;
  decorateRequest(
    name: string,
    accessor: { getter(): unknown; setter?(value: unknown): void },
  ): unknown;
}

/**
 * Mounts as hooks. `onSend` commits whatever goes through Fastify's reply, so that a failure meets
 * Fastify's error handling; what is written to the raw response (SSE, hijacked replies) meets the gate.
 */
export function mountOnFastify(instance: FastifyInstance, host: SessionHost): void {
  instance.decorateRequest('session', {
    getter(this: object) {
      return host.viewOf(this);
    },
  } as { getter(): unknown });

  host.readHandshake = (raw) => {
    (raw as FastifyRawRequest)[FASTIFY_REQUEST] ??= seenBy(instance, raw);
    return new FastifyTransportRequest(raw);
  };

  // Where the hook that runs middleware stands before the one below, be the first in it.
  const middleware = fastifyMiddleware(host);
  if (!host.routed) instance.use?.(middleware);
  else if (host.hasEndpoint) {
    instance.use?.((raw, response, next) =>
      host.servesItself(raw) ? middleware(raw, response, next) : next(),
    );
  }

  instance.addHook('onRequest', (request, reply, done) => {
    (request.raw as FastifyRawRequest)[FASTIFY_REQUEST] = request;
    if (host.routed && !host.servesItself(request.raw)) return done();
    enter(host, request.raw, reply.raw, done);
  });

  instance.addHook('onSend', (request, reply, payload, done) => {
    const corridor = corridorOf(request.raw);
    if (!corridor) return done(null, payload);
    // While an answer waits for the commit, Fastify takes for another one what a handler returns that
    // answered by itself, or a second answer: the first one counts.
    if (corridor.committing) return;
    const { statusCode } = reply;
    const send = () => {
      reply.statusCode = statusCode;
      corridor.answer(writerOf(reply), statusCode);
      done(null, payload);
    };
    if (corridor.settled) return send();
    corridor.commit().then(send, (error: unknown) => {
      for (const name of ABOUT_THE_BODY) reply.removeHeader(name);
      done(toHttpException(error));
    });
  });
}

/** The corridor as a middleware, for routes chosen by Nest, which hands over raw requests here. */
export function fastifyMiddleware(host: SessionHost) {
  return (raw: IncomingMessage, response: ServerResponse, next: Next): void =>
    enter(host, raw, response, next);
}

const logger = new Logger('SessionModule');
const FASTIFY_REQUEST = Symbol('fastify request');

type FastifyRawRequest = IncomingMessage & { [FASTIFY_REQUEST]?: FastifyRequest };

function enter(
  host: SessionHost,
  raw: IncomingMessage,
  response: ServerResponse,
  next: Next,
): void {
  host.enter(raw, response, new FastifyTransportRequest(raw), next, (error) =>
    answerRaw(response, error),
  );
}

/** A request that Fastify was not given, as it would see it: what it makes of proxies counts here, too. */
function seenBy(instance: FastifyInstance, raw: IncomingMessage): FastifyRequest | undefined {
  const key = Object.getOwnPropertySymbols(instance).find(
    ({ description }) => description === 'fastify.Request',
  );
  const made = key && (instance as unknown as Record<symbol, { prototype: FastifyRequest }>)[key];
  return made && (Object.create(made.prototype, { raw: { value: raw } }) as FastifyRequest);
}

class FastifyTransportRequest extends RawTransportRequest<FastifyRawRequest> {
  /** As far as `trustProxy` believes what a proxy says. */
  get secure(): boolean {
    return this.raw[FASTIFY_REQUEST]?.protocol === 'https';
  }

  get address(): string | undefined {
    return this.raw[FASTIFY_REQUEST]?.ip ?? this.raw.socket.remoteAddress;
  }

  protected get host(): string | undefined {
    return this.raw[FASTIFY_REQUEST]?.host;
  }
}

function writerOf(reply: FastifyReply): TransportResponse {
  return {
    append: (name, value) => {
      const before = name.toLowerCase() === 'set-cookie' ? undefined : reply.getHeader(name);
      // Fastify itself collects cookies; any other header it would replace.
      reply.header(name, before === undefined ? value : `${String(before)}, ${value}`);
    },
    replace: (name, value) => void reply.header(name, value),
    header: (name) => reply.getHeader(name),
  };
}

/** The raw response is out of Fastify's hands, and so of Nest's filters. */
function answerRaw(response: ServerResponse, error: unknown): void {
  const http = error instanceof HttpException;
  if (!http) logger.error(error);
  const status = http ? error.getStatus() : 500;
  const body = http ? error.getResponse() : { statusCode: 500, message: 'Internal server error' };
  const text = JSON.stringify(body);
  response.writeHead(status, {
    'content-type': 'application/json; charset=utf-8',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}
