import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { ADAPTERS, inParallel } from '../support/app.js';
import { AppProcess } from '../support/app-process.js';
import { RoundRobinBalancer } from '../support/balancer.js';
import { HttpClient } from '../support/http-client.js';
import { RedisProbe } from '../support/redis-probe.js';
import { RedisServer } from '../support/redis-server.js';

const ALICE = { username: 'alice', password: 'wonderland' };
/** What all nodes have in common; they need not run on the same adapter. */
const SECRET = 'every-node-has-to-be-told-the-same-one';

describe('three nodes behind round robin', () => {
  let redis: RedisServer;
  let probe: RedisProbe;
  let nodes: AppProcess[];
  let balancer: RoundRobinBalancer;
  let clients: HttpClient[];

  beforeAll(async () => {
    redis = await RedisServer.start();
    probe = await RedisProbe.start(redis);
    const start = (adapter: string) =>
      AppProcess.start({ ADAPTER: adapter, REDIS_URL: redis.url, SESSION_SECRET: SECRET });
    nodes = await Promise.all(['express', 'fastify', 'express'].map(start));
    balancer = await RoundRobinBalancer.start(nodes.map((node) => node.port));
  }, 180_000);

  afterAll(async () => {
    await balancer?.stop();
    await Promise.all(nodes?.map((node) => node.stop()) ?? []);
    await probe?.stop();
    await redis?.stop();
  });

  let visitor: HttpClient;
  beforeEach(() => {
    clients = [];
    visitor = open(balancer.port);
  });
  afterEach(() => clients.forEach((client) => client.close()));

  const open = (port: number, cookies: Iterable<[string, string]> = []) => {
    const client = new HttpClient(port);
    for (const [name, value] of cookies) client.jar.set(name, value);
    clients.push(client);
    return client;
  };
  /** The same browser, asking one node past the balancer. */
  const at = (node: number) => open(nodes[node]!.port, visitor.jar);

  it('each request meets the next node', async () => {
    const before = [...balancer.served];
    for (let i = 0; i < 6; i++) expect((await visitor.get('/ping')).status).toBe(200);
    expect(balancer.served.map((count, i) => count - before[i]!)).toEqual([2, 2, 2]);
  });

  it('who logs in on one is known on all, with the cart of the next', async () => {
    const onA = open(nodes[0]!.port);
    expect((await onA.post('/auth/login', { json: ALICE })).status).toBe(200);
    const onB = open(nodes[1]!.port, onA.jar);
    await onB.post('/cart/items', { json: { sku: 'mug', qty: 2 } });
    for (const { port } of nodes) {
      const client = open(port, onA.jar);
      expect((await client.get('/auth/me')).json).toEqual({ principal: 'alice', roles: [] });
      expect((await client.get('/cart')).json).toEqual({ items: [{ sku: 'mug', qty: 2 }] });
    }
  });

  it('a cart that was filled on one survives the login on another', async () => {
    await visitor.post('/cart/items', { json: { sku: 'tea', qty: 1 } });
    await visitor.post('/cart/items', { json: { sku: 'mug', qty: 1 } });
    const planted = [...visitor.jar];
    await visitor.post('/auth/login', { json: ALICE });
    for (let node = 0; node < nodes.length; node++) {
      expect((await at(node).get('/cart')).json).toEqual({
        items: [
          { sku: 'tea', qty: 1 },
          { sku: 'mug', qty: 1 },
        ],
      });
      expect((await open(nodes[node]!.port, planted).get('/cart')).json).toEqual({ items: [] });
    }
  });

  it('a counter over all of them sums exactly under parallel load', async () => {
    await visitor.post('/counter');
    const before = [...balancer.served];
    const answers = await inParallel(89, 15, () => visitor.post('/counter'));
    expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 201));
    const counts = answers.map(({ json }) => json.count as number).sort((a, b) => a - b);
    expect(counts).toEqual(Array.from({ length: 89 }, (_, i) => i + 2));
    const shares = balancer.served.map((count, i) => count - before[i]!);
    expect(Math.min(...shares)).toBeGreaterThanOrEqual(29);
    for (let node = 0; node < nodes.length; node++) {
      expect((await at(node).get('/counter')).json).toEqual({ count: 90 });
    }
  });

  it('attributes set at the same time on different nodes all stay', async () => {
    await visitor.post('/counter');
    const keys = Array.from({ length: 12 }, (_, i) => `k${i}`);
    const path = (key: string) => `/notes/${key}?delay=50`;
    await Promise.all(keys.map((key) => visitor.post(path(key), { json: { value: key } })));
    for (const key of keys) {
      expect((await visitor.get(`/notes/${key}`)).json).toEqual({ value: key });
    }
  });

  it('a logout on one ends the session on all, whatever is still running on the others', async () => {
    await visitor.post('/auth/login', { json: ALICE });
    const cookies = [...visitor.jar];
    const slow = [1, 2].map((node) =>
      at(node).post('/notes/late?delay=400', { json: { value: 'x' } }),
    );
    for (let node = 0; node < nodes.length; node++) {
      expect((await at(node).get('/auth/me')).status).toBe(200);
    }
    expect((await at(0).post('/auth/logout')).status).toBe(204);
    for (const { port } of nodes) {
      expect((await open(port, cookies).get('/auth/me')).status).toBe(401);
    }
    for (const answer of await Promise.all(slow)) expect(answer.setCookie).toEqual([]);
    for (const { port } of nodes) {
      expect((await open(port, cookies).get('/auth/me')).status).toBe(401);
      expect((await open(port, cookies).get('/notes/late')).json).toEqual({ value: null });
    }
  });

  it('a node may go and another takes over, nobody is logged out', async () => {
    await visitor.post('/auth/login', { json: ALICE });
    await visitor.post('/cart/items', { json: { sku: 'mug', qty: 1 } });
    const gone = nodes[2]!;
    expect(await gone.stop()).toBe(0);
    const replacement = await AppProcess.start({
      ADAPTER: ADAPTERS[1]!,
      REDIS_URL: redis.url,
      SESSION_SECRET: SECRET,
    });
    nodes[2] = replacement;
    expect((await at(2).get('/auth/me')).json).toEqual({ principal: 'alice', roles: [] });
    expect((await at(2).get('/cart')).json).toEqual({ items: [{ sku: 'mug', qty: 1 }] });
  });

  it('a node with another secret believes none of their cookies, and asks Redis nothing', async () => {
    await visitor.post('/auth/login', { json: ALICE });
    const stranger = await AppProcess.start({ REDIS_URL: redis.url });
    try {
      const client = open(stranger.port, visitor.jar);
      const commands = await probe.commandsDuring(async () => {
        expect((await client.get('/auth/me')).status).toBe(401);
      });
      expect(commands).toEqual([]);
    } finally {
      await stranger.stop();
    }
  });
});
