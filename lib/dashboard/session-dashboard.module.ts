import {
  Inject,
  Module,
  Optional,
  type DynamicModule,
  type InjectionToken,
  type OnApplicationBootstrap,
  type OnModuleInit,
} from '@nestjs/common';
import { SessionOptionsError } from '../core/session.errors.js';
import { SessionEvents } from '../events/session-events.js';
import { SessionHost } from '../http/session-host.js';
import { SESSION_OPTIONS } from '../session.constants.js';
import { EventWork } from '../session.event-work.js';
import { Observation } from '../session.observation.js';
import { controllerAt } from './dashboard.controller.js';
import { isForEveryone } from './dashboard-guards.js';
import {
  DASHBOARD_OPTIONS,
  resolveDashboardOptions,
  type DashboardOptions,
  type SessionDashboardOptions,
} from './dashboard.options.js';
import { EventFeed } from './event-feed.js';
import { SearchReferences } from './search-references.js';
import { SessionDashboard } from './session-dashboard.js';

/** Where the dashboards of an application are. */
const places = new WeakMap<SessionHost, Set<string>>();

/**
 * A page for administrators: how many sessions live, whose they are and on which devices, what happens to them
 * just now, how fast the store answers; and buttons that end sessions. Of the sessions of `forRoot`, or of those of
 * a `name`; for several kinds of sessions import it several times, each with a `path` of its own. It tells no id, no
 * token and no data of a session. Needs `SessionModule` beside it, and somebody who says who may see it:
 * without `guards` or `allow` the application does not boot.
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) at boot for wrong options, where everybody could see it,
 * without `SessionModule`, for a name that no sessions have, and for a path that another dashboard has
 * @example
 * SessionDashboardModule.forRoot({ allow: (session) => session.roles.includes('admin') })
 */
@Module({})
export class SessionDashboardModule implements OnModuleInit, OnApplicationBootstrap {
  constructor(
    @Inject(EventFeed) private readonly feed: EventFeed,
    @Inject(SessionDashboard) private readonly dashboard: SessionDashboard,
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
          inject: [DASHBOARD_OPTIONS, ...[Observation, EventWork].map(optional)],
        },
        {
          provide: EventFeed,
          useFactory: (events?: SessionEvents) => new EventFeed(needed(events), resolved.name),
          inject: [optional(SessionEvents)],
        },
        {
          provide: SearchReferences,
          useFactory: (given?: { readonly secrets: readonly string[] }) =>
            new SearchReferences(needed(given).secrets, resolved.path),
          inject: [optional(SESSION_OPTIONS)],
        },
      ],
    };
  }

  onModuleInit(): void {
    const { session, path } = this.options;
    const host = needed(this.host);
    const { main, named } = host;
    this.dashboard.open();
    takePlace(host, path);
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
  { name }: DashboardOptions,
  observation?: Observation,
  work?: EventWork,
): SessionDashboard {
  return new SessionDashboard({ name, observation: needed(observation), work: needed(work) });
}

/** Express would always ask the first one. */
function takePlace(host: SessionHost, path: string): void {
  const taken = places.get(host) ?? new Set();
  places.set(host, taken);
  const place = path.toLowerCase();
  if (taken.has(place)) {
    throw new SessionOptionsError([
      `SessionDashboardModule is imported more than once with the path "${path}": give each dashboard a \`path\` of its own`,
    ]);
  }
  taken.add(place);
}

function needed<T>(part: T | undefined): T {
  if (part !== undefined) return part;
  throw new SessionOptionsError([
    'SessionDashboardModule needs SessionModule beside it: import SessionModule.forRoot(…); where that is not global, by the option `imports`',
  ]);
}
