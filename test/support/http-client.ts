import { connect, type Socket } from 'node:net';
import { noteToken } from './secrets.js';

export interface Sending {
  headers?: Record<string, string>;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is. */
  body?: string;
  /** Leaves in the middle. */
  signal?: AbortSignal;
}

/** An answer, read to its end. */
export interface Answer {
  readonly status: number;
  /** By lower-case name; repeated ones joined by a comma. */
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** All `Set-Cookie` headers. */
  readonly setCookie: readonly string[];
  readonly bytes: Buffer;
  readonly text: string;
  /** The body as JSON. */
  readonly json: Record<string, unknown>;
}

/**
 * A client of one application: keep-alive connections, as many as there are requests at a time, and
 * a cookie jar that can be read and set. Speaks HTTP/1.1 by itself, at a fraction of the cost of a
 * general client: some tests send a hundred thousand requests.
 */
export class HttpClient {
  /** Cookies by name, sent with every request. */
  readonly jar: Map<string, string>;

  constructor(
    readonly port: number,
    cookies: Iterable<[string, string]> = [],
    private readonly connections = new Connections(port),
  ) {
    this.jar = new Map(cookies);
  }

  /** Another browser over the same connections. */
  another(cookies: Iterable<[string, string]> = []): HttpClient {
    return new HttpClient(this.port, cookies, this.connections);
  }

  get = (path: string, sending?: Sending) => this.send('GET', path, sending);
  post = (path: string, sending?: Sending) => this.send('POST', path, sending);

