import { Module, ValidationPipe, type DynamicModule } from '@nestjs/common';
import { APP_PIPE } from '@nestjs/core';
import { SessionModule, type SessionModuleOptions } from 'nestjs-distributed-session';
import { AccountController } from './account/account.controller.js';
import { AdminController } from './admin/admin.controller.js';
import { AuthController } from './auth/auth.controller.js';
import { OneTimeCodes } from './auth/one-time-codes.js';
import { Users } from './auth/users.js';
import { CartController } from './cart/cart.controller.js';
import { ProductsController } from './cart/products.controller.js';
import { DevicesController } from './devices/devices.controller.js';
import { Drain } from './drain.js';
import { HealthController } from './health.controller.js';
import { CartGateway } from './live/cart.gateway.js';
import { EventsController } from './live/events.controller.js';
import { LeftCarts } from './live/left-carts.js';
import { CounterController } from './notes/counter.controller.js';
import { NotesController } from './notes/notes.controller.js';
import { PageController } from './page/page.controller.js';
import { SessionController } from './session/session.controller.js';
import { SlowController } from './session/slow.controller.js';

/** What lives by what is told of sessions: not every store tells. */
const LIVE = [CartGateway, LeftCarts];

/** The shop. */
@Module({
  controllers: [
    AuthController,
    AccountController,
    DevicesController,
    AdminController,
    CartController,
    ProductsController,
    CounterController,
    NotesController,
    SessionController,
    SlowController,
    HealthController,
    PageController,
  ],
  providers: [
    Users,
    Drain,
    {
      provide: APP_PIPE,
      useFactory: () => new ValidationPipe({ whitelist: true }),
    },
  ],
})
export class AppModule {
  /** The shop with sessions as the options say, and with these codes as a second factor. */
  static with(session: SessionModuleOptions, codes: OneTimeCodes): DynamicModule {
    return {
      module: AppModule,
      imports: [SessionModule.forRoot(session)],
      controllers: session.events ? [EventsController] : [],
      providers: [{ provide: OneTimeCodes, useValue: codes }, ...(session.events ? LIVE : [])],
    };
  }
}
