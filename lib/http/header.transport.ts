import type {
  SessionIdTransport,
  TransportRequest,
  TransportResponse,
} from '../core/session-id-transport.interface.js';

/** The token in a header of its own, both ways; for clients without cookies. */
export class HeaderTransport implements SessionIdTransport {
  readonly explicit = true;

  constructor(private readonly name: string) {}

  read(request: TransportRequest): readonly string[] {
    const token = request.header(this.name.toLowerCase());
    return token ? [token] : [];
  }

  write(_request: TransportRequest, response: TransportResponse, token: string): void {
    response.append(this.name, token);
    response.append('Vary', this.name);
  }

  clear(request: TransportRequest, response: TransportResponse): void {
    this.write(request, response, '');
  }
}

/**
 * The token as `Authorization: <scheme> <token>`. `Authorization` is a request header, so the answer
 * comes in its counterpart: `Authentication-Info: session="<token>"` (RFC 9110, section 11.6.3).
 */
export class AuthorizationTransport implements SessionIdTransport {
  readonly explicit = true;
  readonly #credentials: RegExp;

  /** @param scheme `Bearer` where the token is one of RFC 6750 */
  constructor(scheme: 'Session' | 'Bearer' = 'Session') {
    this.#credentials = new RegExp(`^${scheme} +(\\S+)$`, 'i');
  }

  read(request: TransportRequest): readonly string[] {
    const match = this.#credentials.exec(request.header('authorization') ?? '');
    return match ? [match[1] as string] : [];
  }

  write(_request: TransportRequest, response: TransportResponse, token: string): void {
    response.append('Authentication-Info', `session="${token}"`);
    response.append('Vary', 'Authorization');
  }

  clear(request: TransportRequest, response: TransportResponse): void {
    this.write(request, response, '');
  }
}
