import { setTimeout as pause } from 'node:timers/promises';
import { expect } from '@jest/globals';
import type { Redis } from 'ioredis';
import type { SessionModuleOptions } from 'nestjs-distributed-session';
import { SECRET, startApp, TestLogger, until, type AdapterName, type TestApp } from './app.js';
import { FaultLoad } from './fault-load.js';
import { FaultProxy } from './fault-proxy.js';
import { atMost, FULL, recordFault, type FaultFigures, type FaultRecord } from './fault-record.js';
import { FaultShop, startPeer } from './fault-shop.js';
import { HttpClient } from './http-client.js';
import { RedisServer } from './redis-server.js';

/** What a fault is going to be done to. */
export interface FaultStageOptions {
  /** Arguments of redis-server. */
  readonly redis?: readonly string[];
  readonly adapter?: AdapterName;
  readonly session?: SessionModuleOptions;
  /** Whether the same is done to the peer, in the long form. @default true on Express */
  readonly peer?: boolean;
}

/** Sessions survive the death of the process. */
export const KEPT = ['--appendonly', 'yes', '--appendfsync', 'always'];

/** Milliseconds that a visitor waits for an answer: longer than any fault lasts. */
const PATIENCE = 15_000;

/** What became of both under a load. */
interface Outcome {
  readonly figures: FaultFigures;
  readonly peer: FaultFigures | undefined;
}

/**
 * A Redis, a proxy in front of it, our application and, in the long form, the peer's: all that a fault
 * is done to.
 */
export class FaultStage {
  readonly logger = new TestLogger();
  #app!: TestApp;
  #peer: TestApp | undefined;
  #loads: FaultLoad[] = [];
  readonly #opened: { close(): unknown }[] = [];

  private constructor(
    readonly server: RedisServer,
    readonly proxy: FaultProxy,
    private readonly handlesBefore: number,
  ) {}

  static async open(options: FaultStageOptions = {}): Promise<FaultStage> {
    const { redis = [], adapter = 'express', session, peer = adapter === 'express' } = options;
    const server = await RedisServer.start(redis);
    const proxy = await FaultProxy.start(server.port);
    // What started it closes its connection.
    await pause(50);
    const stage = new FaultStage(server, proxy, openHandles());
    try {
      const { logger } = stage;
      const given = { redis: proxy.url, secret: SECRET, ...session };
      const shop = { adapter, controllers: [FaultShop], logger, session: given };
      stage.#app = stage.add(await startApp(shop));
      stage.#load('our', stage.#app);
      if (!FULL || !peer) return stage;
      stage.#peer = stage.add(await startPeer(proxy.url));
      stage.#load('peer', stage.#peer);
    } catch (error) {
      await stage.close();
      throw error;
    }
    return stage;
  }

  /** A browser at our application. */
  browser(cookies?: Iterable<[string, string]>): HttpClient {
    return this.add(new HttpClient(this.#app.port, cookies));
  }

  /** A browser at the peer, where there is one. */
  peerBrowser(): HttpClient | undefined {
    return this.#peer && this.add(new HttpClient(this.#peer.port));
  }

  /** A connection to Redis beside all applications. */
  admin(): Redis {
    const client = this.server.connect({ retryStrategy: () => 20 });
    this.#opened.push({ close: () => client.disconnect() });
    return client;
  }

  /** Does a fault while visitors are there; resolves when it is over and all promises are compared. */
  async suffer(fault: () => Promise<unknown>): Promise<Outcome> {
    await Promise.all(this.#loads.map((load) => load.start()));
    const since = performance.now();
    await fault();
    const recoveries = await Promise.all(this.#loads.map((load) => load.recovery(PATIENCE)));
    await pause(200);
    await Promise.all(this.#loads.map((load) => load.stop()));
    const [figures, peer] = await Promise.all(
      this.#loads.map(async (load, i) => ({
        ...(await load.figures(since)),
        recovery: recoveries[i],
      })),
    );
    return { figures: figures as FaultFigures, peer };
  }

  /** Ends the applications, expects that nothing of them is left open, and records what was seen. */
  async record({ figures, ...record }: FaultRecord): Promise<void> {
    await this.#closeAll();
    const before = this.handlesBefore;
    await until('all handles are closed', () => openHandles() <= before, { within: 3_000 });
    recordFault({ ...record, figures: { ...figures, handles: { before, after: openHandles() } } });
  }

  close = async (): Promise<void> => {
    this.server.signal('SIGCONT');
    await this.#closeAll();
    await this.proxy.stop();
    await this.server.stop();
  };

  /** What is to be closed before the servers are. */
  add<T extends { close(): unknown }>(one: T): T {
    this.#opened.push(one);
    return one;
  }

  async #closeAll(): Promise<void> {
    for (const one of this.#opened.splice(0).toReversed()) await one.close();
  }

  #load(name: string, { port }: TestApp): void {
    this.#loads.push(this.add(new FaultLoad(port, { name, patience: PATIENCE })));
  }
}

/** Nothing was lost, revived, done twice or told wrongly, and no browser's cookie was touched. */
export function expectTruth(figures: FaultFigures): void {
  const { lost, revived, doubled, untrue, wrongCookies, cookiesWithErrors } = figures;
  expect({ lost, revived, doubled, untrue, wrongCookies, cookiesWithErrors }).toEqual({
    lost: 0,
    revived: 0,
    doubled: 0,
    untrue: 0,
    wrongCookies: 0,
    cookiesWithErrors: 0,
  });
}

/** The longest that an answer may take: a command's time, twice, and what a busy machine adds. */
export const IN_TIME = atMost(2 * 500 + 500);

/** 503, and the browser's cookies stay as they are. */
export async function expectUnavailable(user: HttpClient, method: string, path: string) {
  const { status, json, setCookie } = await user.send(method, path);
  expect({ path, status, setCookie }).toEqual({ path, status: 503, setCookie: [] });
  expect(json).toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
}

/** Each request was answered, as ever or with 503. */
export function expectStatuses({ requests = {} }: FaultFigures, ...others: string[]): void {
  const known = ['200', '204', '503', ...others];
  expect(Object.keys(requests).filter((status) => !known.includes(status))).toEqual([]);
  expect(requests[200]).toBeGreaterThan(0);
}

const KINDS = ['TCPSocketWrap', 'TCPServerWrap', 'Timeout'];

/** Sockets, servers and timers of this process. */
export function openHandles(): number {
  return process.getActiveResourcesInfo().filter((kind) => KINDS.includes(kind)).length;
}
