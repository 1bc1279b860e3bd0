import { afterEach, describe, expect, it } from '@jest/globals';
import assert from 'node:assert/strict';
import {
  SessionConflictError,
  SessionEvents,
  SessionLimitError,
  SessionService,
  SessionTooLargeError,
  type Session,
  type SessionEvent,
  type SessionEventGap,
} from 'nestjs-distributed-session';
import { until } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, trialsOf } from '../support/redis-under-test.js';

const OPERATIONS = trialsOf(10_000);
const WORKERS = 4;

/** What must be told, in the order of each session. */
type Line = string;

const lineOf = ({ type, reason, handle, previous, principal }: SessionEvent): Line =>
  [type, reason, handle, previous, principal].join(' ');

/** A session that lives, as far as its worker knows. */
interface Live {
  id: string;
  handle: string;
  principal: string | undefined;
}

/** Does anything that can be done to sessions, and writes down what has to be told of it. */
class Worker {
  readonly told: Line[] = [];
  readonly #live: Live[] = [];

  constructor(
    private readonly nodes: readonly SessionService[],
    private readonly name: string,
    private readonly random: () => number,
  ) {}

  async step(): Promise<void> {
    const one = this.#live[Math.floor(this.random() * this.#live.length)];
    const kind = Math.floor(this.random() * 14);
    if (!one || kind < 3) return this.#begin();
    if (kind === 3) return this.#revoke(one);
    if (kind === 4) return this.#revokeAll();
    if (kind === 5) return this.#failByLimit();
    const session = (await this.#node.get(one.id)) as Session;
    assert.ok(session);
    if (kind === 6) return this.#end(session, one);
    if (kind === 7) return this.#failBySize(session);
    if (kind === 8) return this.#failByConflict(session, one);
    if (kind <= 10) return this.#change(session, one);
    return this.#renew(session, one, kind);
  }

  get #node(): SessionService {
    return this.nodes[Math.floor(this.random() * this.nodes.length)] as SessionService;
  }

  get #principal(): string {
    return `${this.name}-${Math.floor(this.random() * 5)}`;
  }

  async #begin(): Promise<void> {
    const principal = this.random() < 0.5 ? this.#principal : undefined;
    const { id, handle } = await this.#node.create({
      ...(principal !== undefined && { principal }),
      data: { n: 0 },
    });
    this.#tell('created', '', handle, '', principal);
    if (principal !== undefined) this.#tell('authenticated', 'login', handle, '', principal);
    this.#live.push({ id, handle, principal });
  }

  async #change(session: Session, one: Live): Promise<void> {
    const isNothing = this.random() < 0.3;
    if (!isNothing) session.increment('n');
    await session.save();
    if (!isNothing) this.#tell('modified', 'contents', one.handle, '', one.principal);
  }

  async #renew(session: Session, one: Live, kind: number): Promise<void> {
    const { handle: previous } = one;
    if (kind === 11) await session.authenticate((one.principal = this.#principal));
    else if (kind === 12 && one.principal !== undefined) await session.elevate('totp');
    else await session.regenerate();
    await session.save();
    const isElevated = kind === 12 && one.principal !== undefined;
    const [type, reason] =
      kind === 11
        ? ['authenticated', 'login']
        : isElevated
          ? ['elevated', '']
          : ['regenerated', 'regenerate'];
    Object.assign(one, { id: session.id, handle: session.handle });
    this.#tell(type as string, reason as string, one.handle, previous, one.principal);
  }

  async #end(session: Session, one: Live): Promise<void> {
    await session.destroy();
    await session.save();
    this.#tell('destroyed', 'logout', one.handle, '', one.principal);
    this.#gone([one]);
  }

  async #revoke(one: Live): Promise<void> {
    await this.#node.revoke(one.handle);
    assert.equal(await this.#node.revoke(one.handle), false);
    this.#tell('revoked', 'named', one.handle, '', one.principal);
    this.#gone([one]);
  }

  async #revokeAll(): Promise<void> {
    const principal = this.#principal;
    await this.#node.forPrincipal(principal).revokeAll();
    const theirs = this.#live.filter((one) => one.principal === principal);
    for (const { handle } of theirs) this.#tell('revoked', 'all', handle, '', principal);
    this.#gone(theirs);
  }

  async #failByLimit(): Promise<void> {
    const login = this.#node.create({ principal: 'full' });
    await assert.rejects(login, SessionLimitError);
  }

  async #failBySize(session: Session): Promise<void> {
    session.set('n', 'x'.repeat(100_000));
    await assert.rejects(session.save(), SessionTooLargeError);
  }

  async #failByConflict(session: Session, one: Live): Promise<void> {
    const other = (await this.#node.get(one.id)) as Session;
    await this.#change(other, one);
    const isChanged = other.data['n'] !== session.data['n'];
    session.set('n', -1);
    if (isChanged) {
      const late = session.save({ ifUnchanged: true });
      await assert.rejects(late, SessionConflictError);
    }
  }

  #gone(ones: readonly Live[]): void {
    for (const one of ones) this.#live.splice(this.#live.indexOf(one), 1);
  }

  #tell(type: string, reason: string, handle: string, previous: string, principal = ''): void {
    this.told.push([type, reason, handle, previous, principal].join(' '));
  }
}

/** The same numbers each time. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

describe('what is told is what happened', () => {
  const opened = new Opened();
  afterEach(opened.close, 60_000);

  it('after many random operations on three nodes, failures among them, and connections that are cut', async () => {
    const redis = await startRedis();
    opened.add({ close: () => redis.stop() });
    const probe = await RedisProbe.start(redis);
    opened.add({ close: () => probe.stop() });
    const options = {
      redis: redis.connection(),
      events: { modified: true },
      maxSessions: (principal: string) => (principal === 'full' ? 1 : Infinity),
      onLimit: 'reject' as const,
    };
    const apps = [];
    for (let i = 0; i < 3; i++) {
      apps.push(await opened.app({ adapter: 'express', session: options }));
    }
    const heard = apps.map((): SessionEvent[] => []);
    const gaps: SessionEventGap[] = [];
    apps.forEach(({ app }, i) => {
      app.get(SessionEvents).events$.subscribe((event) => heard[i]?.push(event));
      app.get(SessionEvents).gaps$.subscribe((gap) => gaps.push(gap));
    });
    const services = apps.map(({ app }) => app.get(SessionService));
    const full = await (services[0] as SessionService).create({ principal: 'full' });

    const workers = Array.from(
      { length: WORKERS },
      (_, i) => new Worker(services, `user-${i}`, seeded(i + 1)),
    );
    let done = 0;
    const work = Promise.all(
      workers.map(async (one) => {
        while (done++ < OPERATIONS) await one.step();
      }),
    );
    for (let cut = 1; cut <= 4; cut++) {
      await until('some operations', () => done > (cut * OPERATIONS) / 5, { within: 120_000 });
      await Promise.all(probe.nodes.map((node) => node.call('CLIENT', 'KILL', 'TYPE', 'pubsub')));
    }
    await work;

    const expected = [
      `created  ${full.handle}  full`,
      `authenticated login ${full.handle}  full`,
      ...workers.flatMap(({ told }) => told),
    ].toSorted();
    for (const events of heard) {
      await until('all events', () => events.length >= expected.length, { within: 20_000 });
      expect(events.map(lineOf).toSorted()).toEqual(expected);
      expect(new Set(events.map(({ id }) => id)).size).toBe(events.length);
    }
    await until('all gaps', () => gaps.length >= 12, { within: 10_000 });
    expect(gaps.every(({ complete, from, to }) => complete && to >= from)).toBe(true);
  }, 240_000);
});
