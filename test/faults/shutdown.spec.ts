import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { once } from 'node:events';
import { connect } from 'node:net';
import type { LiveRecord } from '../../lib/core/session-record.js';
import { SessionRecords } from '../../lib/core/session-records.js';
import { AesRecordSealer } from '../../lib/security/aes-record.sealer.js';
import { Keyring } from '../../lib/security/keyring.js';
import { ADAPTERS, inParallel, until } from '../support/app.js';
import { AppProcess } from '../support/app-process.js';
import { HttpClient } from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisProxy, type Link } from '../support/redis-proxy.js';
import { SessionReads } from '../support/redis-reads.js';
import { RedisServer } from '../support/redis-server.js';
import { atMost } from '../support/fault-record.js';

const SECRET = 'every-node-has-to-be-told-the-same-one';
const ALICE = { username: 'alice', password: 'wonderland' };
const IN_FLIGHT = 100;

/** The application cannot end itself by force: it ends when nothing is open any more, or never. */
const NO_EXIT = `process.exit = (code) => { process.exitCode = code; }`;
const PRELOAD = `--import=data:text/javascript,${encodeURIComponent(NO_EXIT)}`;

describe.each(ADAPTERS)('an application that is told to end, on %s', (adapter) => {
  let redis: RedisServer;
  let look: Redis;
  let other: AppProcess;
  const browsers: HttpClient[] = [];
  const environment = () => ({
    ADAPTER: adapter,
    REDIS_URL: redis.url,
    SESSION_SECRET: SECRET,
    NODE_OPTIONS: PRELOAD,
  });

  beforeAll(async () => {
    redis = await RedisServer.start();
    look = new Redis(redis.port, '127.0.0.1');
    other = await AppProcess.start(environment());
  }, 180_000);

  afterEach(() => browsers.splice(0).forEach((browser) => browser.close()));

  afterAll(async () => {
    await other?.stop();
    look?.disconnect();
    await redis?.stop();
  });

  const open = (app: AppProcess, cookies?: Iterable<[string, string]>) => {
    const browser = new HttpClient(app.port, cookies);
    browsers.push(browser);
    return browser;
  };

  it(`answers and stores ${IN_FLIGHT} requests in flight, takes no more, and ends by itself`, async () => {
    const before = await connectionsTo(look);
    const app = await AppProcess.start(environment());
    const own = (await connectionsTo(look)).filter((id) => !before.includes(id));
    expect(own).not.toEqual([]);

    const first = open(app);
    const visitors = Array.from({ length: IN_FLIGHT }, () => first.another());
    await inParallel(IN_FLIGHT, 10, (i) =>
      visitors[i]!.post('/notes/before', { json: { value: i } }),
    );
    const reads = await SessionReads.watch(look);
    let answered = 0;
    const running = visitors.map(async (visitor, i) => {
      const answer = await visitor.post('/notes/last?delay=1500', { json: { value: i } });
      answered++;
      return answer.status;
    });
    await until('all are in their handlers', () => reads.count >= IN_FLIGHT);
    reads.stop();

    const since = performance.now();
    const ended = app.stop();
    await until('no further connection is taken', () => refuses(app.port));
    expect(answered).toBe(0);
    expect(await Promise.all(running)).toEqual(visitors.map(() => 201));
    expect(await ended).toBe(0);
    expect(performance.now() - since).toBeLessThan(atMost(5_000));

    const left = await connectionsTo(look);
    expect(own.filter((id) => left.includes(id))).toEqual([]);
    const reader = open(other);
    for (const [i, visitor] of visitors.entries()) {
      const answer = await reader.another(visitor.jar).get('/notes/last');
      expect(answer.json).toEqual({ value: i });
    }
  });
});

