import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { SessionCorridor } from './session-corridor.js';

type Method = (typeof SENDS)[number];
type HeadersArgument = OutgoingHttpHeaders | OutgoingHttpHeader[];

const GATE = Symbol('session gate');

type GatedResponse = ServerResponse & { [GATE]?: ResponseGate };

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
  (response as GatedResponse)[GATE] = new ResponseGate(response, corridor, onFailure);
  const prototype = Object.getPrototypeOf(response) as ServerResponse;
  if (!gatedPrototypes.has(prototype)) {
    const gated = gatedOf.get(prototype) ?? gatePrototype(Object.create(prototype) as object);
    gatedOf.set(prototype, gated);
    Object.setPrototypeOf(response, gated);
  }
}

/** Prototypes that gate their responses; methods that every request had anew would cost it microseconds. */
const gatedPrototypes = new WeakSet<object>();
const gatedOf = new WeakMap<object, object>();

/** Makes a prototype of responses gate those that have a gate. */
export function gatePrototype<Prototype extends object>(prototype: Prototype): Prototype {
  const base = prototype as unknown as ServerResponse;
  gatedPrototypes.add(prototype);
  for (const method of SENDS) {
    const original = base[method] as Anything;
    define(prototype, method, function (...args) {
      const gate = this[GATE];
      return gate ? gate.pass(method, original, args) : Reflect.apply(original, this, args);
    });
  }
  for (const method of CHANGES_HEADERS) {
    const original = base[method] as Anything;
    define(prototype, method, function (...args) {
      if (this[GATE]?.waits) refuseHeaders();
      return Reflect.apply(original, this, args);
    });
  }
  // Node has it as a getter of a prototype further up.
  const sent = accessorOf(base, 'headersSent');
  Object.defineProperty(prototype, 'headersSent', {
    configurable: true,
    get(this: GatedResponse) {
      return this[GATE]?.waits || (sent ? Reflect.apply(sent, this, []) : false);
    },
  });
  return prototype;
}

type Anything = (...args: unknown[]) => unknown;

function define(
  prototype: object,
  name: string,
  value: (this: GatedResponse, ...args: unknown[]) => unknown,
): void {
  Object.defineProperty(prototype, name, { configurable: true, writable: true, value });
}

function accessorOf(prototype: object, name: string): (() => unknown) | undefined {
  for (let at: object | null = prototype; at; at = Object.getPrototypeOf(at) as object | null) {
    const own = Object.getOwnPropertyDescriptor(at, name);
    if (own) return own.get;
  }
  return undefined;
}

/** The gate of one response. */
class ResponseGate {
  #phase: 'closed' | 'waiting' | 'open' | 'failed' = 'closed';
  #calls: (() => unknown)[] = [];
  #writerWaits = false;
  /** The answer is complete, as far as its handler goes. */
  #ended = false;
  #status: { statusCode: number; statusMessage: string } | undefined;

  constructor(
    private readonly response: ServerResponse,
    private readonly corridor: SessionCorridor,
    private readonly onFailure: (error: unknown) => void,
  ) {}

  /**
   * The handler has answered, as far as it can tell: a second answer is refused as Node would refuse
   * it, or its headers would frame the body of the first one.
   */
  get waits(): boolean {
    return this.#phase === 'waiting' && this.#status !== undefined;
  }

  /** One of the four methods was called. */
  pass(method: Method, original: Anything, given: unknown[]): unknown {
    const { response } = this;
    if (this.#phase === 'waiting' && method === 'writeHead') refuseHeaders();
    const args =
      method === 'writeHead' && this.#addsHeaders ? withoutHeaders(response, given) : given;
    if (this.#mayPass()) return Reflect.apply(original, response, args);
    if (this.#phase === 'waiting' && !this.#ended) {
      this.#calls.push(() => Reflect.apply(original, response, args));
      this.#ended = method === 'end';
      // What the handler sets from here on is not part of its answer.
      this.#status ??= { statusCode: response.statusCode, statusMessage: response.statusMessage };
    }
    if (method === 'write') return !(this.#writerWaits = true);
    return method === 'flushHeaders' ? undefined : response;
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
    if (!this.response.headersSent) this.corridor.answer(writerOf(this.response));
  }

  #release(): void {
    const { response } = this;
    this.#restoreStatus();
    try {
      this.#open();
      for (const call of this.#calls) call();
    } catch (error) {
      // What the handler wrote was wrong, and it is no longer there to be told.
      if (!response.headersSent) return this.#fail(error);
      response.destroy(error as Error);
    }
    this.#calls = [];
    if (this.#writerWaits && !response.writableNeedDrain) response.emit('drain');
  }

  #fail(error: unknown): void {
    const { response } = this;
    this.#restoreStatus();
    this.#phase = 'failed';
    this.#calls = [];
    // Only what is there: Node takes the removal of `transfer-encoding` as a wish to do without.
    for (const name of ABOUT_THE_BODY) if (response.hasHeader(name)) response.removeHeader(name);
    this.corridor.answer(writerOf(response));
    this.onFailure(error);
  }

  #restoreStatus(): void {
    Object.assign(this.response, this.#status);
    this.#status = undefined;
  }

  /** `writeHead(…, headers)` would replace the headers that were set before, and those of the answer. */
  get #addsHeaders(): boolean {
    const { response, corridor } = this;
    return (
      !response.headersSent &&
      (!corridor.answered || response.hasHeader('set-cookie') || response.hasHeader('vary'))
    );
  }
}

function refuseHeaders(): never {
  throw Object.assign(new Error('Cannot change headers after they are sent to the client'), {
    code: 'ERR_HTTP_HEADERS_SENT',
  });
}

const SENDS = ['writeHead', 'write', 'end', 'flushHeaders'] as const;
const CHANGES_HEADERS = ['setHeader', 'setHeaders', 'appendHeader', 'removeHeader'] as const;

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

function writerOf(response: ServerResponse) {
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
