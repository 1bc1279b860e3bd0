import { Inject, Injectable } from '@nestjs/common';
import { HealthIndicatorService, type HealthIndicatorResult } from '@nestjs/terminus';
import { SessionError } from '../core/session.errors.js';
import type { SessionStore } from '../core/session-store.interface.js';
import { isError } from '../doctor/finding.js';
import { SESSION_STORE } from '../session.constants.js';
import { SessionService } from '../session.service.js';
import { RedisSessionStore } from '../stores/redis/redis-session.store.js';
import { RedisLooks, type Told } from './redis-looks.js';
import { within } from './within.js';

/** What a check of the health of sessions goes by. */
export interface SessionHealthOptions {
  /** Milliseconds within which the store has to answer; with what it is asked about itself, no check takes longer. @default 1000 */
  readonly timeout?: number;
  /** Milliseconds for which what was seen of Redis's settings and replicas is told again: to look costs some commands. @default 30000 */
  readonly lookEvery?: number;
}

/**
 * Whether sessions can be read and written now, for `@nestjs/terminus`: down if the store does not answer in
 * time; degraded (up, where terminus has no such state) with what an operator should look into, by the codes of
 * `doctor`: what Redis evicts, whether it keeps what it has, replicas that lag, clocks that differ.
 *
 * @example
 * \@Controller('health')
 * class HealthController {
 *   constructor(private health: HealthCheckService, private sessions: SessionHealthIndicator) {}
 *   \@Get() \@HealthCheck() \@SkipSession() check() {
 *     return this.health.check([() => this.sessions.isHealthy('sessions')]);
 *   }
 * }
 */
@Injectable()
export class SessionHealthIndicator {
  readonly #looks: RedisLooks | undefined;

  constructor(
    @Inject(HealthIndicatorService) private readonly indicators: HealthIndicatorService,
    @Inject(SessionService) private readonly sessions: SessionService,
    @Inject(SESSION_STORE) store: SessionStore,
  ) {
    this.#looks =
      store instanceof RedisSessionStore ? new RedisLooks(() => store.masters) : undefined;
  }

  async isHealthy<Key extends string>(
    key: Key,
    { timeout = 1_000, lookEvery = 30_000 }: SessionHealthOptions = {},
  ): Promise<HealthIndicatorResult<Key>> {
    const indicator = this.indicators.check(key);
    const asked = performance.now();
    try {
      await within(timeout, this.sessions.ping());
    } catch (error) {
      // The message of somebody else's error could tell anything.
      const code = error instanceof SessionError ? error.code : 'SESSION_STORE_UNAVAILABLE';
      return indicator.down({ code }) as HealthIndicatorResult<Key>;
    }
    const took = performance.now() - asked;
    const latency = Math.round(took * 100) / 100;
    const told = (await this.#looks?.tell(lookEvery, timeout - took)) ?? NOTHING;
    const { findings: _, ...facts } = told.health ?? {};
    const codes = [...new Set(told.findings.map(({ code }) => code))];
    const data = { latency, ...facts, ...(codes.length > 0 && { findings: codes }) };
    // terminus 11 knows up and down only, and sessions can be read.
    const isDegraded = told.findings.some(isError) && typeof indicator.degraded === 'function';
    return (
      isDegraded ? indicator.degraded(data) : indicator.up(data)
    ) as HealthIndicatorResult<Key>;
  }
}

/** Of a store that is not Redis. */
const NOTHING: Told = { health: undefined, findings: [] };
