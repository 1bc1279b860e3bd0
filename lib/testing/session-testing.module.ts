import { Module, type DynamicModule } from '@nestjs/common';
import { ModuleRef } from '@nestjs/core';
import { resolveSessionOptions } from '../options/resolve-session-options.js';
import type { SessionModuleOptions } from '../options/session-module.options.js';
import { SESSION_MODULE_OPTIONS, SESSION_OPTIONS } from '../session.constants.js';
import { SessionModule } from '../session.module.js';
import { FakeClock } from './fake-clock.js';
import { SessionTesting } from './session-testing.js';

/** What `SessionModule.forRoot` takes, but for where sessions are kept. */
export type SessionTestingModuleOptions = Omit<SessionModuleOptions, 'redis' | 'store'>;

/** A `TestingModuleBuilder` of `@nestjs/testing`. */
interface TestBuilder {
  overrideProvider(token: unknown): {
    useFactory(provider: {
      factory: (options?: SessionModuleOptions) => unknown;
      inject: unknown[];
    }): unknown;
  };
}

/** Sessions for tests of an application: in memory, without Redis, by a clock that the test moves. */
@Module({})
export class SessionTestingModule {
  /**
   * In place of `SessionModule.forRoot`, with {@link SessionTesting} to act as a user.
   *
   * The cookie is Secure only on encrypted requests, unless `cookie` says otherwise: so clients that
   * keep cookies, such as supertest's agent, work over plain http.
   *
   * @example
   * const app = await Test.createTestingModule({
   *   imports: [SessionTestingModule.forRoot(), CartModule],
   * }).compile();
   */
  static forRoot(options: SessionTestingModuleOptions = {}): DynamicModule {
    return {
      module: SessionTestingModule,
      global: true,
      imports: [SessionModule.forRoot({ cookie: { secure: 'auto' }, ...inTests(options) })],
      providers: [
        {
          provide: SessionTesting,
          useFactory: (injector: ModuleRef) => new SessionTesting(injector),
          inject: [ModuleRef],
        },
      ],
      exports: [SessionTesting],
    };
  }

  /**
   * For tests of a whole application, which imports `SessionModule` itself: keeps all of its options
   * but the store and the clock.
   *
   * @example
   * const builder = Test.createTestingModule({ imports: [AppModule] });
   * const app = (await SessionTestingModule.override(builder).compile()).createNestApplication();
   * const { headers } = await new SessionTesting(app).login('alice');
   */
  static override<T extends TestBuilder>(builder: T, clock = new FakeClock()): T {
    builder.overrideProvider(SESSION_OPTIONS).useFactory({
      factory: (options) => resolveSessionOptions(inTests({ ...options, clock })),
      inject: [{ token: SESSION_MODULE_OPTIONS, optional: true }],
    });
    return builder;
  }
}

function inTests(options: SessionModuleOptions): SessionModuleOptions {
  const { redis: _, clock = new FakeClock(), ...others } = options;
  return { ...others, clock, store: 'memory', nearCache: false };
}
