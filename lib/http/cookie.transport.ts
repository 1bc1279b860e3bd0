import { stringifySetCookie, type SetCookie } from 'cookie';
import { randomBytes } from 'node:crypto';
import type {
  SessionIdTransport,
  TransportRequest,
  TransportResponse,
} from '../core/session-id-transport.interface.js';
import type { CookieAttributes } from '../options/resolve-session-options.js';

/** The token in a cookie. */
export class CookieTransport implements SessionIdTransport {
  readonly #plain: SetCookie;

  constructor(
    private readonly cookie: CookieAttributes,
    private readonly now: () => number,
  ) {
    const { name, domain, path, sameSite, partitioned, priority } = cookie;
    this.#plain = {
      name,
      value: '',
      path,
      sameSite,
      httpOnly: true,
      ...(domain !== undefined && { domain }),
      ...(partitioned && { partitioned }),
      ...(priority !== undefined && { priority }),
    };
  }

  read(request: TransportRequest): readonly string[] {
    const header = request.header('cookie');
    return header === undefined ? [] : valuesOf(header, this.cookie.name);
  }

  write(
    request: TransportRequest,
    response: TransportResponse,
    token: string,
    endsAt: number,
    lasting: boolean,
  ): void {
    const maxAge = Math.max(1, Math.floor((endsAt - this.now()) / 1_000));
    const until = lasting || this.cookie.persistent ? { maxAge } : {};
    this.#send(request, response, { value: token, ...until });
    response.append('Vary', 'Cookie');
    this.#hint(request, response, until);
  }

  clear(request: TransportRequest, response: TransportResponse): void {
    this.#send(request, response, { value: '', maxAge: 0, expires: new Date(0) });
    response.append('Vary', 'Cookie');
  }

  /** What a load balancer may go by. It says nothing: few enough values that many browsers share one. */
  #hint(request: TransportRequest, response: TransportResponse, until: Partial<SetCookie>): void {
    const { routing } = this.cookie;
    if (routing === undefined) return;
    const header = request.header('cookie');
    const known = header && valuesOf(header, routing).find((value) => HINT.test(value));
    // It ends with the browser, or with a session that outlives it.
    if (known && until.maxAge === undefined) return;
    const value = known || randomBytes(2).toString('hex');
    this.#send(request, response, { name: routing, value, ...until });
  }

  #send(request: TransportRequest, response: TransportResponse, part: Partial<SetCookie>): void {
    const secure = this.cookie.secure === 'auto' ? request.secure : this.cookie.secure;
    response.append('Set-Cookie', stringifySetCookie({ ...this.#plain, ...part, secure }));
  }
}

const HINT = /^[0-9a-f]{4}$/;

/**
 * All values of one cookie. Browsers send a name twice when it was set for different domains or
 * paths, so the first one proves nothing. Reads past all other cookies without decoding them.
 */
function valuesOf(header: string, name: string): string[] {
  const values: string[] = [];
  for (let at = header.indexOf(name); at >= 0; at = header.indexOf(name, at + name.length)) {
    const valueStart = at + name.length + 1;
    if (header[valueStart - 1] !== '=' || !startsCookie(header, at)) continue;
    const end = header.indexOf(';', valueStart);
    values.push(unquoted(header.slice(valueStart, end < 0 ? undefined : end).trim()));
  }
  return values;
}

function startsCookie(header: string, at: number): boolean {
  let before = at - 1;
  while (before >= 0 && (header[before] === ' ' || header[before] === '\t')) before--;
  return before < 0 || header[before] === ';';
}

function unquoted(value: string): string {
  return value.length > 1 && value.startsWith('"') && value.endsWith('"')
    ? value.slice(1, -1)
    : value;
}