  /** Sends a request and reads the whole answer. */
  async send(method: string, path: string, sending: Sending = {}): Promise<Answer> {
    const body = sending.json === undefined ? (sending.body ?? '') : JSON.stringify(sending.json);
    const headers: Record<string, string> = { host: 'localhost' };
    if (sending.json !== undefined) headers['content-type'] = 'application/json';
    if (method !== 'GET' && method !== 'HEAD') {
      headers['content-length'] = String(Buffer.byteLength(body));
    }
    if (this.jar.size > 0) headers.cookie = this.cookieHeader;
    Object.assign(headers, sending.headers);
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`);
    const request = `${method} ${path} HTTP/1.1\r\n${lines.join('')}\r\n${body}`;
    const answer = await this.connections.exchange(request, sending.signal);
    this.#keepCookies(answer);
    return answer;
  }

  get cookieHeader(): string {
    return [...this.jar].map(([name, value]) => `${name}=${value}`).join('; ');
  }

  close(): void {
    this.connections.close();
  }

  #keepCookies({ setCookie, headers }: Answer): void {
    noteToken(headers['x-auth-token']);
    noteToken(headers['authentication-info']);
    for (const line of setCookie) {
      const cookie = parseSetCookie(line);
      noteToken(cookie.value);
      if (cookie.attributes['max-age'] === '0') this.jar.delete(cookie.name);
      else this.jar.set(cookie.name, cookie.value);
    }
  }
}

/** Keep-alive connections to one port; each carries one request at a time. */
class Connections {
  readonly #idle: Socket[] = [];
  readonly #all = new Set<Socket>();

  constructor(private readonly port: number) {}

  exchange(request: string, signal?: AbortSignal): Promise<Answer> {
    const socket = this.#idle.pop() ?? this.#connect();
    return new Promise((resolve, reject) => {
      const parser = new AnswerParser(request.startsWith('HEAD '));
      const done = (settle: () => void, { reuse }: { reuse: boolean }) => {
        socket.removeAllListeners('data').removeAllListeners('end').removeAllListeners('close');
        signal?.removeEventListener('abort', abort);
        if (reuse) this.#idle.push(socket);
        else socket.destroy();
        settle();
      };
      const abort = () => done(() => reject(new Error('aborted')), { reuse: false });
      const finish = (answer: Answer) => {
        const reuse = answer.headers.connection !== 'close';
        done(() => resolve(answer), { reuse });
      };
      const end = () => {
        const answer = parser.atEnd();
        if (answer) finish(answer);
        else done(() => reject(new Error('the connection was closed')), { reuse: false });
      };
      signal?.addEventListener('abort', abort);
      socket.on('data', (chunk: Buffer) => {
        const answer = parser.add(chunk);
        if (answer) finish(answer);
      });
      socket.on('end', end).on('close', end);
      socket.write(request);
    });
  }

  close(): void {
    for (const socket of this.#all) socket.destroy();
  }

  #connect(): Socket {
    const socket = connect(this.port, '127.0.0.1').setNoDelay(true);
    this.#all.add(socket);
    // 'close' follows, and is what a waiting request hears of.
    socket.on('error', () => undefined);
    socket.once('close', () => this.#all.delete(socket));
    return socket;
  }
}

/** Puts one answer together from what arrives. */
class AnswerParser {
  readonly #chunks: Buffer[] = [];
  #length = 0;
  #head: { text: string; bodyStart: number } | undefined;
  /** Bytes until the end of the body, where the head tells. */
  #total: number | undefined;
  #chunked = false;

  constructor(private readonly bodiless: boolean) {}

  /** The answer once it is complete. */
  add(chunk: Buffer): Answer | undefined {
    this.#chunks.push(chunk);
    this.#length += chunk.length;
    if (!this.#head) this.#readHead();
    if (this.#total !== undefined && this.#length >= this.#total) return this.#answer();
    if (this.#chunked && chunk.subarray(-5).toString('latin1').endsWith('0\r\n\r\n')) {
      const body = dechunked(this.#all().subarray(this.#head!.bodyStart));
      if (body) return this.#answer(body);
    }
    return undefined;
  }

  /** The answer whose end is the end of the connection. */
  atEnd(): Answer | undefined {
    if (!this.#head || this.#chunked || this.#total !== undefined) return undefined;
    return this.#answer();
  }

  #readHead(): void {
    const all = this.#all();
    const at = all.indexOf('\r\n\r\n');
    if (at < 0) return;
    const text = all.toString('latin1', 0, at);
    this.#head = { text, bodyStart: at + 4 };
    const length = /\r\ncontent-length: *(\d+)/i.exec(text)?.[1];
    const empty = this.bodiless || /^HTTP\/1\.1 (204|304)/.test(text);
    this.#chunked = !empty && /\r\ntransfer-encoding: *chunked/i.test(text);
    if (empty) this.#total = at + 4;
    else if (length !== undefined) this.#total = at + 4 + Number(length);
  }

  #all(): Buffer {
    if (this.#chunks.length === 1) return this.#chunks[0] as Buffer;
    const all = Buffer.concat(this.#chunks);
    this.#chunks.splice(0, Infinity, all);
    return all;
  }

  #answer(bytes = this.#all().subarray(this.#head!.bodyStart)): Answer {
    const [first = '', ...lines] = this.#head!.text.split('\r\n');
    const headers: Record<string, string> = {};
    const setCookie: string[] = [];
    for (const line of lines) {
      const colon = line.indexOf(':');
      const name = line.slice(0, colon).toLowerCase();
      const value = line.slice(colon + 1).trim();
      if (name === 'set-cookie') setCookie.push(value);
      else headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
    }
    return {
      status: Number(first.split(' ')[1]),
      headers,
      setCookie,
      bytes,
      get text() {
        return bytes.toString();
      },
      get json() {
        return JSON.parse(bytes.toString()) as Record<string, unknown>;
      },
    };
  }
}

/** The body without its chunk sizes; `undefined` while it is not complete. */
function dechunked(body: Buffer): Buffer | undefined {
  const parts: Buffer[] = [];
  for (let at = 0; ;) {
    const lineEnd = body.indexOf('\r\n', at);
    if (lineEnd < 0) return undefined;
    const size = parseInt(body.toString('latin1', at, lineEnd), 16);
    const start = lineEnd + 2;
    if (size === 0) return Buffer.concat(parts);
    if (start + size + 2 > body.length) return undefined;
    parts.push(body.subarray(start, start + size));
    at = start + size + 2;
  }
}

export interface ParsedCookie {
  readonly name: string;
  readonly value: string;
  /** By lower-case name; `''` for those without a value. */
  readonly attributes: Readonly<Record<string, string | undefined>>;
}

export function parseSetCookie(line: string): ParsedCookie {
  const [pair = '', ...rest] = line.split(/;\s*/);
  const split = (text: string): [string, string] => {
    const at = text.indexOf('=');
    return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
  };
  const [name, value] = split(pair);
  const attributes = rest.map(split).map(([key, text]) => [key.toLowerCase(), text] as const);
  return { name, value, attributes: Object.fromEntries(attributes) };
}
