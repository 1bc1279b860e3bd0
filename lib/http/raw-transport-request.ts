import type { IncomingMessage } from 'node:http';
import type { TLSSocket } from 'node:tls';
import type { TransportRequest } from '../core/session-id-transport.interface.js';

/** A request as the library sees it; transports see less. */
export interface IncomingRequest extends TransportRequest {
  readonly method: string;
  /**
   * Scheme, host and port that were asked, as browsers write an origin, as far as the adapter trusts its
   * proxies; `undefined` if they make none.
   */
  readonly origin: string | undefined;
}

/** What both adapters' requests have in common: the raw one, and its headers. */
export abstract class RawTransportRequest<Raw extends IncomingMessage> implements IncomingRequest {
  abstract readonly secure: boolean;
  abstract readonly address: string | undefined;
  protected abstract readonly host: string | undefined;

  constructor(protected readonly raw: Raw) {}

  get method(): string {
    return this.raw.method ?? '';
  }

  get origin(): string | undefined {
    const url = `${this.secure ? 'https' : 'http'}://${this.host ?? ''}`;
    return URL.canParse(url) ? new URL(url).origin : undefined;
  }

  header(name: string): string | undefined {
    const value = this.raw.headers[name];
    return Array.isArray(value) ? value.join('; ') : value;
  }
}

/** A request as its connection shows it: no adapter says which proxies are to be believed. */
export class PlainRequest extends RawTransportRequest<IncomingMessage> {
  get secure(): boolean {
    return (this.raw.socket as Partial<TLSSocket>).encrypted === true;
  }

  get address(): string | undefined {
    return this.raw.socket.remoteAddress;
  }

  protected get host(): string | undefined {
    return this.raw.headers.host;
  }
}
