import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { request } from 'node:https';
import { WebSocket } from 'ws';
import { inParallel, until } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { LoadBalancer } from '../support/load-balancer.js';
import { SessionReads } from '../support/redis-reads.js';
import { IO } from '../support/socket-clients.js';
import { ALICE, configurations, shares, Shopper, ThreeNodes } from './three-nodes.js';

/** What is the same for requests that meet the same node. */
const WAYS: Record<string, 'nothing' | 'network' | 'session id' | 'browser'> = {
  'round-robin.nginx.conf': 'nothing',
  'ip-hash.nginx.conf': 'network',
  'session-hash.nginx.conf': 'session id',
  'routing-hash.nginx.conf': 'browser',
  'round-robin.haproxy.cfg': 'nothing',
  'cookie.haproxy.cfg': 'browser',
  'routing-hash.haproxy.cfg': 'browser',
};
const COMMON = ['server.nginx.conf', 'frontend.haproxy.cfg'];
const kept = (by: string) => Object.keys(WAYS).filter((way) => WAYS[way] === by);

describe('three nodes, with every configuration of docs/deployment.md in front', () => {
  const written = new Map([...configurations('nginx'), ...configurations('haproxy')]);
  const balancers = new Map<string, LoadBalancer>();
  const browsers: HttpClient[] = [];
  let nodes: ThreeNodes;

  beforeAll(async () => {
    nodes = await ThreeNodes.start();
    const [nginx, haproxy] = COMMON.map((file) => written.get(file) as string) as [string, string];
    for (const name of Object.keys(WAYS)) {
      const configuration = { way: written.get(name) as string, nodes: nodes.places };
      const balancer = name.endsWith('.conf')
        ? await LoadBalancer.nginx({ ...configuration, common: nginx })
        : await LoadBalancer.haproxy({ ...configuration, common: haproxy });
      balancers.set(name, balancer);
    }
  }, 180_000);

  afterEach(() => browsers.splice(0).forEach((browser) => browser.close()));

  afterAll(async () => {
    for (const balancer of balancers.values()) await balancer.stop();
    await nodes?.stop();
  });

  const at = (name: string) => balancers.get(name) as LoadBalancer;
  const open = (name: string) => keep(new HttpClient(at(name).port));
  const keep = (browser: HttpClient) => {
    browsers.push(browser);
    return browser;
  };

  /** The nodes that a browser meets with so many requests, once each. */
  const met = async (name: string, browser: HttpClient, requests = 6): Promise<string[]> => {
    const served = await at(name).servedDuring(requests, async (query) => {
      for (let i = 0; i < requests; i++) await browser.get(`/ping?${query}`);
    });
    return [...new Set(served)];
  };

  /** A browser with a session, which is nobody's yet. */
  const visitor = async (name: string): Promise<HttpClient> => {
    const browser = open(name);
    expect((await browser.post('/counter')).status).toBe(201);
    return browser;
  };

  /** Starts a node again, and waits until every balancer has seen it. */
  const restart = async (address: string): Promise<void> => {
    await nodes.restart(address);
    for (const name of kept('nothing')) {
      const serves = async () => (await met(name, open(name))).includes(address);
      await until(`${name} uses it again`, serves, { within: 10_000 });
    }
    // The others go by the same checks, and may be a moment behind.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  };

  it('are all that the page has', () => {
    expect([...written.keys()].sort()).toEqual([...Object.keys(WAYS), ...COMMON].sort());
  });

  it.each(kept('nothing'))('%s spreads the requests of one browser evenly', async (name) => {
    const browser = await visitor(name);
    const served = await at(name).servedDuring(30, async (query) => {
      for (let i = 0; i < 30; i++) await browser.get(`/counter?${query}`);
    });
    expect(Math.min(...shares(nodes.addresses, served))).toBeGreaterThanOrEqual(9);
  });

  it.each(kept('network'))('%s keeps a network to a node, and spreads networks', async (name) => {
    const browser = await visitor(name);
    const from = (address: string, query: string) =>
      browser.get(`/ping?${query}`, { headers: { 'x-real-ip': address } });
    const served = await at(name).servedDuring(20, async (query) => {
      for (let i = 0; i < 20; i++) await from(`192.0.2.${i}`, query);
    });
    expect(new Set(served).size).toBe(1);
    const others = await at(name).servedDuring(40, async (query) => {
      for (let i = 0; i < 40; i++) await from(`198.51.${i}.1`, query);
    });
    expect(Math.min(...shares(nodes.addresses, others))).toBeGreaterThan(0);
  });

  it.each(kept('session id'))('%s keeps a session to a node until its id changes', async (name) => {
    const all = await inParallel(12, 4, async () => {
      const browser = await visitor(name);
      const before = await met(name, browser);
      await browser.post('/auth/login', { json: ALICE });
      return { before, after: await met(name, browser) };
    });
    expect(all.flatMap(({ before, after }) => [before.length, after.length])).toEqual(
      Array.from({ length: 24 }, () => 1),
    );
    expect(new Set(all.flatMap(({ before }) => before)).size).toBeGreaterThan(1);
    expect(all.filter(({ before, after }) => before[0] !== after[0])).not.toEqual([]);
  });

  it.each(kept('browser'))('%s keeps a browser to a node, through its login', async (name) => {
    const all = await inParallel(12, 4, async () => {
      const browser = await visitor(name);
      const before = await met(name, browser);
      await browser.post('/auth/login', { json: ALICE });
      const after = await met(name, browser);
      return [...new Set([...before, ...after])];
    });
    expect(all.map((its) => its.length)).toEqual(all.map(() => 1));
    expect(new Set(all.flat()).size).toBeGreaterThan(1);
  });

  it.each(['routing-hash.nginx.conf', 'routing-hash.haproxy.cfg'])(
    '%s sends a browser back to its node when that is there again',
    async (name) => {
      const browser = await visitor(name);
      const [home = ''] = await met(name, browser);
      await nodes.end(home, 'SIGKILL');
      const [shelter] = await met(name, browser);
      expect(shelter).not.toBe(home);
      expect((await browser.get('/counter')).json).toEqual({ count: 1 });
      await restart(home);
      const isHome = async () => (await met(name, browser, 1))[0] === home;
      await until('it is home again', isHome, { within: 10_000 });
    },
  );

  it.each(['routing-hash.nginx.conf', 'cookie.haproxy.cfg'])(
    '%s asks another node again if one dies with a GET, and never sends a POST twice',
    async (name) => {
      const browser = await visitor(name);
      const [home = ''] = await met(name, browser);
      const reads = await SessionReads.watch(nodes.look);
      const reading = browser.get('/slow?ms=1500');
      const writing = browser.post('/notes/twice?delay=1500', { json: { value: 1 } });
      await until('both are in their handlers', () => reads.count >= 2);
      reads.stop();
      await nodes.end(home, 'SIGKILL');
      expect((await reading).status).toBe(200);
      expect((await writing).status).toBe(502);
      // Whoever was given the POST as well would have answered with the GET, and stored this.
      expect((await browser.get('/notes/twice')).json).toEqual({ value: null });
      await restart(home);
    },
  );

  it.each(Object.keys(WAYS))('%s lets streams and sockets through, as they come', async (name) => {
    const browser = open(name);
    await browser.post('/auth/login', { json: ALICE });
    const { port } = at(name);
    const { cookieHeader: cookie } = browser;
    const abort = new AbortController();
    const { signal } = abort;
    const events = await fetch(`http://127.0.0.1:${port}/events`, { headers: { cookie }, signal });
    const socket = await IO.open(port, { headers: { cookie, origin: `http://127.0.0.1:${port}` } });
    try {
      expect(await socket.ask('cart')).toEqual({ items: [] });
      const [told, streamed] = [socket.next('cart'), readUntil('event: modified', events)];
      await browser.post('/cart/items', { json: { sku: 'mug', qty: 1 } });
      expect(await told).toEqual({ items: [{ sku: 'mug', qty: 1 }] });
      expect(await streamed).toContain('"items":1');
    } finally {
      await socket.close();
      abort.abort();
    }
  });

  it.each(['round-robin.nginx.conf', 'round-robin.haproxy.cfg'])(
    '%s ends TLS, and its word on the client is believed',
    async (name) => {
      const { tlsPort } = at(name);
      const origin = `https://localhost:${tlsPort}`;
      const headers = { host: `localhost:${tlsPort}`, origin, 'x-forwarded-for': '203.0.113.9' };
      const login = await overTls(tlsPort, '/auth/login', headers, ALICE);
      expect(login.status).toBe(200);
      const cookie = login.cookies.map((line) => line.split(';')[0]).join('; ');
      const devices = await overTls(tlsPort, '/devices', { ...headers, cookie });
      const known = (JSON.parse(devices.text) as { devices: { client: { address: string } }[] })
        .devices;
      // What the client said of itself is gone.
      expect(known.map(({ client }) => client.address)).toContain('127.0.0.1');
      expect(devices.text).not.toContain('203.0.113.9');
      const stranger = { ...headers, origin: 'https://elsewhere.example' };
      expect((await overTls(tlsPort, '/auth/login', stranger, ALICE)).status).toBe(403);
      expect(await socketOverTls(tlsPort, headers)).toBe(101);
      expect(await socketOverTls(tlsPort, stranger)).toBe(403);
    },
  );

  it('nobody loses anything while nodes are killed, ended and started again', async () => {
    const shoppers = await Promise.all(
      Object.keys(WAYS).map((name) => Shopper.logIn(at(name).port, name.replace(/\W/g, '-'))),
    );
    shoppers.forEach(({ browser }) => keep(browser));
    const shopping = shoppers.map((shopper) => shopper.shop());
    const onceMore = () => Promise.all(shoppers.map((shopper) => shopper.onceMore()));
    try {
      const [first = '', second = '', third = ''] = nodes.addresses;
      const ends: [string, NodeJS.Signals][] = [
        [first, 'SIGKILL'],
        [second, 'SIGTERM'],
        [third, 'SIGKILL'],
        [first, 'SIGTERM'],
      ];
      for (const [address, signal] of ends) {
        await onceMore();
        await nodes.end(address, signal);
        await onceMore();
        await restart(address);
      }
      await onceMore();
    } finally {
      shoppers.forEach((shopper) => shopper.stop());
      await Promise.all(shopping);
    }
    const troubles = await Promise.all(shoppers.map((shopper) => shopper.audit()));
    expect(troubles.flat()).toEqual([]);
  }, 120_000);
});

interface TlsAnswer {
  readonly status: number;
  readonly cookies: readonly string[];
  readonly text: string;
}

/** Reads of a stream until the chunk in which something comes. */
async function readUntil(text: string, { body }: Response): Promise<string> {
  const decoder = new TextDecoder();
  for await (const chunk of body as AsyncIterable<Uint8Array>) {
    const read = decoder.decode(chunk);
    if (read.includes(text)) return read;
  }
  throw new Error(`the stream ended without ${text}`);
}

/** How a handshake of socket.io is answered. */
function socketOverTls(port: number, headers: Record<string, string>): Promise<number> {
  const address = `wss://127.0.0.1:${port}/socket.io/?EIO=4&transport=websocket`;
  const socket = new WebSocket(address, { headers, rejectUnauthorized: false });
  return new Promise((resolve, reject) => {
    const done = (status = 0) => {
      resolve(status);
      socket.terminate();
    };
    socket.on('open', () => done(101));
    socket.on('unexpected-response', (_, { statusCode }) => done(statusCode));
    socket.on('error', reject);
  });
}

/** Over TLS, with a certificate that only this test run knows. */
function overTls(
  port: number,
  path: string,
  headers: Record<string, string>,
  json?: unknown,
): Promise<TlsAnswer> {
  return new Promise((resolve, reject) => {
    const method = json === undefined ? 'GET' : 'POST';
    const type = json === undefined ? {} : { 'content-type': 'application/json' };
    const options = { port, path, method, rejectUnauthorized: false, agent: false };
    const sent = request(
      { ...options, host: '127.0.0.1', headers: { ...headers, ...type } },
      (answer) => {
        let text = '';
        answer.on('data', (chunk: Buffer) => (text += chunk.toString()));
        answer.on('end', () => {
          const cookies = answer.headers['set-cookie'] ?? [];
          resolve({ status: answer.statusCode ?? 0, cookies, text });
        });
      },
    );
    sent.on('error', reject);
    sent.end(json === undefined ? undefined : JSON.stringify(json));
  });
}
