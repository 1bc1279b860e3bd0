import { createHmac, hkdfSync, randomBytes, timingSafeEqual } from 'node:crypto';
import type {
  TransportRequest,
  TransportResponse,
} from '../core/session-id-transport.interface.js';
import { CookieTransport } from '../http/cookie.transport.js';

/** How the cookie of the other library is sent; as that library is told it. */
export interface LegacyCookieOptions {
  /** @default 'connect.sid' of express-session, 'sessionId' of @fastify/session */
  name?: string;
  /** @default as the cookie of `SessionModule` */
  domain?: string;
  /** @default as the cookie of `SessionModule` */
  path?: string;
  /** @default as the cookie of `SessionModule` */
  sameSite?: 'lax' | 'strict' | 'none';
  /** @default as the cookie of `SessionModule` */
  secure?: boolean | 'auto';
  /** How long a record and its cookie live, in milliseconds. @default until the browser is closed */
  maxAge?: number;
}

/** What tells one library's cookies and records from another's. */
export interface LegacyFormat {
  readonly library: 'express-session' | '@fastify/session';
  readonly cookieName: string;
  /** Stands in front of a signed id. */
  readonly before: string;
  /** A record that says itself that it has expired has; else only the store decides. */
  readonly endsByRecord: boolean;
}

type Attributes = ConstructorParameters<typeof CookieTransport>[0];

/** Ids are at most as long: of what others made, too. */
const LONGEST_ID = 256;

/** The cookies of the other library: `<id>.<HMAC-SHA-256 in base64 without padding>`, URL-encoded. */
export class LegacyCookies {
  readonly #transport: CookieTransport;
  readonly #key: Buffer;

  constructor(
    private readonly format: LegacyFormat,
    private readonly secrets: readonly string[],
    attributes: Attributes,
    now: () => number,
  ) {
    this.#transport = new CookieTransport(attributes, now);
    // The oldest secret: a new one that is put in front must not lead to other ids.
    const oldest = secrets.at(-1) as string;
    this.#key = Buffer.from(
      hkdfSync('sha256', oldest, '', 'nestjs-distributed-session/migration', 32),
    );
  }

  /** The id that a request brings; `undefined` for none and for a forged one. Of several the first, as there. */
  read(request: TransportRequest): string | undefined {
    const [first] = this.#transport.read(request);
    const text = first === undefined ? undefined : decoded(first);
    if (!text?.startsWith(this.format.before)) return undefined;
    const at = text.lastIndexOf('.');
    const id = text.slice(this.format.before.length, at);
    if (at < 0 || id === '' || id.length > LONGEST_ID) return undefined;
    const given = Buffer.from(text.slice(at + 1));
    const proves = (secret: string) => {
      const own = Buffer.from(signatureOf(id, secret));
      return own.length === given.length && timingSafeEqual(own, given);
    };
    return this.secrets.some(proves) ? id : undefined;
  }

  write(request: TransportRequest, response: TransportResponse, id: string, endsAt: number): void {
    const signed = `${this.format.before}${id}.${signatureOf(id, this.secrets[0] as string)}`;
    this.#transport.write(request, response, signed, endsAt, false);
  }

  clear(request: TransportRequest, response: TransportResponse): void {
    this.#transport.clear(request, response);
  }

  /** An id as the other library makes them. */
  newId(): string {
    return randomBytes(24).toString('base64url');
  }

  /** 32 bytes that follow from an id, and that nobody can compute who has only the store. */
  digest(...of: readonly unknown[]): Buffer {
    return createHmac('sha256', this.#key).update(JSON.stringify(of)).digest();
  }
}

const signatureOf = (id: string, secret: string): string =>
  createHmac('sha256', secret).update(id).digest('base64').replace(/=+$/, '');

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
