import { checkReplication, hasLate, replicationOf } from '../doctor/check-replication.js';
import type { Finding } from '../doctor/finding.js';
import type { RedisClient } from '../stores/redis/redis-client.js';
import { lookAt, type RedisHealth } from './redis-health.js';
import { within } from './within.js';

/** Milliseconds after which a look is given up: a client may wait for ever for a server that is gone. */
const LONGEST = 10_000;

/** How Redis stands, as far as it is known now. */
export interface Told {
  /** As of the last look that is complete; `undefined`: none is. */
  readonly health: RedisHealth | undefined;
  /** Codes of what is wrong, each once, and whether any of it is an error. */
  readonly findings: readonly Finding[];
}

/**
 * Looks at Redis now and then. What was seen is told until the next look is complete: a look that is late
 * hides nothing. Nobody waits for replicas: whether they confirm what their master has is found out
 * in the background, and told from then on.
 */
export class RedisLooks {
  #seen: { readonly at: number; readonly health: RedisHealth } | undefined;
  #looking: Promise<void> | undefined;
  #isWaiting = false;
  /** Of replicas that had time to confirm. */
  #lagging: readonly Finding[] = [];

  constructor(private readonly masters: () => readonly RedisClient[]) {}

  /**
   * @param every milliseconds for which what was seen is told again
   * @param patience milliseconds that a look may take before the last one is told instead
   */
  async tell(every: number, patience: number): Promise<Told> {
    const isDue = !this.#seen || performance.now() - this.#seen.at > every;
    // One look for all who ask meanwhile.
    if (isDue) this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    const isInTime = await within(
      patience,
      Promise.resolve(isDue ? this.#looking : undefined),
    ).then(
      () => true,
      () => false,
    );
    const health = this.#seen?.health;
    const findings = [...(health?.findings ?? []), ...this.#lagging];
    return { health, findings: isInTime ? findings : [...findings, LOOK_LATE] };
  }

  async #look(): Promise<void> {
    const at = performance.now();
    const masters = this.masters();
    const { health, replication } = await within(LONGEST, lookAt(masters));
    this.#seen = { at, health };
    if (!replication.some(hasLate)) this.#lagging = [];
    else if (!this.#isWaiting) void this.#wait(masters);
  }

  async #wait(masters: readonly RedisClient[]): Promise<void> {
    this.#isWaiting = true;
    const asked = Promise.all(masters.map((node) => replicationOf(node)));
    const replication = await within(LONGEST, asked).catch(() => undefined);
    this.#isWaiting = false;
    if (replication) this.#lagging = checkReplication(replication);
  }
}

const LOOK_LATE: Finding = {
  code: 'LOOK_LATE',
  severity: 'error',
  seen: 'Redis answers, but does not tell in time how it stands',
  why: 'what is told is what was seen last',
  remedy:
    'npx nestjs-distributed-session doctor; a longer timeout of the health check if Redis is far away',
};
