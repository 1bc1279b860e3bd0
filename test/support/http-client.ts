import { once } from 'node:events';
import { connect } from 'node:net';
import { Agent, request, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';

export interface Sending {
  headers?: Record<string, string | string[]>;
  /** Sent as JSON. */
  json?: unknown;
  /** Sent as it is. */
  body?: string;
  signal?: AbortSignal;
}

/** An answer, read to its end. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** All `Set-Cookie` headers. */
  readonly setCookie: readonly string[];
  readonly bytes: Buffer;
  readonly text: string;
  /** The body as JSON. */
  readonly json: Record<string, unknown>;
}

/** A client of one application: keep-alive connections, and a cookie jar that can be read and set. */
export class HttpClient {
  /** Cookies by name, sent with every request. */
  readonly jar: Map<string, string>;
  readonly #agent: Agent;

  constructor(
    readonly port: number,
    agent: Agent = new Agent({ keepAlive: true, maxSockets: 64 }),
    cookies: Iterable<[string, string]> = [],
  ) {
    this.#agent = agent;
    this.jar = new Map(cookies);
  }

  /** Another browser over the same connections. */
  another(cookies: Iterable<[string, string]> = []): HttpClient {
    return new HttpClient(this.port, this.#agent, cookies);
  }

  get = (path: string, sending?: Sending) => this.send('GET', path, sending);
  post = (path: string, sending?: Sending) => this.send('POST', path, sending);

  /** Sends a request and reads the whole answer. */
  async send(method: string, path: string, sending: Sending = {}): Promise<Answer> {
    return readAnswer(await this.open(method, path, sending));
  }

  /** Resolves as soon as the headers of the answer are here; the body is still to be read. */
  open(method: string, path: string, sending: Sending = {}): Promise<IncomingMessage> {
    const body = sending.json === undefined ? sending.body : JSON.stringify(sending.json);
    const headers: Record<string, string | string[]> = { ...sending.headers };
    if (sending.json !== undefined) headers['content-type'] ??= 'application/json';
    if (body !== undefined) headers['content-length'] = String(Buffer.byteLength(body));
    if (this.jar.size > 0 && headers.cookie === undefined) headers.cookie = this.cookieHeader;
    return new Promise((resolve, reject) => {
      const { signal } = sending;
      const target = { host: '127.0.0.1', port: this.port, agent: this.#agent };
      const options = { ...target, method, path, headers, ...(signal && { signal }) };
      const sent = request(options, (response) => {
        this.#keepCookies(response);
        resolve(response);
      });
      sent.on('error', reject);
      sent.end(body);
    });
  }

  get cookieHeader(): string {
    return [...this.jar].map(([name, value]) => `${name}=${value}`).join('; ');
  }

  close(): void {
    this.#agent.destroy();
  }

  #keepCookies(response: IncomingMessage): void {
    for (const line of response.headers['set-cookie'] ?? []) {
      const cookie = parseSetCookie(line);
      if (cookie.attributes['max-age'] === '0') this.jar.delete(cookie.name);
      else this.jar.set(cookie.name, cookie.value);
    }
  }
}

export async function readAnswer(response: IncomingMessage): Promise<Answer> {
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const bytes = Buffer.concat(chunks);
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    setCookie: response.headers['set-cookie'] ?? [],
    bytes,
    get text() {
      return bytes.toString();
    },
    get json() {
      return JSON.parse(bytes.toString()) as Record<string, unknown>;
    },
  };
}

export interface ParsedCookie {
  readonly name: string;
  readonly value: string;
  /** By lower-case name; `''` for those without a value. */
  readonly attributes: Record<string, string>;
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

/**
 * Sends the same GET many times over keep-alive connections, each as soon as the answer before is
 * here, and returns the answers as they came. Costs a fraction of a real client.
 */
export async function hammer(
  port: number,
  path: string,
  { requests, connections }: { requests: number; connections: number },
): Promise<string[]> {
  const answers: string[] = [];
  let left = requests;
  const one = async () => {
    const socket = connect(port, '127.0.0.1').setNoDelay(true);
    while (left-- > 0) {
      socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
      let answer = '';
      while (!isComplete(answer)) {
        const [chunk] = (await once(socket, 'data')) as [Buffer];
        answer += chunk.toString('latin1');
      }
      answers.push(answer);
    }
    socket.destroy();
  };
  await Promise.all(Array.from({ length: connections }, one));
  return answers;
}

function isComplete(answer: string): boolean {
  const bodyStart = answer.indexOf('\r\n\r\n') + 4;
  if (bodyStart < 4) return false;
  const length = /\r\ncontent-length: *(\d+)/i.exec(answer)?.[1];
  if (length === undefined) throw new Error('an answer without Content-Length');
  return answer.length - bodyStart >= Number(length);
}
