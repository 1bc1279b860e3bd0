import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { connect as connectSecurely, createServer as createSecureServer } from 'node:tls';
import { RedisGate } from './redis-gate.js';
import type { RedisServer } from './redis-server.js';
import type { RedisConnection, RedisUnderTest } from './redis-under-test.js';

/** A gate in front of each master: what is held, is held on the way to all of them. */
export class RedisGates {
  readonly #gates: RedisGate[] = [];
  readonly #relays: Server[] = [];
  readonly #ports = new Map<number, number>();

  private constructor(private readonly redis: RedisUnderTest) {}

  static async start(redis: RedisUnderTest): Promise<RedisGates> {
    const gates = new RedisGates(redis);
    for (const master of await redis.currentMasters()) await gates.#add(master);
    return gates;
  }

  /** What an application is told, so that it comes through the gates. */
  get connection(): RedisConnection {
    return this.redis.connection(this.#ports);
  }

  /** From the next command that fits on, nothing arrives at its master until {@link release}. */
  hold(pattern: RegExp): void {
    for (const gate of this.#gates) gate.hold(pattern);
  }

  /** Until {@link release}, a connection breaks at each command that fits; Redis never gets it. */
  cut(pattern: RegExp): void {
    for (const gate of this.#gates) gate.cut(pattern);
  }

  /** True when a command is being kept back. */
  get holds(): boolean {
    return this.#gates.some((gate) => gate.holds);
  }

  release(): void {
    for (const gate of this.#gates) gate.release();
  }

  async stop(): Promise<void> {
    for (const gate of this.#gates) await gate.stop();
    for (const relay of this.#relays) relay.close();
  }

  async #add({ port, certificate }: RedisServer): Promise<void> {
    if (!certificate) return this.#stand(port, await this.#gate(port));
    // A gate reads commands, so it stands where they are in the clear.
    const { cert, key } = certificate;
    const secure = createServer((socket) =>
      join(socket, connectSecurely({ port, host: '127.0.0.1', ca: cert })),
    );
    const gate = await this.#gate(await this.#relay(secure));
    const front = createSecureServer({ cert, key }, (socket) =>
      join(socket, connect(gate, '127.0.0.1')),
    );
    this.#stand(port, await this.#relay(front));
  }

  #stand(port: number, gate: number): void {
    this.#ports.set(port, gate);
  }

  async #gate(port: number): Promise<number> {
    const gate = await RedisGate.start(port);
    this.#gates.push(gate);
    return gate.port;
  }

  async #relay(server: Server): Promise<number> {
    this.#relays.push(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return (server.address() as AddressInfo).port;
  }
}

/** What comes by one leaves by the other, and one ends with the other. */
function join(one: Socket, other: Socket): void {
  one.setNoDelay(true).pipe(other.setNoDelay(true)).pipe(one);
  for (const [socket, peer] of [
    [one, other],
    [other, one],
  ] as const) {
    socket.on('error', () => undefined);
    socket.on('close', () => peer.destroy());
  }
}
