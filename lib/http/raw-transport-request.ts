import type { IncomingMessage } from 'node:http';
import type { TransportRequest } from '../core/session-id-transport.interface.js';

/** What both adapters' requests have in common: the raw one, and its headers. */
export abstract class RawTransportRequest<Raw extends IncomingMessage> implements TransportRequest {
  abstract readonly secure: boolean;
  abstract readonly address: string | undefined;

  constructor(protected readonly raw: Raw) {}

  header(name: string): string | undefined {
    const value = this.raw.headers[name];
    return Array.isArray(value) ? value.join('; ') : value;
  }
}
