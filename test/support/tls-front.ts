import { once } from 'node:events';
import { connect, type AddressInfo } from 'node:net';
import { createServer, type TLSSocket } from 'node:tls';
import type { Certificate } from './certificate.js';

/** What stands before an application and speaks https for it. */
export interface TlsFront {
  readonly port: number;
  close(): Promise<void>;
}

export type RequestListener = (method: string, path: string, rest: string) => void;

const REQUEST = /^([A-Z]+) (\S+) HTTP\/1[^]*/;

/**
 * Serves https on a free port of the loopback interface, for an application that speaks http.
 *
 * @param onRequest told what comes: method, path and the rest, where a request begins with a packet
 */
export async function startTlsFront(
  { cert, key }: Certificate,
  behind: number,
  onRequest?: RequestListener,
): Promise<TlsFront> {
  const clients = new Set<TLSSocket>();
  const server = createServer({ cert, key, ALPNProtocols: ['http/1.1'] }, (client) => {
    clients.add(client);
    const upstream = connect(behind, '127.0.0.1').setNoDelay(true);
    client.pipe(upstream).pipe(client);
    client.on('data', (chunk: Buffer) => {
      const [rest, method, path] = REQUEST.exec(chunk.toString('latin1')) ?? [];
      if (method && path && rest) onRequest?.(method, path, rest);
    });
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroy());
    }
    client.once('close', () => clients.delete(client));
  });
  // Browsers try a connection, and may not want it.
  server.on('tlsClientError', () => undefined);
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const close = async () => {
    for (const client of clients) client.destroy();
    server.close();
    await once(server, 'close');
  };
  return { port: (server.address() as AddressInfo).port, close };
}
