import { RedisStore } from 'connect-redis';
import express, { type Request } from 'express';
import session from 'express-session';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import type { IncomingMessage, Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createClient } from 'redis';

/** What the application signs cookies with; the first is the newer one. */
export const OLD_SECRETS = ['7Jd02kXs93lLq0fj3kd8s', 'an-older-one-Kd93kfj3k'];

/** What both generations of the application answer to `GET /me`. */
export interface Me {
  readonly user: string | null;
  readonly cart: readonly string[];
}

/** An application of the other library, on a port of its own. */
export interface OldApp {
  readonly port: number;
  close(): Promise<void>;
}

type ShopSession = session.Session & {
  passport?: { user?: string };
  cart?: string[];
  [attribute: string]: unknown;
};

const sessionOf = (request: Request): ShopSession => request.session as ShopSession;
const queryOf = ({ url }: { readonly url?: string | undefined }) =>
  new URL(url ?? '/', 'http://old').searchParams;

/** A shop as its users know it: express-session with connect-redis, logins as passport keeps them. */
export async function startExpressSession(
  redisUrl: string,
  options: Partial<session.SessionOptions> = {},
): Promise<OldApp> {
  const client = await connected(redisUrl);
  const app = express();
  app.use(
    session({
      store: new RedisStore({ client }),
      secret: OLD_SECRETS,
      resave: false,
      saveUninitialized: false,
      cookie: { secure: false, maxAge: 3_600_000 },
      ...options,
    }),
  );
  app.get('/me', (request, response) => {
    const { passport, cart = [] } = sessionOf(request);
    response.json({ user: passport?.user ?? null, cart });
  });
  app.post('/cart', (request, response) => {
    const here = sessionOf(request);
    here.cart = [...(here.cart ?? []), String(queryOf(request).get('item'))];
    response.json({});
  });
  app.post('/login', (request, response, next) => {
    const { cart } = sessionOf(request);
    request.session.regenerate((error: unknown) => {
      if (error) return next(error);
      sessionOf(request).passport = { user: String(queryOf(request).get('user')) };
      if (cart) sessionOf(request).cart = cart;
      response.json({});
    });
  });
  // As older versions of passport did.
  app.post('/login-in-place', (request, response) => {
    sessionOf(request).passport = { user: String(queryOf(request).get('user')) };
    response.json({});
  });
  app.post('/logout', (request, response, next) => {
    request.session.destroy((error: unknown) => (error ? next(error) : response.json({})));
  });
  const server = app.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return started(server, () => client.close());
}

/** Where the benchmark keeps the packages that it compares with. */
const BENCH = join(import.meta.dirname, '../../bench/package.json');

function fastifyPackage(name: string): unknown {
  for (const from of [import.meta.filename, BENCH]) {
    try {
      if (existsSync(from)) return createRequire(from)(name);
    } catch {
      // It is in the other place, or in none.
    }
  }
  return undefined;
}

/** Whether @fastify/session is installed here. */
export const HAS_FASTIFY_SESSION =
  fastifyPackage('@fastify/session') !== undefined &&
  fastifyPackage('@fastify/cookie') !== undefined;

/** Longer than express-session asks for. */
export const FASTIFY_SECRET = 'x8Jd93kd02kdLs93kfj3kdlsk39fkslw0-fastify';

interface FastifyShop {
  register(plugin: unknown, options?: object): unknown;
  get(path: string, handler: Handler): unknown;
  post(path: string, handler: Handler): unknown;
  listen(options: object): Promise<string>;
  readonly server: Server;
}
type FastifyShopSession = ShopSession & { regenerate(): Promise<void>; destroy(): Promise<void> };
type Handler = (request: { session: FastifyShopSession; raw: IncomingMessage }) => Promise<object>;

/** The same shop on @fastify/session, as that is by default: every answer saves, every visitor has a session. */
export async function startFastifySession(redisUrl: string): Promise<OldApp> {
  const client = await connected(redisUrl);
  const { fastify } = createRequire(
    createRequire(import.meta.url).resolve('@nestjs/platform-fastify'),
  )('fastify') as { fastify: () => FastifyShop };
  const app = fastify();
  app.register(fastifyPackage('@fastify/cookie'));
  app.register(fastifyPackage('@fastify/session'), {
    secret: FASTIFY_SECRET,
    store: new RedisStore({ client }),
    cookie: { secure: false, maxAge: 3_600_000 },
  });
  app.get('/me', async ({ session: { passport, cart = [] } }) => ({
    user: passport?.user ?? null,
    cart,
  }));
  app.post('/cart', async ({ session: here, raw }) => {
    here.cart = [...(here.cart ?? []), String(queryOf(raw).get('item'))];
    return {};
  });
  app.post('/login', async (request) => {
    const { cart } = request.session;
    await request.session.regenerate();
    request.session.passport = { user: String(queryOf(request.raw).get('user')) };
    if (cart) request.session.cart = cart;
    return {};
  });
  app.post('/logout', async ({ session: here }) => {
    await here.destroy();
    return {};
  });
  await app.listen({ port: 0, host: '127.0.0.1' });
  return started(app.server, () => client.close());
}

async function connected(url: string) {
  const client = createClient({ url });
  // Without a listener an error ends the process.
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

function started(server: Server, closeClient: () => unknown): OldApp {
  const { port } = server.address() as AddressInfo;
  // Longer than any test: a client never meets a connection that is just being closed.
  server.keepAliveTimeout = 600_000;
  return {
    port,
    close: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await closeClient();
    },
  };
}
