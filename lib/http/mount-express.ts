import type { IncomingMessage, ServerResponse } from 'node:http';
import { RawTransportRequest } from './raw-transport-request.js';
import type { SessionHost } from './session-host.js';

type Next = (error?: unknown) => void;
type Middleware = (request: IncomingMessage, response: ServerResponse, next: Next) => void;

type ExpressRequest = IncomingMessage & {
  readonly secure?: boolean;
  readonly ip?: string;
  readonly host?: string;
};

interface ExpressApplication {
  /** The prototype of this application's requests. */
  readonly request: object;
  use(middleware: Middleware): void;
}

/** Mounts on the application itself, before anything that it adds with `app.use()` later. */
export function mountOnExpress(application: ExpressApplication, host: SessionHost): void {
  host.defineSession(application.request);
  host.readHandshake = (raw) => {
    const { headers, socket } = raw;
    // As Express would see it, had it been given it: what it makes of proxies counts here, too.
    const seen = Object.assign(Object.create(application.request) as ExpressRequest, {
      method: raw.method,
      headers,
      socket,
    });
    return new ExpressTransportRequest(seen);
  };
  const middleware = expressMiddleware(host);
  if (!host.routed) application.use(middleware);
  else if (host.hasEndpoint) {
    application.use((request, response, next) =>
      host.servesItself(request) ? middleware(request, response, next) : next(),
    );
  }
}

/** The corridor as a middleware, for routes chosen by Nest. */
export function expressMiddleware(host: SessionHost): Middleware {
  return (request, response, next) => {
    // From then on it is known, also when the client has left.
    if (host.asksForAddress) void request.socket.remoteAddress;
    // Express finds its error handlers from here whenever `next` is called, even after the handler.
    host.enter(request, response, new ExpressTransportRequest(request), next, (error) => {
      response.statusCode = 500;
      next(error);
    });
  };
}

class ExpressTransportRequest extends RawTransportRequest<ExpressRequest> {
  /** As far as `trust proxy` believes what a proxy says. */
  get secure(): boolean {
    return this.raw.secure === true;
  }

  get address(): string | undefined {
    return this.raw.ip;
  }

  protected get host(): string | undefined {
    return this.raw.host;
  }
}
