import { describe } from '@jest/globals';
import type {
  DynamicModule,
  ForwardReference,
  INestApplication,
  LoggerService,
  MiddlewareConsumer,
  Provider,
  Type,
} from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { ExpressAdapter } from '@nestjs/platform-express';
import { FastifyAdapter } from '@nestjs/platform-fastify';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { inspect } from 'node:util';
import { SessionModule, type SessionModuleOptions } from 'nestjs-distributed-session';
import { expectNoIds } from './secrets.js';
import { inStoreOfThisRun } from './store-under-test.js';

export type AdapterName = 'express' | 'fastify';

/** Every case that can be seen from outside is run on both. */
export const ADAPTERS: readonly AdapterName[] = ['express', 'fastify'];

/** Long enough and no dictionary word, as the options ask for. */
export const SECRET = 'x8Jd93kd02kdLs93kfj3kdlsk39fkslw0';

/** How records are encrypted in this run; `undefined`: not, but where a test says so. */
export const ENCRYPTION = process.env.SESSION_ENCRYPTION as 'keys' | 'store-blind' | undefined;

/** Applications over Redis keep copies of sessions in use in this run, but where a test says otherwise. */
export const NEAR_CACHE = process.env.NEAR_CACHE === '1';

/** Tests that read or change data by a session's handle, which cannot be done where only its id opens them. */
export const byHandle = ENCRYPTION === 'store-blind' ? describe.skip : describe;

type Import = Type | DynamicModule | Promise<DynamicModule> | ForwardReference;

/** What an application under test consists of. */
export interface TestAppOptions {
  adapter: AdapterName;
  /** Options of `SessionModule.forRoot`; leave them out where `imports` bring the module. */
  session?: SessionModuleOptions;
  imports?: Import[];
  controllers?: Type[];
  providers?: Provider[];
  logger?: TestLogger;
  /** Options of the Fastify adapter. */
  fastify?: { trustProxy?: boolean };
  /** As an application's `main.ts` does: `app.use`, `app.useGlobalPipes` … */
  setup?: (app: INestApplication) => void | Promise<void>;
  /** The module's `configure`. */
  configure?: (consumer: MiddlewareConsumer) => void;
}

/** A running application. */
export interface TestApp {
  readonly app: INestApplication;
  readonly port: number;
  readonly logger: TestLogger;
  /** Ends it; fails if its log tells a session id. */
  close(): Promise<void>;
}

/** Boots an application on a free port of the loopback interface. */
export async function startApp(options: TestAppOptions): Promise<TestApp> {
  const { adapter, session, configure, logger = new TestLogger() } = options;
  class TestAppModule {
    configure(consumer: MiddlewareConsumer): void {
      configure?.(consumer);
    }
  }
  const module: DynamicModule = {
    module: TestAppModule,
    imports: [
      ...(options.imports ?? []),
      ...(session ? [SessionModule.forRoot(asInThisRun(session))] : []),
    ],
    controllers: options.controllers ?? [],
    providers: options.providers ?? [],
  };
  const app = await NestFactory.create(
    module,
    adapter === 'express' ? new ExpressAdapter() : new FastifyAdapter(options.fastify),
    { logger, abortOnError: false, forceCloseConnections: true },
  );
  try {
    await options.setup?.(app);
    await app.listen(0, '127.0.0.1');
  } catch (error) {
    await app.close().catch(() => undefined);
    throw error;
  }
  const server = app.getHttpServer() as Server;
  // Longer than any test: a client never meets a connection that is just being closed.
  server.keepAliveTimeout = 600_000;
  const { port } = server.address() as AddressInfo;
  const close = async () => {
    await app.close();
    expectNoIds('the log', logger.texts());
  };
  return { app, port, logger, close };
}

/** Options, completed by what a run says that all applications have. */
export function asInThisRun(session: SessionModuleOptions): SessionModuleOptions {
  return inStoreOfThisRun({
    ...(ENCRYPTION !== undefined && { encryption: { keys: SECRET, mode: ENCRYPTION } }),
    ...(NEAR_CACHE && session.redis !== undefined && { nearCache: true }),
    ...session,
  });
}

/** Keeps what an application logs instead of printing it. */
export class TestLogger implements LoggerService {
  readonly lines: { level: string; text: string }[] = [];

  log = (...parts: unknown[]): void => this.#keep('log', parts);
  warn = (...parts: unknown[]): void => this.#keep('warn', parts);
  error = (...parts: unknown[]): void => this.#keep('error', parts);
  debug = (...parts: unknown[]): void => this.#keep('debug', parts);
  verbose = (...parts: unknown[]): void => this.#keep('verbose', parts);
  fatal = (...parts: unknown[]): void => this.#keep('fatal', parts);

  /** Everything that was logged at a level, or at all. */
  texts(level?: string): string[] {
    return this.lines.filter((line) => !level || line.level === level).map((line) => line.text);
  }

  #keep(level: string, parts: unknown[]): void {
    const shown = parts.map((part) =>
      typeof part === 'string' ? part : inspect(part, { depth: 12, showHidden: true }),
    );
    this.lines.push({ level, text: shown.join(' ') });
  }
}

/** A place where a handler waits until a test lets it go on. */
export class Latch {
  #arrive!: () => void;
  #open!: () => void;
  /** Somebody waits here. */
  readonly reached = new Promise<void>((resolve) => (this.#arrive = resolve));
  readonly #opened = new Promise<void>((resolve) => (this.#open = resolve));

  wait(): Promise<void> {
    this.#arrive();
    return this.#opened;
  }

  open = (): void => this.#open();
}

/** Waits for a condition, and says what was waited for if it does not come. */
export async function until<T>(
  what: string,
  condition: () => T | Promise<T>,
  { within = 5_000 }: { within?: number } = {},
): Promise<Exclude<T, false | null | undefined>> {
  const deadline = performance.now() + within;
  for (;;) {
    const value = await condition();
    if (value) return value as Exclude<T, false | null | undefined>;
    if (performance.now() > deadline) throw new Error(`not within ${within} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Runs tasks, at most `width` at a time. */
export async function inParallel<T>(
  count: number,
  width: number,
  task: (index: number) => Promise<T>,
): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  const worker = async () => {
    while (next < count) {
      const index = next++;
      results[index] = await task(index);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, worker));
  return results;
}
