import {
  Inject,
  Logger,
  Module,
  type DynamicModule,
  type FactoryProvider,
  type MiddlewareConsumer,
  type ModuleMetadata,
  type NestModule,
  type OnApplicationBootstrap,
  type OnApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { DiscoveryModule, HttpAdapterHost } from '@nestjs/core';
import type { Server } from 'node:http';
import { SessionCsrfGuard } from './access/csrf.guard.js';
import { SessionGuard } from './access/session.guard.js';
import type { SessionStore } from './core/session-store.interface.js';
import { SessionOptionsError } from './core/session.errors.js';
import { SessionEvents } from './events/session-events.js';
import { expressMiddleware, mountOnExpress } from './http/mount-express.js';
import { fastifyMiddleware, mountOnFastify } from './http/mount-fastify.js';
import { SessionHost } from './http/session-host.js';
import { describeSessionPolicy } from './options/describe-session-policy.js';
import type { ResolvedSessionOptions } from './options/resolve-session-options.js';
import type {
  SessionFeatureOptions,
  SessionModuleOptions,
} from './options/session-module.options.js';
import {
  getSessionServiceToken,
  SESSION_MODULE_OPTIONS,
  SESSION_OPTIONS,
  SESSION_STORE,
} from './session.constants.js';
import { EventWork } from './session.event-work.js';
import { ConfigurableModuleClass, type ASYNC_OPTIONS_TYPE } from './session.module-definition.js';
import { NearCaches } from './session.near-caches.js';
import { Observation } from './session.observation.js';
import { featureProviders } from './session.feature-providers.js';
import { sessionProviders } from './session.providers.js';
import { SessionService } from './session.service.js';
import { SessionSockets } from './sockets/session-sockets.js';
import { StoreGuard } from './stores/guard/store-guard.js';

/** Options of `forRootAsync`: `useFactory`, `useClass` or `useExisting`, with `imports` and `inject`. */
export type SessionModuleAsyncOptions = typeof ASYNC_OPTIONS_TYPE;

/** Options of `forFeatureAsync`. */
export interface SessionFeatureAsyncOptions extends Pick<ModuleMetadata, 'imports'> {
  inject?: FactoryProvider['inject'];
  useFactory: (...args: never[]) => SessionFeatureOptions | Promise<SessionFeatureOptions>;
}

/** Where named sessions are made; Nest tells one from the other by what is provided. */
@Module({})
class SessionFeatureModule {}

/** Applications that have sessions: a second module would take requests from the first. */
const mounted = new WeakSet<object>();

/**
 * Distributed sessions for a Nest application. Global, and mounted on Express or Fastify by itself,
 * whatever the order of imports.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) at boot for wrong options
 * @example
 * \@Module({ imports: [SessionModule.forRoot({ redis: process.env.REDIS_URL })] })
 */
@Module({
  imports: [DiscoveryModule],
  providers: sessionProviders,
  exports: [
    SessionService,
    SessionGuard,
    SessionCsrfGuard,
    SESSION_STORE,
    SESSION_OPTIONS,
    SESSION_MODULE_OPTIONS,
    SessionHost,
    StoreGuard,
    SessionEvents,
    NearCaches,
    EventWork,
    Observation,
    SessionSockets,
  ],
})
export class SessionModule
  extends ConfigurableModuleClass
  implements NestModule, OnModuleInit, OnApplicationBootstrap, OnApplicationShutdown
{
  #mountedBefore = false;
  readonly #logger = new Logger(SessionModule.name);

  constructor(
    @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost | undefined,
    @Inject(SessionHost) private readonly host: SessionHost,
    @Inject(SESSION_OPTIONS) private readonly options: ResolvedSessionOptions,
    @Inject(SESSION_STORE) private readonly store: SessionStore,
    @Inject(StoreGuard) private readonly guard: StoreGuard,
    @Inject(NearCaches) private readonly nearCaches: NearCaches,
  ) {
    super();
    // Now, not when the application starts: middleware that main.ts adds comes after the session's.
    if (adapterHost?.httpAdapter) this.#mount();
    else adapterHost?.init$?.subscribe(() => this.#mount());
  }

  /** Sessions with the given options; without any, in memory and for development only. */
  static override forRoot(
    options: SessionModuleOptions & { isGlobal?: boolean } = {},
  ): DynamicModule {
    return super.forRoot(options);
  }

  /** Sessions with options from a factory, for example from a configuration service. */
  static override forRootAsync(options: SessionModuleAsyncOptions): DynamicModule {
    if (!options.useFactory && !options.useClass && !options.useExisting) {
      throw new SessionOptionsError([
        'forRootAsync has no way to get options: give useFactory, useClass or useExisting',
      ]);
    }
    return super.forRootAsync(options);
  }

  /**
   * Further sessions beside those of `forRoot`, with a cookie, timeouts and keys of their own: such as
   * those of an administration, or of another realm of users. A route chooses them by
   * `@UseSession(name)`, a parameter by `@Session.of(name)`; `@InjectSessionService(name)` injects
   * their service.
   *
   * @example SessionModule.forFeature('admin', { idleTimeout: '10m', cookie: { path: '/' } })
   */
  static forFeature(name: string, options: SessionFeatureOptions = {}): DynamicModule {
    return this.forFeatureAsync(name, { useFactory: () => options });
  }

  /**
   * As {@link forFeature}, with options from a factory.
   *
   * @example SessionModule.forFeatureAsync('admin', { inject: [Config], useFactory: (config: Config) => config.admin })
   */
  static forFeatureAsync(name: string, options: SessionFeatureAsyncOptions): DynamicModule {
    if (!/^[a-zA-Z][\w-]{0,31}$/.test(name)) {
      throw new SessionOptionsError([
        `forFeature: the name ${JSON.stringify(name)} cannot be used: use a letter, then letters, digits, '_' or '-', 32 in all`,
      ]);
    }
    const { imports = [], inject = [], useFactory } = options;
    return {
      module: SessionFeatureModule,
      imports,
      providers: featureProviders(name, { inject, useFactory }),
      exports: [getSessionServiceToken(name)],
    };
  }

  /** Only where `forRoutes` or `exclude` are given: then Nest decides which routes match. */
  configure(consumer: MiddlewareConsumer): void {
    if (!this.host.routed) return;
    const fastify = this.#adapterType === 'fastify';
    const middleware = fastify ? fastifyMiddleware(this.host) : expressMiddleware(this.host);
    consumer
      .apply(middleware)
      .exclude(...(this.options.exclude ?? []))
      .forRoutes(...(this.options.forRoutes ?? ['{*path}']));
  }

  onModuleInit(): void {
    if (this.#mountedBefore) {
      throw new SessionOptionsError([
        'SessionModule is imported with options more than once: call forRoot or forRootAsync in one place',
      ]);
    }
    this.#logger.log(describeSessionPolicy(this.options));
  }

  /**
   * Connections that stay open, such as those of GraphQL subscriptions. Only beside others who listen to
   * upgrades: else Node would wait for somebody to answer them.
   */
  onApplicationBootstrap(): void {
    const server = this.adapterHost?.httpAdapter?.getHttpServer() as Server | undefined;
    if (!server?.listenerCount('upgrade')) return;
    server.prependListener('upgrade', (request) => void this.host.greet(request));
  }

  /** Requests that are still running finish before this: they can commit. */
  async onApplicationShutdown(): Promise<void> {
    this.guard.retries.close();
    await this.nearCaches.close();
    await this.options.migrateFrom?.close();
    await this.store.close?.();
  }

  get #adapterType(): string | undefined {
    return this.adapterHost?.httpAdapter?.getType();
  }

  #mount(): void {
    // An application context (a worker, a command line) has none: sessions by SessionService only.
    const instance = this.adapterHost?.httpAdapter?.getInstance() as object | undefined;
    if (!instance) return;
    this.#mountedBefore = mounted.has(instance);
    if (this.#mountedBefore) return;
    mounted.add(instance);
    if (this.#adapterType === 'express') {
      mountOnExpress(instance as Parameters<typeof mountOnExpress>[0], this.host);
    } else if (this.#adapterType === 'fastify') {
      mountOnFastify(instance as Parameters<typeof mountOnFastify>[0], this.host);
    } else {
      this.#logger.warn(
        `The HTTP adapter "${this.#adapterType}" is not known: requests have no session. Use Express or Fastify.`,
      );
    }
  }
}
