import {
  Inject,
  Injectable,
  type BeforeApplicationShutdown,
  type OnModuleInit,
} from '@nestjs/common';
import { SessionManager } from './core/session-manager.js';
import type { ResolvedSessionOptions } from './options/resolve-session-options.js';
import { SESSION_OPTIONS } from './session.constants.js';
import { EventWork } from './session.event-work.js';
import { StoreGuard } from './stores/guard/store-guard.js';

/** Shows the observer of the options what can be asked about sessions, for as long as the application runs. */
@Injectable()
export class Observation implements OnModuleInit, BeforeApplicationShutdown {
  readonly #ends: (() => void)[] = [];

  constructor(
    @Inject(SESSION_OPTIONS) private readonly options: ResolvedSessionOptions,
    @Inject(SessionManager) private readonly manager: SessionManager,
    @Inject(StoreGuard) private readonly guard: StoreGuard,
    @Inject(EventWork) private readonly work: EventWork,
  ) {}

  onModuleInit(): void {
    this.begin(this.options, this.manager, this.guard);
  }

  beforeApplicationShutdown(): void {
    for (const end of this.#ends.splice(0)) end();
  }

  /** The same for sessions of a name. */
  begin(
    { observer }: ResolvedSessionOptions,
    manager: SessionManager,
    guard: StoreGuard,
    name?: string,
  ): void {
    const end = observer?.watch(
      {
        counters: () => manager.counters(),
        nearCache: () => manager.nearCache(),
        isCutOff: () => guard.isCutOff,
        expiry: () => this.work.expiryOf(name),
      },
      name,
    );
    if (end) this.#ends.push(end);
  }
}
