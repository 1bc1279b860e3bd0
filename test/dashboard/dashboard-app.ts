import {
  Body,
  Controller,
  Get,
  Header,
  HttpCode,
  Post,
  Sse,
  type MessageEvent,
} from '@nestjs/common';
import { NEVER, type Observable } from 'rxjs';
import {
  RequireSession,
  Session,
  type AuthenticateOptions,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import {
  SessionDashboardModule,
  type SessionDashboardOptions,
} from 'nestjs-distributed-session/dashboard';
import { startApp, type TestApp, type TestAppOptions } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';

type Login = AuthenticateOptions & { name: string };

@Controller()
class Shop {
  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name, ...options }: Login,
  ) {
    session.set('wish', 'a-secret-tea');
    await session.authenticate(name, options);
    return { handle: session.handle };
  }

  @Header('Content-Type', 'text/html') @Get('page') page() {
    return '<title>Shop</title><link rel="icon" href="data:,">A page of the shop';
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal };
  }

  @RequireSession() @Sse('stay') stay(): Observable<MessageEvent> {
    return NEVER;
  }
}

export const isAdmin = (session: Session): boolean => session.roles.includes('admin');

export interface DashboardAppOptions extends Omit<TestAppOptions, 'session' | 'controllers'> {
  session?: SessionModuleOptions;
  dashboard?: SessionDashboardOptions;
}

/** An application with a dashboard, for administrators unless it is said otherwise. */
export const startDashboardApp = ({
  session,
  dashboard = { allow: isAdmin },
  imports = [],
  ...options
}: DashboardAppOptions): Promise<TestApp> =>
  startApp({
    ...options,
    controllers: [Shop],
    imports: [...imports, SessionDashboardModule.forRoot(dashboard)],
    session: { cookie: { secure: 'auto' }, ...session },
  });

export const PAGE = '/admin/sessions';
/** As browsers say it of what a page of the same origin sends. */
export const OWN = { 'sec-fetch-site': 'same-origin' };

/** Logs a browser in, and tells the handle of its session. */
export async function login(client: HttpClient, name: string, more: object = {}): Promise<string> {
  const { json } = await client.post('/login', { json: { name, ...more } });
  return json.handle as string;
}

/** Submits a form, as a browser without a script does. */
export const submit = (client: HttpClient, path: string, fields: Record<string, string>) =>
  client.post(path, {
    headers: { ...OWN, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(fields).toString(),
  });

/** The fields of the forms of a page that lead to a path, as a browser would read them. */
export function formsIn(page: string, action: string): Record<string, string>[] {
  const forms = page.matchAll(/<form method="post" action="([^"]*)"[^>]*>([^]*?)<\/form>/g);
  return [...forms]
    .filter(([, to]) => to === action)
    .map(([, , inside = '']) => {
      const inputs = inside.matchAll(/<input[^>]*?name="([^"]*)"[^>]*?value="([^"]*)"/g);
      return Object.fromEntries([...inputs].map(([, name, value]) => [name, read(value!)]));
    });
}

const read = (text: string): string =>
  text.replace(/&#(\d+);/g, (_, code: string) => String.fromCharCode(Number(code)));
