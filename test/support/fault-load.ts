import { setTimeout as pause } from 'node:timers/promises';
import { until } from './app.js';
import type { FaultFigures } from './fault-record.js';
import { HttpClient, type Answer } from './http-client.js';

/** How a load is. */
export interface FaultLoadOptions {
  /** Begins the names of its users. */
  readonly name: string;
  /** Milliseconds that a visitor waits for an answer. */
  readonly patience: number;
}

const VISITORS = 8;
/** A visitor thinks this long between an answer and the next request, in milliseconds. */
const THINKING = 20;
/** Requests of a visitor, however long it lasts. */
const MOST = 5_000;

/** One request, and what became of it. */
interface Deed {
  readonly at: number;
  readonly ms: number;
  /** `none`: no answer came. */
  readonly status: number | 'none';
  /** It set a cookie although it is an error. */
  readonly cookieWithError: boolean;
  /** It changed or cleared a cookie, and had no reason to. */
  readonly wrongCookie: boolean;
}

type Cookies = [string, string][];

/** A browser, and what it was promised. */
class Visitor {
  loggedIn = false;
  /** Increments that were answered with 200. */
  counted = 0;
  /** Increments that were not: each may have taken effect or not. */
  unsure = 0;
  /** Answers of 200 that knew of fewer increments than were promised. */
  untrue = 0;
  /** Cookies of sessions whose logout was promised. */
  readonly ended: Cookies[] = [];

  constructor(
    readonly name: string,
    readonly client: HttpClient,
  ) {}

  leave(): void {
    this.client.jar.clear();
    this.loggedIn = false;
    this.counted = this.unsure = 0;
  }
}

/**
 * Visitors of one application, each in a closed loop: log in, read and count, log out, begin anew. What
 * they were promised is compared with what is there when the fault is over.
 *
 * Whoever got no promise, to a login or a logout, begins anew with no cookie, and claims nothing.
 */
export class FaultLoad {
  readonly #deeds: Deed[] = [];
  readonly #visitors: Visitor[];
  readonly #browser: HttpClient;
  readonly #prober: HttpClient;
  #running = false;
  #loops: Promise<void>[] = [];

  constructor(
    port: number,
    private readonly options: FaultLoadOptions,
  ) {
    this.#browser = new HttpClient(port);
    this.#prober = this.#browser.another();
    this.#visitors = Array.from(
      { length: VISITORS },
      (_, i) => new Visitor(`${options.name}-${i}`, this.#browser.another()),
    );
  }

  /** Resolves when every visitor has a session, and has counted. */
  async start(): Promise<void> {
    await this.#prober.post(`/login/${this.options.name}-prober`);
    this.#running = true;
    this.#loops = this.#visitors.map((visitor, i) => this.#live(visitor, i));
    await until('every visitor has counted', () =>
      this.#visitors.every(({ loggedIn, counted }) => loggedIn && counted > 0),
    );
  }

  /** Milliseconds until it answers a user as before, `null` if not in time. */
  async recovery(within: number): Promise<number | null> {
    const since = performance.now();
    const works = async () => {
      const signal = AbortSignal.timeout(this.options.patience);
      const answer = await this.#prober.get('/read', { signal }).catch(() => undefined);
      return answer?.status === 200;
    };
    const came = await until('it works', works, { within }).catch(() => false);
    return came ? performance.now() - since : null;
  }

  async stop(): Promise<void> {
    this.#running = false;
    await Promise.all(this.#loops);
  }

  close(): void {
    this.#running = false;
    this.#browser.close();
  }

  /** What became of requests that were under way at a moment, or came after it, and of all promises. */
  async figures(since: number): Promise<FaultFigures> {
    const deeds = this.#deeds.filter(({ at, ms }) => at + ms >= since);
    const times = deeds.map(({ ms }) => ms).sort((a, b) => a - b);
    const requests: Record<string, number> = {};
    for (const { status } of deeds) requests[status] = (requests[status] ?? 0) + 1;
    return {
      requests,
      p99: times[Math.ceil(times.length * 0.99) - 1] ?? 0,
      longest: times.at(-1) ?? 0,
      wrongCookies: deeds.filter(({ wrongCookie }) => wrongCookie).length,
      cookiesWithErrors: deeds.filter(({ cookieWithError }) => cookieWithError).length,
      untrue: sum(this.#visitors.map(({ untrue }) => untrue)),
      ...(await this.#audit()),
    };
  }

  async #audit() {
    const counts = await Promise.all(
      this.#visitors
        .filter(({ loggedIn }) => loggedIn)
        .map(async ({ client, counted, unsure }) => {
          const { n } = (await client.get('/read')).json as { n: number | null };
          const beyond = (n ?? 0) - counted;
          return { lost: -beyond, late: beyond, doubled: beyond - unsure };
        }),
    );
    const ended = await Promise.all(
      this.#visitors.flatMap((visitor) =>
        visitor.ended.map((cookies) => this.#browser.another(cookies).get('/me')),
      ),
    );
    return {
      lost: sum(counts.map(({ lost }) => Math.max(0, lost))),
      late: sum(counts.map(({ late }) => Math.max(0, late))),
      doubled: sum(counts.map(({ doubled }) => Math.max(0, doubled))),
      revived: ended.filter(({ status }) => status === 200).length,
      logouts: ended.length,
    };
  }

  async #live(visitor: Visitor, first: number): Promise<void> {
    for (let round = first; this.#running && round < first + MOST; round++) {
      await this.#step(visitor, round);
      await pause(THINKING);
    }
  }

  async #step(visitor: Visitor, round: number): Promise<void> {
    const cookies = [...visitor.client.jar];
    if (!visitor.loggedIn) {
      const answer = await this.#ask(visitor, 'POST', `/login/${visitor.name}`);
      if (answer?.status === 200) visitor.loggedIn = true;
      else visitor.leave();
    } else if (round % 12 === 11) {
      const answer = await this.#ask(visitor, 'POST', '/logout');
      if (answer?.status === 204) visitor.ended.push(cookies);
      visitor.leave();
    } else if (round % 3 === 0) {
      const answer = await this.#ask(visitor, 'POST', '/write');
      if (answer?.status === 200) visitor.counted++;
      else visitor.unsure++;
      this.#compare(visitor, answer);
    } else {
      this.#compare(visitor, await this.#ask(visitor, 'GET', '/read'));
    }
  }

  #compare(visitor: Visitor, answer: Answer | undefined): void {
    if (answer?.status === 200 && Number(answer.json.n) < visitor.counted) visitor.untrue++;
  }

  async #ask(visitor: Visitor, method: string, path: string): Promise<Answer | undefined> {
    const cookies = visitor.client.cookieHeader;
    const at = performance.now();
    const signal = AbortSignal.timeout(this.options.patience);
    const answer = await visitor.client.send(method, path, { signal }).catch(() => undefined);
    const ms = performance.now() - at;
    const isError = (answer?.status ?? 0) >= 400;
    const isChanged = visitor.client.cookieHeader !== cookies;
    const wrongCookie = isChanged && (isError || /read|write/.test(path));
    const cookieWithError = isError && (answer?.setCookie.length ?? 0) > 0;
    this.#deeds.push({ at, ms, status: answer?.status ?? 'none', wrongCookie, cookieWithError });
    return answer;
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((all, one) => all + one, 0);
