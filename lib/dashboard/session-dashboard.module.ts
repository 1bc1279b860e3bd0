import {
  Inject,
  Module,
  Optional,
  type DynamicModule,
  type InjectionToken,
  type OnApplicationBootstrap,
  type OnModuleInit,
} from '@nestjs/common';
import type { SessionStore } from '../core/session-store.interface.js';
import { SessionOptionsError } from '../core/session.errors.js';
import { SessionEvents } from '../events/session-events.js';
import { SessionHost } from '../http/session-host.js';
import { SESSION_STORE } from '../session.constants.js';
import { EventWork } from '../session.event-work.js';
import { SessionService } from '../session.service.js';
import { controllerAt } from './dashboard.controller.js';
import { isForEveryone } from './dashboard-guards.js';
import {
  DASHBOARD_OPTIONS,
  resolveDashboardOptions,
  type DashboardOptions,
  type SessionDashboardOptions,
} from './dashboard.options.js';
import { EventFeed } from './event-feed.js';
import { SessionDashboard } from './session-dashboard.js';

/**
 * A page for administrators: how many sessions live, whose they are and on which devices, what happens to them
 * just now, how fast the store answers; and buttons that end sessions. Of the sessions of `forRoot`. It tells no
 * id, no token and no data of a session. Needs `SessionModule` beside it, and somebody who says who may see it:
 * without `guards` or `allow` the application does not boot.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) at boot for wrong options, where everybody could see it,
 * and without `SessionModule`
 * @example
 * SessionDashboardModule.forRoot({ allow: (session) => session.roles.includes('admin') })
 */
@Module({})
export class SessionDashboardModule implements OnModuleInit, OnApplicationBootstrap {
  constructor(
    @Inject(EventFeed) private readonly feed: EventFeed,
    @Inject(DASHBOARD_OPTIONS) private readonly options: DashboardOptions,
    @Optional() @Inject(SessionHost) private readonly host: SessionHost | undefined,
  ) {}

  static forRoot(options: SessionDashboardOptions = {}): DynamicModule {
    const resolved = resolveDashboardOptions(options);
    const optional = (token: InjectionToken) => ({ token, optional: true });
    return {
      module: SessionDashboardModule,
      imports: options.imports ?? [],
      controllers: [controllerAt(resolved)],
      providers: [
        { provide: DASHBOARD_OPTIONS, useValue: resolved },
        {
          provide: SessionDashboard,
          useFactory: openDashboard,
          inject: [SessionService, SESSION_STORE, EventWork, SessionHost].map(optional),
        },
        {
          provide: EventFeed,
          useFactory: (events?: SessionEvents) => new EventFeed(needed(events)),
          inject: [optional(SessionEvents)],
        },
      ],
    };
  }

  onModuleInit(): void {
    const { session } = this.options;
    const { main, named } = needed(this.host);
    const lane = session === undefined ? main : named.get(session);
    if (!lane) {
      throw new SessionOptionsError([
        `SessionDashboardModule: there are no sessions named "${session}": import SessionModule.forFeature('${session}', …)`,
      ]);
    }
    if (isForEveryone(this.options) && !lane.policy) {
      throw new SessionOptionsError([
        'SessionDashboardModule would be open to everybody who is logged in: add a guard of administrators, or `allow: (session) => session.roles.includes("admin")`',
      ]);
    }
  }

  /** By now it is known whether anything is told of sessions. */
  onApplicationBootstrap(): void {
    this.feed.start();
  }
}

function openDashboard(
  sessions?: SessionService,
  store?: SessionStore,
  work?: EventWork,
  host?: SessionHost,
): SessionDashboard {
  const { manager } = needed(host).main;
  return new SessionDashboard({
    sessions: needed(sessions),
    store: needed(store),
    work: needed(work),
    now: manager.now,
  });
}

function needed<T>(part: T | undefined): T {
  if (part !== undefined) return part;
  throw new SessionOptionsError([
    'SessionDashboardModule needs SessionModule beside it: import SessionModule.forRoot(…); where that is not global, by the option `imports`',
  ]);
}
