import type { Redis } from 'ioredis';
import { readPages, type Block } from '../docs/pages.js';
import { until } from '../support/app.js';
import { AppProcess } from '../support/app-process.js';
import { HttpClient } from '../support/http-client.js';
import { freePort, RedisServer } from '../support/redis-server.js';

export const ALICE = { username: 'alice', password: 'wonderland' };
const PLACES = ['10.0.0.11:3000', '10.0.0.12:3000', '10.0.0.13:3000'];

/** The blocks in a language on the page about deployment, by the names of their files. */
export function configurations(language: string): Map<string, string> {
  const page = readPages().find(({ path }) => path === 'docs/deployment.md');
  const blocks = page?.blocks.filter((block) => block.language === language) as Block[];
  return new Map(blocks.map(({ file = '', text }) => [file, text]));
}

/** The sample shop three times over one Redis; each node keeps its address. */
export class ThreeNodes {
  /** For a test's own looks. */
  readonly look: Redis;

  private constructor(
    private readonly redis: RedisServer,
    private readonly ports: readonly number[],
    private readonly apps: AppProcess[],
  ) {
    this.look = redis.connect();
  }

  static async start(): Promise<ThreeNodes> {
    const redis = await RedisServer.start();
    const ports = [await freePort(), await freePort(), await freePort()];
    const apps = await Promise.all(ports.map((port, i) => startNode(redis, port, i)));
    return new ThreeNodes(redis, ports, apps);
  }

  /** Where each node is, as a balancer says it. */
  get addresses(): string[] {
    return this.ports.map((port) => `127.0.0.1:${port}`);
  }

  /** The same, by the addresses that the documentation gives them. */
  get places(): Map<string, string> {
    return new Map(PLACES.map((place, i) => [place, this.addresses[i]!]));
  }

  /** Ends a node, killed or asked to. */
  async end(address: string, signal: NodeJS.Signals): Promise<void> {
    const how = await this.apps[this.addresses.indexOf(address)]!.stop(signal);
    const expected = signal === 'SIGTERM' ? 0 : signal;
    if (how !== expected) throw new Error(`a node ended with ${how} instead of ${expected}`);
  }

  /** Starts it again, where it was. */
  async restart(address: string): Promise<void> {
    const i = this.addresses.indexOf(address);
    this.apps[i] = await startNode(this.redis, this.ports[i]!, i);
  }

  async stop(): Promise<void> {
    await Promise.all(this.apps.map((app) => app.stop()));
    this.look.disconnect();
    await this.redis.stop();
  }
}

function startNode(redis: RedisServer, port: number, index: number): Promise<AppProcess> {
  return AppProcess.start({
    PORT: `${port}`,
    ADAPTER: index === 1 ? 'fastify' : 'express',
    REDIS_URL: redis.url,
    SESSION_SECRET: 'every-node-has-to-be-told-the-same-one',
    ROUTING_COOKIE: 'session_route',
    TRUST_PROXY: 'loopback',
  });
}

/** A browser that goes on shopping, and notes all that should not happen. */
export class Shopper {
  readonly troubles: string[] = [];
  readonly #sku: string;
  #stopped = false;
  #rounds = 0;
  #counted = 0;
  /**
   * Counts that were under way when a node died: they may have taken effect, once. A balancer answers
   * 502, or closes the connection as HAProxy does on one that was used before.
   */
  #unsure = 0;

  private constructor(
    readonly browser: HttpClient,
    name: string,
  ) {
    this.#sku = name;
  }

  /** Somebody with something in the cart who has logged in. */
  static async logIn(port: number, name: string): Promise<Shopper> {
    const browser = new HttpClient(port);
    const shopper = new Shopper(browser, name);
    await browser.post('/cart/items', { json: { sku: name, qty: 1 } });
    await browser.post('/auth/login', { json: ALICE });
    return shopper;
  }

  /** Shops until it is told to stop. */
  async shop(): Promise<void> {
    for (; !this.#stopped; this.#rounds++) {
      await this.#see('/auth/me', { principal: 'alice', roles: [] });
      await this.#see('/cart', { items: [{ sku: this.#sku, qty: 1 }] });
      await this.#count();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Waits until it has asked for everything once more. */
  async onceMore(): Promise<void> {
    const rounds = this.#rounds;
    await until('a whole round', () => this.#rounds > rounds + 1, { within: 15_000 });
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Everything that went wrong: a count that is lost or doubled is, too. */
  async audit(): Promise<string[]> {
    const { count } = (await this.browser.get('/counter')).json as { count: number };
    const most = this.#counted + this.#unsure;
    if (this.#counted === 0) this.troubles.push('nothing was counted');
    if (count < this.#counted || count > most) {
      this.troubles.push(`the counter is ${count} instead of ${this.#counted} to ${most}`);
    }
    return this.troubles;
  }

  async #see(path: string, expected: unknown): Promise<void> {
    const answer = await this.browser.get(path).catch((error: Error) => error);
    const seen = answer instanceof Error ? answer.message : `${answer.status} ${answer.text}`;
    const wanted = `200 ${JSON.stringify(expected)}`;
    if (seen !== wanted) this.troubles.push(`GET ${path}: ${seen}`);
  }

  async #count(): Promise<void> {
    const { status } = await this.browser.post('/counter').catch(() => ({ status: 0 }));
    if (status === 201) this.#counted++;
    else if ([0, 502, 503, 504].includes(status)) this.#unsure++;
    else this.troubles.push(`POST /counter: ${status}`);
  }
}

/** How often each of these stands in a list. */
export const shares = (of: readonly string[], list: readonly string[]): number[] =>
  of.map((one) => list.filter((other) => other === one).length);
