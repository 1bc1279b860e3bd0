import { afterAll, afterEach } from '@jest/globals';
import { setTimeout as delay } from 'node:timers/promises';
import type { Provider } from '@nestjs/common';
import {
  SessionEvents,
  SessionModule,
  SessionSockets,
  type SessionFeatureOptions,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { startApp, type AdapterName, type TestApp } from '../support/app.js';
import { chatWith, Pages, Side, Waiting } from '../support/chat.js';
import { HttpClient } from '../support/http-client.js';
import {
  IO,
  IO_POLLING,
  WS,
  type Opening,
  type Platform,
  type TestSocket,
} from '../support/socket-clients.js';

/** Each platform of gateways on each HTTP adapter. */
export const STACKS: [name: string, platform: Platform, adapter: AdapterName][] = [
  ['ws on Express', WS, 'express'],
  ['ws on Fastify', WS, 'fastify'],
  ['socket.io on Express', IO, 'express'],
  ['socket.io on Fastify', IO, 'fastify'],
];
/** The other transport of socket.io as well. */
export const HANDSHAKES: typeof STACKS = [
  ...STACKS,
  ['socket.io by polling on Express', IO_POLLING, 'express'],
  ['socket.io by polling on Fastify', IO_POLLING, 'fastify'],
];

export interface ChatOptions {
  session?: SessionModuleOptions;
  /** Sessions of the name "admin" beside. */
  admin?: SessionFeatureOptions;
  required?: boolean;
  /** Options of the gateway's server. */
  gateway?: object;
  /** A second gateway, in a namespace of its own. */
  namespaces?: boolean;
  providers?: Provider[];
  /** Proxies before the application say the truth. */
  trustProxy?: boolean;
}

/** Applications with sockets, ended after each test. */
const running: { close(): Promise<unknown> | void }[] = [];

afterEach(async () => {
  for (const one of running.splice(0).reverse()) await one.close();
});

// Clients that poll say good-bye after they have gone, which must not be after everything has.
afterAll(() => delay(100));

/** One node of an application with sockets. */
export class Node {
  constructor(
    readonly app: TestApp,
    readonly platform: Platform,
  ) {
    const events = app.app.get(SessionEvents);
    const follow = events.follow.bind(events);
    events.follow = (...args) => {
      const stop = follow(...args);
      this.followed++;
      return () => {
        this.followed--;
        stop();
      };
    };
  }

  #closing: Promise<void> | undefined;

  close(): Promise<void> {
    return (this.#closing ??= this.app.close());
  }

  get sockets(): SessionSockets {
    return this.app.app.get(SessionSockets);
  }

  /** How many follow sessions on this node, and have not stopped. */
  followed = 0;

  get waiting(): Waiting {
    return this.app.app.get(Waiting);
  }

  /** A browser of its own. */
  browser(): HttpClient {
    const client = new HttpClient(this.app.port);
    running.push(client);
    return client;
  }

  /** A browser that is logged in. */
  async login(principal = 'alice', roles: string[] = []): Promise<HttpClient> {
    const browser = this.browser();
    await browser.post('/login', { json: { principal, roles } });
    return browser;
  }

  async open(opening: Opening = {}): Promise<TestSocket> {
    const socket = await this.platform.open(this.app.port, opening);
    running.push({ close: () => (socket.isClosed ? undefined : socket.close()) });
    return socket;
  }

  /** The socket of a browser. */
  connect(browser: HttpClient, headers: Record<string, string> = {}): Promise<TestSocket> {
    return this.open({ headers: { cookie: browser.cookieHeader, ...headers } });
  }

  /** The same browser, led to this node by its load balancer. */
  here(browser: HttpClient): HttpClient {
    const client = new HttpClient(this.app.port, browser.jar);
    running.push(client);
    return client;
  }
}

export async function startNode(
  platform: Platform,
  adapter: AdapterName,
  { session = {}, admin, required = false, providers = [], ...more }: ChatOptions = {},
): Promise<Node> {
  const app = await startApp({
    adapter,
    fastify: { trustProxy: more.trustProxy ?? false },
    session: { store: 'memory', cookie: { secure: false, name: 'sid' }, ...session },
    imports: admin ? [SessionModule.forFeature('admin', admin)] : [],
    controllers: [Pages],
    providers: [chatWith(more.gateway), ...(more.namespaces ? [Side] : []), Waiting, ...providers],
    setup: (it) => {
      if (more.trustProxy && adapter === 'express')
        it.getHttpAdapter().getInstance().set('trust proxy', true);
      it.useWebSocketAdapter(platform.adapter(it, { required }));
    },
  });
  const node = new Node(app, platform);
  running.push(node);
  return node;
}
