import { Controller, Get, HttpCode, Post, Query } from '@nestjs/common';
import { Session, type SessionModuleOptions } from 'nestjs-distributed-session';
import type { LegacySessions } from 'nestjs-distributed-session/migration';
import { Latch, SECRET, startApp, type AdapterName, type TestApp } from '../support/app.js';
import { HttpClient, type Answer } from '../support/http-client.js';
import type { Me } from './old-apps.js';

/** Other applications of these tests say what stands there; this one does not. */
export const CART: string = 'cart';

let latch: Latch | undefined;

/** The next request to `/slow` waits, with its session read, until it is let go on. */
export function held(): Pick<Latch, 'reached' | 'open'> {
  latch = new Latch();
  return latch;
}

/** The shop of {@link startExpressSession}, on this library. */
@Controller()
class ShopController {
  @Get('me')
  me(@Session() session: Session): Me {
    return {
      user: session.principal ?? null,
      cart: (session.get(CART) as string[] | undefined) ?? [],
    };
  }

  @Post('cart')
  @HttpCode(200)
  add(@Session() session: Session, @Query('item') item: string): object {
    session.update(CART, (cart) => [...((cart as string[] | undefined) ?? []), item]);
    return {};
  }

  @Post('slow')
  @HttpCode(200)
  async addLate(@Session() session: Session, @Query('item') item: string): Promise<object> {
    await latch?.wait();
    return this.add(session, item);
  }

  @Post('login')
  @HttpCode(200)
  async login(@Session() session: Session, @Query('user') user: string): Promise<object> {
    await session.authenticate(user);
    return {};
  }

  @Post('logout')
  @HttpCode(200)
  async logout(@Session() session: Session): Promise<object> {
    await session.destroy();
    return {};
  }

  @Post('renew')
  @HttpCode(200)
  async renew(@Session() session: Session): Promise<object> {
    await session.regenerate();
    return {};
  }

  @Get('data')
  data(@Session() session: Session): object {
    return { ...session.data, isPolluted: 'polluted' in {} };
  }
}

/** A node of the new application. */
export interface NewApp extends TestApp {
  readonly migration: LegacySessions;
}

export async function startNew(
  adapter: AdapterName,
  redis: string,
  migration: LegacySessions,
  options: SessionModuleOptions = {},
): Promise<NewApp> {
  const app = await startApp({
    adapter,
    session: {
      redis,
      secret: SECRET,
      cookie: { secure: false },
      idleTimeout: '1h',
      migrateFrom: migration,
      ...options,
    },
    controllers: [ShopController],
  });
  return { ...app, migration };
}

/** A user's browser, which any node may answer. */
export class Browser {
  readonly jar: Map<string, string>;
  readonly #clients = new Map<number, HttpClient>();

  constructor(cookies: Iterable<[string, string]> = []) {
    this.jar = new Map(cookies);
  }

  async send(port: number, method: 'GET' | 'POST', path: string): Promise<Answer> {
    let client = this.#clients.get(port);
    if (!client) this.#clients.set(port, (client = new HttpClient(port)));
    client.jar.clear();
    for (const [name, value] of this.jar) client.jar.set(name, value);
    const answer = await client.send(method, path);
    this.jar.clear();
    for (const [name, value] of client.jar) this.jar.set(name, value);
    if (answer.status !== 200)
      throw new Error(`${method} ${path}: ${answer.status} ${answer.text}`);
    return answer;
  }

  post = (port: number, path: string): Promise<Answer> => this.send(port, 'POST', path);

  async me(port: number): Promise<Me> {
    return (await this.send(port, 'GET', '/me')).json as unknown as Me;
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
  }
}
