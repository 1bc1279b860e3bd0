import { Child } from './child.js';
import type { Adapter } from './contenders/contender.js';
import type { ContenderName, Workload } from './contenders/index.js';
import type { CookiesOrder, LoadOrder, LoadResult, LoginOrder, LoginResult } from './load.js';
import type { Place } from './places.js';
import type { BenchRedis } from './redis.js';
import { DEVICES } from './visit.js';

/** One round of load on one server. */
export interface Sample {
  readonly requestsPerSecond: number;
  /** Processor time of the server, in microseconds a request. */
  readonly cpu: number;
  /** The same of Redis. */
  readonly redisCpu: number;
  /** The same of the database, if the sessions are in one that has processes of its own. */
  readonly placeCpu?: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

export interface Load {
  readonly workload: Workload;
  /** Size of the session's data. */
  readonly bytes: number;
  readonly connections: number;
  readonly seconds: number;
  /** How long a server is made warm; without it, by a number of requests. */
  readonly warmSeconds?: number;
}

/** Requests after which a server's code is compiled as well as it will be. */
const WARM = 40_000;

/** Sessions that the requests of one contender take turns with. */
const SESSIONS = 2_048;
/** Logouts of one round; each needs a session of its own. */
const LOGOUTS = 4_096;

export const sessionsOfEach = (workload: Workload): number =>
  workload === 'devices' ? DEVICES : 1;

/** The server of one contender. */
export class Stand {
  private constructor(
    readonly name: ContenderName,
    readonly url: string,
    readonly process: Child,
    readonly redis: BenchRedis,
    readonly place: Place | undefined,
  ) {}

  static async start(
    name: ContenderName,
    adapter: Adapter,
    redis: BenchRedis,
    { place, execArgv }: { place?: Place | undefined; execArgv?: string[] } = {},
  ) {
    const args = [name, adapter, redis.url, ...(place ? [place.url] : [])];
    const process = Child.start('server.js', args, execArgv);
    const { port } = await process.told<{ port: number }>();
    return new Stand(name, `http://127.0.0.1:${port}`, process, redis, place);
  }

  async cpu(): Promise<number> {
    const { cpu } = await this.process.ask<{ cpu: NodeJS.CpuUsage }>('cpu');
    return cpu.user + cpu.system;
  }

  /** Statements that it has sent to its database so far. */
  async statements(): Promise<number> {
    return (await this.process.ask<{ statements: number }>('statements')).statements;
  }

  stop = () => this.process.stop();
}

/** Processor time of all that take part, so far, in microseconds. */
async function costsOf(stand: Stand) {
  const cpu = await stand.cpu();
  const { cpu: redis } = await stand.redis.totals();
  return { cpu, redis, place: (await stand.place?.cpu()) ?? Number.NaN };
}

/** The process that makes the load, and what it costs those who bear it. */
export class Arena {
  readonly #loader = Child.start('load.js');
  /** Size of the sessions that each server's cookies stand for. */
  readonly #loggedIn = new Map<string, string>();

  readonly #warm = new Set<string>();
  #nextUser = 200_000;

  stop = () => this.#loader.stop();

  /** Sessions of this size for the requests that follow; tells how long their cookies are. */
  async logIn(
    stand: Stand,
    bytes: number,
    { count = SESSIONS, each = 1 } = {},
  ): Promise<LoginResult> {
    // Who has logged in before would have more sessions than the others.
    const from = each > 1 ? this.#nextUser : 100_000;
    if (each > 1) this.#nextUser += Math.ceil(count / each);
    const order: LoginOrder = { kind: 'login', url: stand.url, count, bytes, each, from };
    const result = await this.#loader.ask<LoginResult>(order);
    this.#loggedIn.delete(stand.url);
    if (count === SESSIONS) this.#loggedIn.set(stand.url, `${bytes} ${each}`);
    return result;
  }

  /** Sessions that somebody else has stored. */
  async useCookies(stand: Stand, cookies: readonly string[], bytes: number): Promise<void> {
    const order: CookiesOrder = { kind: 'cookies', url: stand.url, cookies };
    await this.#loader.ask(order);
    this.#loggedIn.set(stand.url, `${bytes} 1`);
  }

  /** What is compiled and allocated for the first time is no part of a comparison. */
  async warmUp(stand: Stand, load: Load): Promise<void> {
    const bounds = await this.#prepare(stand, load);
    if (this.#warm.has(`${stand.url} ${load.workload}`)) return;
    this.#warm.add(`${stand.url} ${load.workload}`);
    const { warmSeconds } = load;
    const warm = warmSeconds === undefined ? { amount: WARM } : { seconds: warmSeconds };
    await this.send(stand, { ...load, ...bounds, ...('seconds' in bounds && warm) });
  }

  async round(stand: Stand, load: Load): Promise<Sample> {
    const bounds = await this.#prepare(stand, load);
    const before = await costsOf(stand);
    const done = await this.send(stand, { ...load, ...bounds });
    const after = await costsOf(stand);
    const place = after.place - before.place;
    return {
      requestsPerSecond: done.requests / done.seconds,
      cpu: (after.cpu - before.cpu) / done.requests,
      redisCpu: (after.redis - before.redis) / done.requests,
      ...(Number.isFinite(place) && { placeCpu: place / done.requests }),
      p50: done.p50,
      p99: done.p99,
    };
  }

  send(stand: Stand, load: Omit<LoadOrder, 'kind' | 'url'>): Promise<LoadResult> {
    const order: LoadOrder = { kind: 'load', url: stand.url, ...load };
    return this.#loader.ask<LoadResult>(order);
  }

  async #prepare(stand: Stand, { workload, bytes, seconds }: Load) {
    if (workload === 'logout') {
      await this.logIn(stand, bytes, { count: LOGOUTS });
      return { amount: LOGOUTS };
    }
    const each = sessionsOfEach(workload);
    if (workload !== 'login' && this.#loggedIn.get(stand.url) !== `${bytes} ${each}`) {
      await this.logIn(stand, bytes, { each });
    }
    return { seconds };
  }
}
