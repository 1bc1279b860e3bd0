import type { OutgoingHttpHeader, OutgoingHttpHeaders, ServerResponse } from 'node:http';
import type { SessionCorridor } from './session-corridor.js';

type Method = 'writeHead' | 'write' | 'end' | 'flushHeaders';
type HeadersArgument = OutgoingHttpHeaders | OutgoingHttpHeader[];

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
  let phase: 'closed' | 'waiting' | 'open' | 'failed' = 'closed';
  let waiting: (() => void)[] = [];
  let writerWaits = false;
  /** The answer is complete, as far as its handler goes. */
  let ended = false;
  /** Undoes what {@link pretendSent} did. */
  let unfreeze = (): void => undefined;

  const open = () => {
    phase = 'open';
    if (!response.headersSent) corridor.answer(writerOf(response));
  };

  const release = () => {
    unfreeze();
    try {
      open();
      for (const call of waiting) call();
    } catch (error) {
      // What the handler wrote was wrong, and it is no longer there to be told.
      if (!response.headersSent) return fail(error);
      response.destroy(error as Error);
    }
    waiting = [];
    if (writerWaits && !response.writableNeedDrain) response.emit('drain');
  };

  const fail = (error: unknown) => {
    unfreeze();
    phase = 'failed';
    waiting = [];
    // Only what is there: Node takes the removal of `transfer-encoding` as a wish to do without.
    for (const name of ABOUT_THE_BODY) if (response.hasHeader(name)) response.removeHeader(name);
    corridor.answer(writerOf(response));
    onFailure(error);
  };

  /** True if the call may pass; false if it has to wait. */
  const mayPass = (): boolean => {
    if (phase === 'open') return true;
    if (phase === 'waiting') return false;
    // What the dropped answer still writes must not run into the end of the one that took its place.
    if (phase === 'failed') return !response.writableEnded;
    if (corridor.answered || corridor.settled) {
      open();
      return true;
    }
    phase = 'waiting';
    corridor.commit().then(release, fail);
    return false;
  };

  /** `writeHead(…, headers)` would replace the headers that were set before, and those of the answer. */
  const addsHeaders = (): boolean =>
    !response.headersSent &&
    (!corridor.answered || response.hasHeader('set-cookie') || response.hasHeader('vary'));

  const guard = <R>(method: Method, meanwhile: () => R): void => {
    const original = response[method] as (...args: unknown[]) => R;
    Object.assign(response, {
      [method]: (...given: unknown[]): R => {
        if (phase === 'waiting' && method === 'writeHead') refuseHeaders();
        const args =
          method === 'writeHead' && addsHeaders() ? withoutHeaders(response, given) : given;
        if (mayPass()) return Reflect.apply(original, response, args);
        if (phase === 'waiting' && !ended) {
          waiting.push(() => Reflect.apply(original, response, args));
          ended = method === 'end';
          if (waiting.length === 1) unfreeze = pretendSent(response);
        }
        return meanwhile();
      },
    });
  };
  guard('writeHead', () => response);
  guard('write', () => {
    writerWaits = true;
    return false;
  });
  guard('end', () => response);
  guard('flushHeaders', () => undefined);
}

/**
 * As far as the handler can tell, it has answered: a second answer is refused as Node would refuse it,
 * or its headers would frame the body of the first one.
 */
function pretendSent(response: ServerResponse): () => void {
  const { statusCode, statusMessage } = response;
  const before = Object.getOwnPropertyDescriptors(response) as PropertyDescriptorMap;
  for (const name of ['headersSent', ...CHANGES_HEADERS]) {
    const value = name === 'headersSent' ? true : refuseHeaders;
    Object.defineProperty(response, name, { configurable: true, value });
  }
  return () => {
    for (const name of ['headersSent', ...CHANGES_HEADERS]) {
      // Other middleware may have put its own there.
      if (before[name]) Object.defineProperty(response, name, before[name]);
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

const CHANGES_HEADERS = ['setHeader', 'setHeaders', 'appendHeader', 'removeHeader'];

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
