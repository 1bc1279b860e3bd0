import { createClient, type Client } from 'graphql-ws';
import { WebSocket } from 'ws';
import type { Answer, HttpClient, Sending } from '../support/http-client.js';

/** What came of an operation. */
export interface Outcome {
  data?: Record<string, unknown> | null;
  errors?: { message: string; extensions?: Record<string, unknown> }[];
}

/** Codes of an outcome's errors. */
export const codesOf = ({ errors = [] }: Outcome): unknown[] =>
  errors.map(({ extensions }) => extensions?.code);

/** Sends an operation over HTTP. */
export async function ask(
  client: HttpClient,
  query: string,
  sending: Sending = {},
): Promise<Outcome & { answer: Answer }> {
  const headers = { 'apollo-require-preflight': '1', ...sending.headers };
  const answer = await client.post('/graphql', { ...sending, headers, json: { query } });
  return { ...(answer.json as Outcome), answer };
}

/** What a subscription has said so far. */
export interface Heard {
  readonly values: unknown[];
  /** Resolves with the reason, when it is over; `undefined`: it completed. */
  readonly over: Promise<unknown>;
  readonly stop: () => void;
}

export interface GqlSocketOptions {
  headers?: Record<string, string>;
  /** What is sent with the connection, after its handshake. */
  params?: object;
  /** It connects before there is anything to ask. */
  eager?: boolean;
}

/** One connection of graphql-ws, as a browser or a program opens it. */
export class GqlSocket {
  readonly #client: Client;
  #connect!: () => void;
  /** It stands. */
  readonly connected = new Promise<void>((resolve) => (this.#connect = resolve));

  constructor(port: number, { headers = {}, params, eager = false }: GqlSocketOptions = {}) {
    class WithHeaders extends WebSocket {
      constructor(url: string, protocols: string) {
        super(url, protocols, { headers });
      }
    }
    this.#client = createClient({
      url: `ws://127.0.0.1:${port}/graphql`,
      webSocketImpl: WithHeaders,
      retryAttempts: 0,
      lazy: !eager,
      onNonLazyError: () => undefined,
      on: { connected: () => this.#connect() },
      lazyCloseTimeout: 60_000,
      ...(params && { connectionParams: params as Record<string, unknown> }),
    });
  }

  /** The connection of a browser with the cookies of a client. */
  static of(client: HttpClient, headers: Record<string, string> = {}): GqlSocket {
    return new GqlSocket(client.port, { headers: { cookie: client.cookieHeader, ...headers } });
  }

  ask(query: string): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      this.#client.subscribe(
        { query },
        {
          next: (outcome) => resolve(outcome as Outcome),
          error: (errors) => {
            if (Array.isArray(errors)) resolve({ errors: errors as Outcome['errors'] & object });
            else reject(errors as Error);
          },
          complete: () => undefined,
        },
      );
    });
  }

  listen(query: string): Heard {
    const values: unknown[] = [];
    let refused: unknown;
    let stop!: () => void;
    const over = new Promise<unknown>((resolve) => {
      stop = this.#client.subscribe(
        { query },
        {
          next: (outcome) => {
            if (outcome.errors) refused = outcome.errors;
            else values.push(outcome.data);
          },
          error: resolve,
          complete: () => resolve(refused),
        },
      );
    });
    return { values, over, stop };
  }

  async close(): Promise<void> {
    await this.#client.dispose();
  }
}
