import {
  Inject,
  Injectable,
  type BeforeApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { SessionManager } from './core/session-manager.js';
import type { SessionStore } from './core/session-store.interface.js';
import type { ResolvedSessionOptions } from './options/resolve-session-options.js';
import { SESSION_OPTIONS, SESSION_STORE } from './session.constants.js';
import { EventWork } from './session.event-work.js';
import { StoreGuard } from './stores/guard/store-guard.js';

/** What sessions of a name consist of, for who looks at them. */
export interface ObservedSessions {
  readonly manager: SessionManager;
  readonly store: SessionStore;
  readonly guard: StoreGuard;
}

/** Shows the observer of the options what can be asked about sessions, for as long as the application runs. */
@Injectable()
export class Observation implements OnModuleInit, BeforeApplicationShutdown {
  readonly #ends: (() => void)[] = [];
  readonly #named = new Map<string, ObservedSessions>();

  constructor(
    @Inject(SESSION_OPTIONS) private readonly options: ResolvedSessionOptions,
    @Inject(SessionManager) private readonly manager: SessionManager,
    @Inject(StoreGuard) private readonly guard: StoreGuard,
    @Inject(EventWork) private readonly work: EventWork,
    @Inject(SESSION_STORE) private readonly store: SessionStore,
  ) {}

  onModuleInit(): void {
    this.begin(this.options, this.#main);
  }

  beforeApplicationShutdown(): void {
    for (const end of this.#ends.splice(0)) end();
  }

  /** The same for sessions of a name. */
  begin(
    { observer, migrateFrom }: ResolvedSessionOptions,
    sessions: ObservedSessions,
    name?: string,
  ): void {
    const { manager, guard } = sessions;
    if (name !== undefined) this.#named.set(name, sessions);
    const end = observer?.watch(
      {
        counters: () => manager.counters(),
        nearCache: () => manager.nearCache(),
        isCutOff: () => guard.isCutOff,
        expiry: () => this.work.expiryOf(name),
        migration: () => migrateFrom?.figures,
      },
      name,
    );
    if (end) this.#ends.push(end);
  }

  /** The sessions of a name, or those of `forRoot`; `undefined`: there are none of that name. */
  of(name: string | undefined): ObservedSessions | undefined {
    return name === undefined ? this.#main : this.#named.get(name);
  }

  get #main(): ObservedSessions {
    const { manager, store, guard } = this;
    return { manager, store, guard };
  }
}
