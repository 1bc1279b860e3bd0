import { setTimeout as delay } from 'node:timers/promises';
import { RedisProxy, type Link } from '../support/redis-proxy.js';
import type { RedisConnection, RedisUnderTest } from '../support/redis-under-test.js';

/** What is late, in milliseconds at most, and what is heard no more. */
export interface Weather {
  /** What Redis tells of changes. */
  ear: number;
  /** All other replies. */
  data: number;
  /** Connections that stay open, though nothing comes by them any more, for good. */
  dead?: 'ears' | 'all';
}

/** The network between one node and all masters. */
export class Network {
  readonly #ways: Way[] = [];
  readonly #ports = new Map<number, number>();

  private constructor(private readonly redis: RedisUnderTest) {}

  static async start(redis: RedisUnderTest, weather: Weather): Promise<Network> {
    const network = new Network(redis);
    for (const { port } of await redis.currentMasters()) {
      const way = await Way.start(port);
      network.#ways.push(way);
      network.#ports.set(port, way.port);
    }
    network.weather = weather;
    return network;
  }

  /** What the node is told. */
  get connection(): RedisConnection {
    return this.redis.connection(this.#ports);
  }

  set weather(weather: Weather) {
    for (const way of this.#ways) way.weather = weather;
  }

  async close(): Promise<void> {
    for (const way of this.#ways) await way.stop();
  }
}

/** To one master. */
class Way extends RedisProxy {
  weather: Weather = { ear: 0, data: 0 };
  readonly #ears = new WeakSet<Link>();
  readonly #underWay = new WeakMap<Link, Promise<void>>();

  protected override toRedis(chunk: Buffer, link: Link): void {
    if (chunk.includes('__redis__:invalidate')) this.#ears.add(link);
    if (this.weather.dead !== 'all') link.redis.write(chunk);
  }

  protected override toApplication(chunk: Buffer, link: Link): void {
    const isEar = this.#ears.has(link);
    const late = Math.random() * (isEar ? this.weather.ear : this.weather.data);
    const due = performance.now() + late;
    const arrival = (this.#underWay.get(link) ?? Promise.resolve()).then(async () => {
      const left = due - performance.now();
      if (left > 0) await delay(left);
      const { dead } = this.weather;
      if (dead !== 'all' && !(dead === 'ears' && isEar)) super.toApplication(chunk, link);
    });
    this.#underWay.set(link, arrival);
  }
}
