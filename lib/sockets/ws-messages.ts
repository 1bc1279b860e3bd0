import { Logger } from '@nestjs/common';
import { WsException, type MessageMappingProperties } from '@nestjs/websockets';
import { SessionError } from '../core/session.errors.js';
import {
  SessionHttpException,
  toHttpException,
  toRpcError,
} from '../http/session-http.exception.js';
import type { BoundSocket } from './bound-socket.js';

/** The handlers of a gateway, each message in a corridor of its own. */
export function inSessions(
  handlers: MessageMappingProperties[],
  socket: BoundSocket | undefined,
): MessageMappingProperties[] {
  if (!socket) return handlers;
  return handlers.map((handler) => ({
    ...handler,
    callback: (...args: unknown[]) =>
      socket.handle(() => handler.callback(...args) as unknown, toWsException),
  }));
}

/** An error of this library as clients of gateways are told of it: the event `exception`, with a `code`. */
export const toWsException = (error: unknown): unknown =>
  error instanceof SessionError ? new WsException(toRpcError(error)) : error;

/** What is said of a refused handshake. */
export interface HandshakeRefusal {
  readonly statusCode: number;
  readonly code?: string;
  readonly message: string;
}

/** Why a handshake is refused; what is not known is the server's own fault. */
export function refusalOf(error: unknown): HandshakeRefusal {
  const known = toHttpException(error);
  if (known instanceof SessionHttpException) return known.getResponse() as HandshakeRefusal;
  logger.error(error);
  return { statusCode: 500, message: 'Internal server error' };
}

const logger = new Logger('SessionSockets');
