import { stringifySetCookie } from 'cookie';
import type {
  SessionIdTransport,
  TransportRequest,
  TransportResponse,
} from '../core/session-id-transport.interface.js';
import type { CookieAttributes } from '../options/resolve-session-options.js';
import { CookieTransport } from './cookie.transport.js';

/** Browsers drop cookies of more bytes than that: name, value and, in some of them, attributes (RFC 6265, section 6.1). */
const MOST_BYTES = 4_096;
/** Says how many cookies there are, in front of the first one's value. */
const COUNT = /^([1-9]\d?)\.(.*)$/s;
const COUNT_LENGTH = 3;
/** Of more values of one name than any browser sends the rest is not looked at. */
const MOST_VALUES = 4;
const LONGEST_AGE = 99_999_999_999;

/** A long token in as many cookies as it takes: `name`, `name.1`, `name.2` … One that fits into a single one is as it is. */
export class ChunkedCookieTransport implements SessionIdTransport {
  readonly #cookies: readonly CookieTransport[];
  readonly #room: number;

  constructor(cookie: CookieAttributes, now: () => number, mostCookies: number) {
    this.#room = roomIn(cookie);
    this.#cookies = Array.from({ length: mostCookies }, (_, i) =>
      i === 0
        ? new CookieTransport(cookie, now)
        : new CookieTransport({ ...cookie, name: `${cookie.name}.${i}`, routing: undefined }, now),
    );
  }

  read(request: TransportRequest): readonly string[] {
    const [first] = this.#cookies as [CookieTransport];
    return first
      .read(request)
      .slice(0, MOST_VALUES)
      .map((value, nth) => this.#whole(request, value, nth))
      .filter((token) => token !== '');
  }

  write(
    request: TransportRequest,
    response: TransportResponse,
    token: string,
    endsAt: number,
    lasting: boolean,
  ): void {
    const parts = this.#parts(token);
    const others = silent(response);
    for (const [i, part] of parts.entries()) {
      const cookie = this.#cookies[i] as CookieTransport;
      cookie.write(request, i === 0 ? response : others, part, endsAt, lasting);
    }
    this.#clearFrom(parts.length, request, others);
  }

  clear(request: TransportRequest, response: TransportResponse): void {
    this.#cookies[0]?.clear(request, response);
    this.#clearFrom(1, request, silent(response));
  }

  /** What is left of a longer token. */
  #clearFrom(start: number, request: TransportRequest, response: TransportResponse): void {
    for (const cookie of this.#cookies.slice(start)) {
      if (cookie.read(request).length > 0) cookie.clear(request, response);
    }
  }

  /** Browsers send a name twice when it was set for different paths, and all of them in the same order. */
  #whole(request: TransportRequest, value: string, nth: number): string {
    const [, count, first = ''] = COUNT.exec(value) ?? [];
    if (count === undefined) return value;
    const rest = this.#cookies.slice(1, Number(count)).map((cookie) => {
      const values = cookie.read(request);
      return values[nth] ?? values[0] ?? '';
    });
    return first + rest.join('');
  }

  #parts(token: string): string[] {
    if (token.length <= this.#room) return [token];
    const room = this.#room - COUNT_LENGTH;
    const count = Math.ceil(token.length / room);
    const parts = Array.from({ length: count }, (_, i) => token.slice(i * room, (i + 1) * room));
    return [`${count}.${parts[0]}`, ...parts.slice(1)];
  }
}

/** Characters of a token that so many cookies can carry. */
export const capacityOf = (cookie: CookieAttributes, cookies: number): number =>
  cookies === 1 ? roomIn(cookie) : cookies * (roomIn(cookie) - COUNT_LENGTH);

function roomIn(cookie: CookieAttributes): number {
  const { name, domain, path, sameSite, partitioned, priority } = cookie;
  const longest = stringifySetCookie({
    name: `${name}.99`,
    value: '',
    path,
    sameSite,
    httpOnly: true,
    secure: true,
    maxAge: LONGEST_AGE,
    ...(domain !== undefined && { domain }),
    ...(partitioned && { partitioned }),
    ...(priority !== undefined && { priority }),
  });
  return MOST_BYTES - longest.length;
}

/** What the answer depends on was said by the first. */
function silent(response: TransportResponse): TransportResponse {
  return {
    header: (name) => response.header(name),
    replace: (name, value) => response.replace(name, value),
    append: (name, value) => {
      if (name !== 'Vary') response.append(name, value);
    },
  };
}
