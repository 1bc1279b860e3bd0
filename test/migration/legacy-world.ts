import type { Redis } from 'ioredis';
import { createHmac } from 'node:crypto';
import type { SessionModuleOptions } from 'nestjs-distributed-session';
import { connectRedis, type MigrationOptions } from 'nestjs-distributed-session/migration';
import type { AdapterName } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';
import { Browser, startNew, type NewApp } from './new-app.js';
import { OLD_SECRETS, startExpressSession, type OldApp } from './old-apps.js';

/** What a cookie of express-session is, computed here by itself. */
export function cookieOf(id: string, secret = OLD_SECRETS[0] as string): string {
  const signature = createHmac('sha256', secret).update(id).digest('base64').replace(/=+$/, '');
  return encodeURIComponent(`s:${id}.${signature}`);
}

/** The id in such a cookie. */
export const idIn = (cookie: string | undefined): string =>
  decodeURIComponent(cookie ?? '').slice(2, -44);

/** One Redis, and what of both generations runs on it. */
export class LegacyWorld {
  readonly #close: (() => Promise<unknown> | void)[] = [];

  private constructor(
    readonly server: RedisServer,
    readonly redis: Redis,
  ) {}

  static async start(): Promise<LegacyWorld> {
    const server = await RedisServer.start();
    return new LegacyWorld(server, server.connect());
  }

  async oldApp(): Promise<OldApp> {
    const app = await startExpressSession(this.server.url);
    this.#close.unshift(() => app.close());
    return app;
  }

  async newApp(
    adapter: AdapterName,
    migration: Partial<MigrationOptions> = {},
    session: SessionModuleOptions = {},
  ): Promise<NewApp> {
    const cookie = { secure: false, maxAge: 3_600_000 };
    const from = connectRedis({ secrets: OLD_SECRETS, cookie, ...migration });
    const app = await startNew(adapter, this.server.url, from, session);
    this.#close.unshift(() => app.close());
    return app;
  }

  browser(cookies: Iterable<[string, string]> = []): Browser {
    const browser = new Browser(cookies);
    this.#close.unshift(() => browser.close());
    return browser;
  }

  /** Somebody whom express-session knows, without asking it. */
  async someone(id: string, content: unknown, ttl = 600_000): Promise<Browser> {
    const text = typeof content === 'string' ? content : JSON.stringify(content);
    await this.redis.set(`sess:${id}`, text, 'PX', ttl);
    return this.browser([['connect.sid', cookieOf(id)]]);
  }

  async record(id: string): Promise<Record<string, unknown> | undefined> {
    const text = await this.redis.get(`sess:${id}`);
    return text === null ? undefined : (JSON.parse(text) as Record<string, unknown>);
  }

  /** How many sessions of ours there are. */
  async sessions(): Promise<number> {
    const keys = await this.redis.keys('{sess:*}:s:*');
    const kinds = await Promise.all(keys.map((key) => this.redis.getrange(key, 14, 14)));
    return kinds.filter((kind) => kind === '1').length;
  }

  /** All applications end, and all that was stored is gone. */
  async reset(): Promise<void> {
    for (const close of this.#close.splice(0)) await close();
    await this.redis.flushall();
  }

  async stop(): Promise<void> {
    await this.reset();
    this.redis.disconnect();
    await this.server.stop();
  }
}
