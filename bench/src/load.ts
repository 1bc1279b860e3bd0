import autocannon, { type Client } from 'autocannon';
import { Agent, request as httpRequest } from 'node:http';
import type { Workload } from './contenders/index.js';

/** Get this many sessions of a server, and remember their cookies. */
export interface LoginOrder {
  readonly kind: 'login';
  readonly url: string;
  readonly count: number;
  readonly bytes: number;
  /** How many of them each user gets, and the number of the first user. */
  readonly each: number;
  readonly from: number;
}

export interface LoginResult {
  /** Bytes of the cookie header, on average. */
  readonly cookie: number;
}

/** Have these cookies, of sessions that were stored in another way. */
export interface CookiesOrder {
  readonly kind: 'cookies';
  readonly url: string;
  readonly cookies: readonly string[];
}

/** Send requests with the cookies of a server's sessions; bounded by time or by count. */
export interface LoadOrder {
  readonly kind: 'load';
  readonly url: string;
  readonly workload: Workload;
  readonly bytes: number;
  readonly connections: number;
  readonly seconds?: number;
  readonly amount?: number;
}

export interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

const cookiesOf = new Map<string, readonly string[]>();

/** Requests of one connection, none of whose sessions any other connection uses. */
function requestsOf(order: LoadOrder, connection: number): autocannon.Request[] {
  if (order.workload === 'login') {
    return Array.from({ length: 100 }, (_, i) => ({
      method: 'POST',
      path: `/login?user=user-${100_000 + connection * 100 + i}&bytes=${order.bytes}`,
    }));
  }
  const all = cookiesOf.get(order.url) ?? [];
  const share = Math.floor(all.length / order.connections);
  const own = all.slice(connection * share, (connection + 1) * share);
  const method = ['read', 'devices'].includes(order.workload) ? 'GET' : 'POST';
  return own.map((cookie) => ({ method, path: `/${order.workload}`, headers: { cookie } }));
}

async function load(order: LoadOrder): Promise<LoadResult> {
  const times: number[] = [];
  let connection = 0;
  let began = 0;
  let ended = 0;
  const result = await new Promise<autocannon.Result>((resolve, reject) => {
    const instance = autocannon(
      {
        url: order.url,
        connections: order.connections,
        ...(order.amount === undefined ? { duration: order.seconds } : { amount: order.amount }),
        // It ends at a tick of this clock.
        sampleInt: 100,
        setupClient: (client: Client) => client.setRequests(requestsOf(order, connection++)),
      } as autocannon.Options,
      (error, done) => (error ? reject(error as Error) : resolve(done)),
    );
    // Its own clock runs on until the next of its samples.
    instance.on('start', () => void (began = performance.now()));
    instance.on('response', (_client, _status, _bytes, time) => {
      times.push(time);
      ended = performance.now();
    });
  });
  if (result.errors || result.non2xx || result.timeouts) {
    const what = `${result.non2xx} refused, ${result.errors} errors, ${result.timeouts} timeouts`;
    throw new Error(`${order.workload} at ${order.url}: ${what} of ${times.length}`);
  }
  times.sort((a, b) => a - b);
  const at = (share: number) => times[Math.floor(times.length * share)] ?? 0;
  return { requests: times.length, seconds: (ended - began) / 1_000, p50: at(0.5), p99: at(0.99) };
}

async function login({ url, count, bytes, each, from }: LoginOrder): Promise<LoginResult> {
  const agent = new Agent({ keepAlive: true, maxSockets: 32 });
  const cookies: string[] = [];
  const users = Math.ceil(count / each);
  let next = 0;
  const worker = async () => {
    for (let i = next++; i < count; i = next++) {
      // One user's logins never at once: an index that is read, changed and written back would lose some.
      const user = `user-${from + (i % users)}`;
      cookies[i] = await cookieOf(`${url}/login?user=${user}&bytes=${bytes}`, agent);
    }
  };
  await Promise.all(Array.from({ length: 32 }, worker));
  agent.destroy();
  cookiesOf.set(url, cookies);
  return { cookie: cookies.join('').length / count };
}

function cookieOf(url: string, agent: Agent): Promise<string> {
  return new Promise((resolve, reject) => {
    const request = httpRequest(url, { method: 'POST', agent }, (response) => {
      response.resume().on('end', () => {
        if (response.statusCode !== 201) return reject(new Error(`login: ${response.statusCode}`));
        const pairs = (response.headers['set-cookie'] ?? []).map((line) => line.split(';')[0]);
        resolve(pairs.join('; '));
      });
    });
    request.on('error', reject).end();
  });
}

process.on('message', (order: LoginOrder | CookiesOrder | LoadOrder | 'stop') => {
  if (order === 'stop') return process.disconnect();
  const work =
    order.kind === 'load'
      ? load(order)
      : order.kind === 'login'
        ? login(order)
        : Promise.resolve(void cookiesOf.set(order.url, order.cookies));
  work.then(
    (result) => process.send?.(result ?? {}),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
