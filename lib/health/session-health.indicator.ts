import { Inject, Injectable } from '@nestjs/common';
import { HealthIndicatorService, type HealthIndicatorResult } from '@nestjs/terminus';
import { setTimeout as delay } from 'node:timers/promises';
import { SessionError } from '../core/session.errors.js';
import type { SessionStore } from '../core/session-store.interface.js';
import { isError } from '../doctor/finding.js';
import { SESSION_STORE } from '../session.constants.js';
import { SessionService } from '../session.service.js';
import { RedisSessionStore } from '../stores/redis/redis-session.store.js';
import { lookAt, type RedisHealth } from './redis-health.js';

/** What a check of the health of sessions goes by. */
export interface SessionHealthOptions {
  /** Milliseconds within which the store has to answer. @default 1000 */
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
  #seen: { readonly at: number; readonly health: Promise<RedisHealth | undefined> } | undefined;

  constructor(
    @Inject(HealthIndicatorService) private readonly indicators: HealthIndicatorService,
    @Inject(SessionService) private readonly sessions: SessionService,
    @Inject(SESSION_STORE) private readonly store: SessionStore,
  ) {}

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
    const latency = Math.round((performance.now() - asked) * 100) / 100;
    const redis = await within(timeout, this.#look(lookEvery)).catch(() => undefined);
    const { findings = [], ...facts } = redis ?? {};
    const codes = findings.map(({ code }) => code);
    const data = { latency, ...facts, ...(codes.length > 0 && { findings: codes }) };
    // terminus 11 knows up and down only, and sessions can be read.
    const isDegraded = findings.some(isError) && typeof indicator.degraded === 'function';
    return (
      isDegraded ? indicator.degraded(data) : indicator.up(data)
    ) as HealthIndicatorResult<Key>;
  }

  /** Once, for all who ask meanwhile. */
  #look(every: number): Promise<RedisHealth | undefined> {
    const now = performance.now();
    if (!this.#seen || now - this.#seen.at > every) {
      const health =
        this.store instanceof RedisSessionStore
          ? lookAt(this.store.masters).catch(() => undefined)
          : Promise.resolve(undefined);
      this.#seen = { at: now, health };
    }
    return this.#seen.health;
  }
}

async function within<T>(milliseconds: number, answer: Promise<T>): Promise<T> {
  const late = new AbortController();
  const timeout = delay(milliseconds, undefined, { signal: late.signal, ref: false }).then(() => {
    throw new Error('late');
  });
  try {
    return await Promise.race([answer, timeout]);
  } finally {
    late.abort();
    timeout.catch(() => undefined);
  }
}
