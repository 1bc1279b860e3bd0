import type { HttpServer } from '@nestjs/common';
import type { DashboardOptions } from './dashboard.options.js';

/** What is read of a request of either adapter. */
export interface DashboardRequest {
  readonly method: string;
  readonly url: string;
  readonly originalUrl?: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

const HEADERS: readonly (readonly [name: string, value: string])[] = [
  [
    'Content-Security-Policy',
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  ],
  ['Cache-Control', 'no-store'],
  ['Referrer-Policy', 'no-referrer'],
  ['X-Content-Type-Options', 'nosniff'],
  ['X-Frame-Options', 'DENY'],
  ['Cross-Origin-Resource-Policy', 'same-origin'],
  ['Cross-Origin-Opener-Policy', 'same-origin'],
];

export interface AnswerOptions {
  readonly status?: number;
  /** @default HTML */
  readonly type?: 'text/css' | 'text/javascript' | 'application/json';
}

/** Answers past interceptors of the application: what they wrap answers in would be no page. */
export function respond(
  adapter: HttpServer,
  response: unknown,
  body: string,
  { status = 200, type }: AnswerOptions = {},
): void {
  writeHeaders(adapter, response);
  adapter.setHeader?.(response, 'Content-Type', `${type ?? 'text/html'}; charset=utf-8`);
  adapter.reply(response, body, status);
}

export function writeHeaders(adapter: HttpServer, response: unknown): void {
  for (const [name, value] of HEADERS) adapter.setHeader?.(response, name, value);
}

/** Where things are, relative to the request: a proxy may have put the application under another path. */
export interface Addresses {
  /** What the address of each other route begins with; `''`: it is one itself, or the page with a slash behind it. */
  readonly base: string;
  /** The page. */
  readonly home: string;
}

export function addressesOf(request: DashboardRequest, { path }: DashboardOptions): Addresses {
  const [asked = ''] = (request.originalUrl ?? request.url).split('?', 1);
  const last = path.slice(path.lastIndexOf('/') + 1);
  // Express takes no notice of upper and lower case.
  const isPage = asked.toLowerCase().endsWith(`/${path}`.toLowerCase());
  if (isPage) return { base: `${last}/`, home: last };
  return { base: '', home: `../${last}` };
}
