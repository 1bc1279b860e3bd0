import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { TransportResponse } from '../core/session-id-transport.interface.js';
import type { SessionCorridor } from './session-corridor.js';

type Method = (typeof SENDS)[number];
type HeadersArgument = OutgoingHttpHeaders | OutgoingHttpHeader[];

const GATE = Symbol('session gate');

type Send = (...args: unknown[]) => unknown;
type GatedResponse = ServerResponse & { [GATE]: ResponseGate };

/**
 * Holds the first byte of a response back until its session is stored: whatever way a handler
 * answers (value, `@Res()`, redirect, stream, SSE, `flushHeaders`), it ends up in one of four
 * methods. Calls that come while the commit runs wait in order; if it fails they are dropped
 * and `onFailure` answers instead.
 */
export function gateResponse(
  response: ServerResponse,
  corridor: SessionCorridor,
  onFailure: (error: unknown) => void,
): void {
  const gate = new ResponseGate(response, corridor, onFailure);
  (response as GatedResponse)[GATE] = gate;
  // On the response itself: Express changes its prototype, and wrappers may be there already.
  for (const method of SENDS) if (Object.hasOwn(response, method)) gate.wraps(method);
  stand(response);
}

const gated = (method: Method) =>
  function (this: GatedResponse, ...args: unknown[]): unknown {
    return this[GATE].pass(method, args);
  };

/** The same four functions for all responses: closures of its own would cost each some microseconds. */
const GATED: Record<Method, Send> = {
  writeHead: gated('writeHead'),
  write: gated('write'),
  end: gated('end'),
  flushHeaders: gated('flushHeaders'),
};

/** Puts the gate in front of the response, and of whatever wraps it. */
function stand(response: ServerResponse): void {
  const own = response as unknown as Record<Method, Send>;
  // One by one: Node's engine takes its slow way for all of them at once, 10 µs a response.
  own.writeHead = GATED.writeHead;
  own.write = GATED.write;
  own.end = GATED.end;
  own.flushHeaders = GATED.flushHeaders;
}

/** The gate of one response. */
class ResponseGate {
  #phase: 'closed' | 'waiting' | 'open' | 'failed' = 'closed';
  #waiting: (() => unknown)[] = [];
  #writerWaits = false;
  /** The answer is complete, as far as its handler goes. */
  #ended = false;
  /** Undoes what {@link pretendSent} did. */
  #unfreeze: (() => void) | undefined;
  /** Methods that somebody had put on the response before. */
  #wrapped: Partial<Record<Method, Send>> | undefined;

  constructor(
    private readonly response: ServerResponse,
    private readonly corridor: SessionCorridor,
    private readonly onFailure: (error: unknown) => void,
  ) {}

