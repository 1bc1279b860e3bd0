import { afterEach, beforeEach, expect, it, jest } from '@jest/globals';
import type { Redis } from 'ioredis';
import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import { RedisSessionStore } from 'nestjs-distributed-session';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { createRedis } from '../../lib/stores/redis/redis-client.js';
import { until } from '../support/app.js';
import { RedisServer } from '../support/redis-server.js';

let redis: RedisServer;
let relay: Server;
let client: Redis;
let store: RedisSessionStore;
/** What came to Redis, as it came: one text for each piece. */
let pieces: string[];

beforeEach(async () => {
  pieces = [];
  redis = await RedisServer.start();
  relay = createServer((socket) => {
    const upstream = connect(redis.port, '127.0.0.1');
    socket.on('data', (bytes) => void pieces.push(bytes.toString()));
    socket.pipe(upstream).pipe(socket);
    socket.on('error', () => upstream.destroy());
    upstream.on('error', () => socket.destroy());
  }).listen(0, '127.0.0.1');
  await once(relay, 'listening');
  client = createRedis(`redis://127.0.0.1:${(relay.address() as AddressInfo).port}`) as Redis;
  await client.connect();
  store = new RedisSessionStore(client);
  await store.ping();
  pieces = [];
});

afterEach(async () => {
  jest.useRealTimers();
  client.disconnect();
  relay.close();
  await redis.stop();
});

const handles = (count: number) => Array.from({ length: count }, () => handleOf(newSessionId()));

it('sends in one write what is asked for in one turn', async () => {
  await Promise.all(handles(12).map((handle) => store.load(handle, { touch: 1_000 })));
  expect(pieces).toHaveLength(1);
  expect(pieces[0]?.match(/getex/gi)).toHaveLength(12);
});

it('lets a later turn send anew', async () => {
  for (const handle of handles(3)) await store.load(handle);
  expect(pieces).toHaveLength(3);
});

it('goes on after the connection was lost while commands were being gathered', async () => {
  const [one, other] = handles(2) as [string, string];
  const lost = store.load(one);
  client.stream.destroy();
  await lost.catch(() => undefined);
  await until('Redis is back', () => client.status === 'ready');
  await expect(store.load(other)).resolves.toBeUndefined();
});

it('is not stopped by an application that fakes its timers in a test', async () => {
  jest.useFakeTimers();
  await expect(store.load(handles(1)[0] as string)).resolves.toBeUndefined();
});
