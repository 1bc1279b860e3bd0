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

  const open = () => {
    phase = 'open';
    if (!response.headersSent) corridor.answer(writerOf(response));
  };

  const release = () => {
    Reflect.deleteProperty(response, 'headersSent');
    open();
    for (const call of waiting) call();
    waiting = [];
    if (writerWaits && !response.writableNeedDrain) response.emit('drain');
  };

  const fail = (error: unknown) => {
    Reflect.deleteProperty(response, 'headersSent');
    phase = 'failed';
    waiting = [];
    for (const name of ABOUT_THE_BODY) response.removeHeader(name);
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
    // As far as the handler can tell, it has answered.
    Object.defineProperty(response, 'headersSent', { configurable: true, value: true });
    corridor.commit().then(release, fail);
    return false;
  };

  const guard = <R>(method: Method, meanwhile: () => R): void => {
    const original = response[method] as (...args: unknown[]) => R;
    const pass = (args: unknown[]): R =>
      Reflect.apply(original, response, method === 'writeHead' ? merged(response, args) : args);
    Object.assign(response, {
      [method]: (...args: unknown[]): R => {
        if (mayPass()) return pass(args);
        if (phase === 'waiting') waiting.push(() => pass(args));
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

/** Headers that described the answer which is not sent. */
const ABOUT_THE_BODY = [
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

/** `writeHead(…, headers)` would replace the cookies that were set before: add to them instead. */
function merged(response: ServerResponse, args: unknown[]): unknown[] {
  const headers = args.at(-1) as HeadersArgument | undefined;
  if (typeof headers !== 'object' || headers === null || !response.hasHeader('set-cookie')) {
    return args;
  }
  const pairs: [string, OutgoingHttpHeader | undefined][] = Array.isArray(headers)
    ? Array.from({ length: headers.length / 2 }, (_, i) => [
        String(headers[2 * i]),
        headers[2 * i + 1] as OutgoingHttpHeader,
      ])
    : Object.entries(headers);
  for (const [name, value] of pairs) {
    if (value === undefined) continue;
    if (name.toLowerCase() !== 'set-cookie') response.setHeader(name, value);
    else response.appendHeader(name, Array.isArray(value) ? value : String(value));
  }
  return args.slice(0, -1);
}
