import { once } from 'node:events';
import { Agent, createServer, request, type IncomingMessage, type Server } from 'node:http';
import type { ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A load balancer in front of several nodes: each request goes to the next one, nothing sticks. */
export class RoundRobinBalancer {
  /** Requests that each node got. */
  readonly served: number[];
  readonly #agent = new Agent({ keepAlive: true });
  #next = 0;

  private constructor(
    private readonly server: Server,
    private readonly ports: readonly number[],
  ) {
    this.served = ports.map(() => 0);
    server.on('request', (incoming, outgoing) => this.#forward(incoming, outgoing));
  }

  static async start(ports: readonly number[]): Promise<RoundRobinBalancer> {
    const balancer = new RoundRobinBalancer(createServer(), ports);
    balancer.server.listen(0, '127.0.0.1');
    await once(balancer.server, 'listening');
    return balancer;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    this.#agent.destroy();
    this.server.closeAllConnections();
    this.server.close();
    await once(this.server, 'close');
  }

  #forward(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const node = this.#next++ % this.ports.length;
    this.served[node]!++;
    const { method, url, headers } = incoming;
    const target = { host: '127.0.0.1', port: this.ports[node], agent: this.#agent };
    // `Host` stays that of the balancer: browsers' `Origin` is compared with it.
    const forwarded = request({ ...target, method, path: url, headers }, (answer) => {
      const { connection: _, 'keep-alive': __, 'transfer-encoding': ___, ...rest } = answer.headers;
      outgoing.writeHead(answer.statusCode ?? 502, rest);
      answer.pipe(outgoing);
    });
    forwarded.on('error', () => {
      if (!outgoing.headersSent) outgoing.writeHead(502);
      outgoing.end();
    });
    incoming.pipe(forwarded);
  }
}
