import {
  Body,
  Controller,
  Get,
  Header,
  HttpCode,
  Injectable,
  Post,
  Sse,
  type CanActivate,
  type ExecutionContext,
  type MessageEvent,
} from '@nestjs/common';
import { NEVER, type Observable } from 'rxjs';
import {
  OnStoreFailure,
  RequireSession,
  Session,
  type AuthenticateOptions,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import {
  SessionDashboardModule,
  type SessionDashboardOptions,
} from 'nestjs-distributed-session/dashboard';
import { startApp, until, type TestApp, type TestAppOptions } from '../support/app.js';
import type { Answer, HttpClient } from '../support/http-client.js';
import type { RedisServer } from '../support/redis-server.js';

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

  /** Tried, and tried again, also while the store does not answer. */
  @OnStoreFailure('anonymous') @Post('logout') @HttpCode(200) async logout(
    @Session() session: Session,
  ) {
    await session.destroy();
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

/** Lets in who says so, and asks no store. */
@Injectable()
export class LocalGuard implements CanActivate {
  canActivate(context: ExecutionContext): boolean {
    const { headers } = context.switchToHttp().getRequest<{ headers: Record<string, string> }>();
    return headers['x-operator'] === 'yes';
  }
}

export const OPERATOR = { 'x-operator': 'yes' };

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
export const submit = (
  client: HttpClient,
  path: string,
  fields: Record<string, string>,
  headers: Record<string, string> = {},
) =>
  client.post(path, {
    headers: { ...OWN, ...headers, 'content-type': 'application/x-www-form-urlencoded' },
    body: new URLSearchParams(fields).toString(),
  });

/** Goes where an answer leads to. */
export function follow(
  client: HttpClient,
  from: string,
  answer: Answer,
  headers: Record<string, string> = {},
): Promise<Answer> {
  const { pathname, search } = new URL(answer.headers.location!, `http://localhost${from}`);
  return client.get(pathname + search, { headers });
}

/** Searches for a principal, as a browser without a script does; tells the address that the page then has. */
export async function search(
  client: HttpClient,
  principal: string,
  { page = PAGE, headers = {} }: { page?: string; headers?: Record<string, string> } = {},
): Promise<Answer & { address: string }> {
  const blank = await client.get(page, { headers });
  const [form] = formsIn(blank.text, `${page.slice(page.lastIndexOf('/') + 1)}/search`);
  const sent = await submit(client, `${page}/search`, { ...form, principal }, headers);
  const answer = await follow(client, `${page}/search`, sent, headers);
  const address = page + new URL(sent.headers.location!, 'http://localhost').search;
  return Object.assign(answer, { address });
}

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

/**
 * Redis stands still, and enough calls have waited in vain. Where the machine was too slow for that the connection has
 * broken meanwhile, and calls fail at once: then it is done again.
 *
 * @param breaker asks the store, and tells the state of the breaker
 */
export const openBreaker = (redis: RedisServer, breaker: () => Promise<string>) =>
  until(
    'the breaker opens',
    async () => {
      redis.signal('SIGSTOP');
      const states = await Promise.all(Array.from({ length: 6 }, breaker));
      if (states.some((state) => state !== 'closed')) return true;
      redis.signal('SIGCONT');
      return false;
    },
    { within: 20_000 },
  );