describe('an application that is killed during a login', () => {
  let redis: RedisServer;
  let probe: RedisProbe;
  let network: LastWords;
  let other: AppProcess;
  const browsers: HttpClient[] = [];

  const start = (url: string) => AppProcess.start({ REDIS_URL: url, SESSION_SECRET: SECRET });

  const open = (app: AppProcess) => {
    const browser = new HttpClient(app.port);
    browsers.push(browser);
    return browser;
  };

  beforeAll(async () => {
    redis = await RedisServer.start();
    probe = await RedisProbe.start(redis);
    network = await LastWords.start(redis.port);
    other = await start(redis.url);
  }, 180_000);

  afterAll(async () => {
    browsers.forEach((browser) => browser.close());
    await other?.stop();
    await network?.stop();
    await probe?.stop();
    await redis?.stop();
  });

  it('leaves the session as it was before or as it is after, at whatever command', async () => {
    const survivor = open(other);
    await survivor.post('/auth/login', { json: ALICE });
    const states: string[] = [];
    for (let words = 0; states.at(-1) !== 'answered'; words++) {
      const app = await start(network.url);
      const visitor = open(app);
      const sku = `killed-at-${words}`;
      await visitor.post('/cart/items', { json: { sku, qty: 1 } });
      const cookies = [...visitor.jar];

      const silence = network.after(words);
      const login = visitor.post('/auth/login', { json: ALICE }).then(
        ({ status }) => status,
        () => undefined,
      );
      await Promise.race([silence, login]);
      expect(await app.stop('SIGKILL')).toBe('SIGKILL');
      const status = await login;

      const records = [...(await probe.liveRecords())].map(([key, value]) => opened(key, value));
      const own = records.filter((record) => record?.dataText.includes(sku));
      const [before, after] = [false, true].map(
        (is) => own.filter((record) => (record?.header.identity !== undefined) === is).length,
      ) as [number, number];
      states.push(status === 200 ? 'answered' : `${before} before, ${after} after`);

      // What stands in the index, and what the id from before still opens, say the same.
      const { devices } = (await survivor.get('/devices')).json as { devices: unknown[] };
      expect(devices).toHaveLength(1 + after);
      const old = survivor.another(cookies);
      const items = [{ sku, qty: 1 }];
      expect((await old.get('/cart')).json).toEqual({ items: before === 1 ? items : [] });
      expect((await old.get('/auth/me')).status).toBe(401);
      // Who tries again has the same cart in any case, and all of it can be ended.
      const again = old.another(cookies);
      expect((await again.post('/auth/login', { json: ALICE })).status).toBe(200);
      expect((await again.get('/cart')).json).toEqual({ items });
      const others = (await survivor.post('/devices/revoke-others')).json;
      expect(others).toEqual({ revoked: before + after });
    }
    expect(states.filter((state, i) => state !== states[i - 1])).toEqual([
      '1 before, 0 after',
      // The two lie in different slots. What was is given up when what comes is there: nothing is lost.
      '1 before, 1 after',
      '0 before, 1 after',
      'answered',
    ]);
  }, 60_000);
});

/** What stands in a record of the shop, which encrypts them. */
function opened(key: string, value: string): LiveRecord | undefined {
  const sealing = { blind: false, acceptsPlain: false };
  const records = new SessionRecords(new AesRecordSealer(new Keyring([SECRET]), sealing));
  const record = records.decode(value, { handle: key.slice(key.lastIndexOf(':') + 1) });
  return record?.kind === 'live' ? record : undefined;
}

/** Lets some more words pass between an application and Redis, its commands and the replies to them. */
class LastWords extends RedisProxy {
  #left = Infinity;
  #silence: (() => void) | undefined;

  /** Resolves when the next one after so many words was swallowed, the last on its connection. */
  after(words: number): Promise<void> {
    this.#left = words;
    return new Promise((resolve) => (this.#silence = resolve));
  }

  protected override toRedis(chunk: Buffer, { redis }: Link): void {
    if (this.#passes()) redis.write(chunk);
  }

  protected override toApplication(chunk: Buffer, link: Link): void {
    if (this.#passes()) super.toApplication(chunk, link);
  }

  protected override joined(link: Link): void {
    super.joined(link);
    // Another process begins, which has nothing to do with the one that is gone.
    this.#left = Infinity;
  }

  #passes(): boolean {
    if (this.#left-- > 0) return true;
    this.#silence?.();
    return false;
  }
}

/** Connections that clients have to Redis, by their ids. */
async function connectionsTo(redis: Redis): Promise<string[]> {
  const list = String(await redis.client('LIST'));
  return [...list.matchAll(/^id=(\d+) /gm)].map((match) => match[1]!);
}

async function refuses(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  const failed = once(socket, 'error').then(([error]) => (error as { code?: string }).code);
  const how = await Promise.race([failed, once(socket, 'connect').then(() => 'connected')]);
  socket.destroy();
  return how === 'ECONNREFUSED';
}
