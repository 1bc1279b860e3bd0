import {
  Injectable,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { ReplaySubject } from 'rxjs';

/**
 * When the process is told to end, each connection ends with the answer to the request on it. Otherwise
 * the process waits for connections that are kept alive: 5 seconds on Express, 72 on Fastify.
 */
@Injectable()
export class Drain implements OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #running = new Set<ServerResponse>();
  /** For what lasts until somebody ends it, such as `@Sse()`: `stream.pipe(takeUntil(drain.ending))`. */
  readonly ending = new ReplaySubject<void>(1);
  #ending = false;

  constructor(private readonly adapterHost: HttpAdapterHost) {}

  onApplicationBootstrap(): void {
    const server = this.adapterHost.httpAdapter.getHttpServer() as Server;
    server.prependListener('request', (_request: IncomingMessage, response: ServerResponse) => {
      this.#running.add(response);
      if (this.#ending) close(response);
      response.once('close', () => {
        this.#running.delete(response);
        if (this.#ending) server.closeIdleConnections();
      });
    });
  }

  beforeApplicationShutdown(): void {
    this.#ending = true;
    this.ending.next();
    this.#running.forEach(close);
  }
}

/** What has begun to be sent ends its connection when it is done: see above. */
function close(response: ServerResponse): void {
  if (!response.headersSent) response.setHeader('Connection', 'close');
}