  wraps(method: Method): void {
    (this.#wrapped ??= {})[method] = this.response[method] as Send;
  }

  /** One of the four methods was called: it passes, waits, or is dropped. */
  pass(method: Method, given: unknown[]): unknown {
    const { response } = this;
    if (this.#phase === 'waiting' && method === 'writeHead') refuseHeaders();
    const args =
      method === 'writeHead' && this.#addsHeaders ? withoutHeaders(response, given) : given;
    const original = this.#originalOf(method);
    if (this.#mayPass()) return Reflect.apply(original, response, args);
    if (this.#phase === 'waiting' && !this.#ended) {
      this.#waiting.push(() => Reflect.apply(original, response, args));
      this.#ended = method === 'end';
      this.#unfreeze ??= pretendSent(response);
    }
    if (method === 'write') return !(this.#writerWaits = true);
    return method === 'flushHeaders' ? undefined : response;
  }

  #originalOf(method: Method): Send {
    const prototype = Object.getPrototypeOf(this.response) as ServerResponse;
    return this.#wrapped?.[method] ?? (prototype[method] as Send);
  }

  #mayPass(): boolean {
    const { corridor } = this;
    if (this.#phase === 'open') return true;
    if (this.#phase === 'waiting') return false;
    // What the dropped answer still writes must not run into the end of the one that took its place.
    if (this.#phase === 'failed') return !this.response.writableEnded;
    if (corridor.answered || corridor.settled) {
      this.#open();
      return true;
    }
    this.#phase = 'waiting';
    corridor.commit().then(
      () => this.#release(),
      (error: unknown) => this.#fail(error),
    );
    return false;
  }

  #open(): void {
    this.#phase = 'open';
    if (!this.response.headersSent)
      this.corridor.answer(writerOf(this.response), this.response.statusCode);
  }

  #release(): void {
    const { response } = this;
    this.#unfreeze?.();
    try {
      this.#open();
      for (const call of this.#waiting) call();
    } catch (error) {
      // What the handler wrote was wrong, and it is no longer there to be told.
      if (!response.headersSent) return this.#fail(error);
      response.destroy(error as Error);
    }
    this.#waiting = [];
    if (this.#writerWaits && !response.writableNeedDrain) response.emit('drain');
  }

  #fail(error: unknown): void {
    const { response } = this;
    this.#unfreeze?.();
    this.#phase = 'failed';
    this.#waiting = [];
    // Only what is there: Node takes the removal of `transfer-encoding` as a wish to do without.
    for (const name of ABOUT_THE_BODY) if (response.hasHeader(name)) response.removeHeader(name);
    // The answer that takes its place goes past wrappers: a compression that was ended once would swallow it.
    stand(response);
    this.corridor.answer(writerOf(response), 0);
    this.onFailure(error);
  }

  /** `writeHead(…, headers)` would replace the headers that were set before, and those of the answer. */
  get #addsHeaders(): boolean {
    const { response, corridor } = this;
    return (
      !response.headersSent &&
      (!corridor.answered || response.hasHeader('set-cookie') || response.hasHeader('vary'))
    );
  }

  /** What `console.log(response)` shows of it. */
  [Symbol.for('nodejs.util.inspect.custom')](): string {
    return `ResponseGate(${this.#phase})`;
  }
}

/**
 * As far as the handler can tell, it has answered: a second answer is refused as Node would refuse it,
 * or its headers would frame the body of the first one.
 */
function pretendSent(response: ServerResponse): () => void {
  const { statusCode, statusMessage } = response;
  // Other middleware may have put its own there.
  const before = FROZEN.map((name) => Object.getOwnPropertyDescriptor(response, name));
  for (const name of FROZEN) {
    const value = name === 'headersSent' ? true : refuseHeaders;
    Object.defineProperty(response, name, { configurable: true, value });
  }
  return () => {
    // Backwards: a property that was added last is taken away at little cost.
    for (let i = FROZEN.length - 1; i >= 0; i--) {
      const name = FROZEN[i] as string;
      if (before[i]) Object.defineProperty(response, name, before[i] as PropertyDescriptor);
      else Reflect.deleteProperty(response, name);
    }
    Object.assign(response, { statusCode, statusMessage });
  };
}

function refuseHeaders(): never {
  throw Object.assign(new Error('Cannot change headers after they are sent to the client'), {
    code: 'ERR_HTTP_HEADERS_SENT',
  });
}

const SENDS = ['writeHead', 'write', 'end', 'flushHeaders'] as const;
const FROZEN = ['headersSent', 'setHeader', 'setHeaders', 'appendHeader', 'removeHeader'];

/** Headers that described the answer which is not sent. */
export const ABOUT_THE_BODY = [
  'content-type',
  'content-length',
  'content-encoding',
  'content-disposition',
  'transfer-encoding',
  'etag',
  'last-modified',
  'location',
];

/** A raw response, as transports write to it. */
export function writerOf(response: ServerResponse): TransportResponse {
  return {
    append: (name: string, value: string) => void response.appendHeader(name, value),
    replace: (name: string, value: string) => void response.setHeader(name, value),
    header: (name: string) => response.getHeader(name),
  };
}

/** Sets the headers that are given to `writeHead` beside those that are there already. */
function withoutHeaders(response: ServerResponse, args: unknown[]): unknown[] {
  const headers = args.at(-1) as HeadersArgument | undefined;
  if (typeof headers !== 'object' || headers === null) return args;
  const given = new Set<string>();
  for (const [name, value] of pairsOf(headers)) {
    if (value === undefined) continue;
    const text = Array.isArray(value) ? value : String(value);
    const lower = name.toLowerCase();
    if (lower === 'vary') response.setHeader(name, united(response.getHeader(name), text));
    else if (lower === 'set-cookie' || given.has(lower)) response.appendHeader(name, text);
    else response.setHeader(name, text);
    given.add(lower);
  }
  return args.slice(0, -1);
}

function pairsOf(headers: HeadersArgument): [string, OutgoingHttpHeader | undefined][] {
  if (!Array.isArray(headers)) return Object.entries(headers);
  return Array.from({ length: headers.length / 2 }, (_, i) => [
    String(headers[2 * i]),
    headers[2 * i + 1] as OutgoingHttpHeader,
  ]);
}

function united(...lists: (OutgoingHttpHeader | undefined)[]): string {
  const names = lists.flatMap((list) => String(list ?? '').split(/\s*,\s*/)).filter(Boolean);
  const known = new Map(names.map((name) => [name.toLowerCase(), name]));
  return [...known.values()].join(', ');
}
