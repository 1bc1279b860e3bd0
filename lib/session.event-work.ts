import {
  Inject,
  Injectable,
  Logger,
  type BeforeApplicationShutdown,
  type OnApplicationBootstrap,
  type OnModuleInit,
} from '@nestjs/common';
import { DiscoveryService, MetadataScanner } from '@nestjs/core';
import { SessionManager } from './core/session-manager.js';
import type { ExpiryFigures } from './core/session-observer.interface.js';
import type { SessionStore } from './core/session-store.interface.js';
import { SessionOptionsError } from './core/session.errors.js';
import type { TellingSessionStore } from './core/store-news.interface.js';
import { ClusterDelivery } from './events/cluster-delivery.js';
import { callHandler, findEventHandlers, type EventHandler } from './events/event-handlers.js';
import { ExpirySweeper } from './events/expiry-sweeper.js';
import type { EventSource } from './events/event-source.js';
import { SessionEvents } from './events/session-events.js';
import type { ResolvedSessionOptions } from './options/resolve-session-options.js';
import type { ResolvedEventsOptions } from './options/session-events.options.js';
import { SESSION_OPTIONS, SESSION_STORE } from './session.constants.js';
import { NearCaches } from './session.near-caches.js';

/** Principals are counted where somebody is told. */
type WorkOptions = ResolvedEventsOptions & { readonly counts: boolean };

/** What goes on beside requests while sessions are told of: sweeping, and calling handlers. */
@Injectable()
export class EventWork implements OnModuleInit, OnApplicationBootstrap, BeforeApplicationShutdown {
  readonly #logger = new Logger('SessionEvents');
  readonly #sources: { source: EventSource; options: WorkOptions }[] = [];
  readonly #running: { stop(): Promise<void> }[] = [];
  readonly #sweepers = new Map<string | undefined, ExpirySweeper>();
  #handlers: readonly EventHandler[] = [];
  #isListening = false;

  constructor(
    @Inject(SESSION_OPTIONS) private readonly options: ResolvedSessionOptions,
    @Inject(SESSION_STORE) private readonly store: SessionStore,
    @Inject(SessionManager) private readonly manager: SessionManager,
    @Inject(SessionEvents) private readonly events: SessionEvents,
    @Inject(NearCaches) private readonly nearCaches: NearCaches,
    @Inject(DiscoveryService) private readonly discovery: DiscoveryService,
    @Inject(MetadataScanner) private readonly scanner: MetadataScanner,
  ) {}

  /** Hears what a store tells of sessions, for who listens and for copies of them. */
  async listenTo(
    options: ResolvedSessionOptions,
    store: SessionStore,
    manager: SessionManager,
    name?: string,
  ): Promise<void> {
    const counts = options.observer !== undefined;
    if (options.events) await this.#listen({ ...options.events, counts }, store, manager, name);
    await this.nearCaches.follow(options, store, this.events, name);
  }

  async #listen(
    options: WorkOptions,
    store: SessionStore,
    manager: SessionManager,
    name?: string,
  ): Promise<void> {
    const { news } = manager;
    if (!news) return;
    const whereIs = (handle: string) => manager.whereIs(handle);
    const { retention } = options;
    const source = { name, store: (store as TellingSessionStore).news, news, whereIs, retention };
    this.#sources.push({ source, options });
    await this.events.listenTo(source);
  }

  /** Before other modules: whatever they do at their start is heard. */
  async onModuleInit(): Promise<void> {
    if (this.#isListening) return;
    this.#isListening = true;
    await this.listenTo(this.options, this.store, this.manager);
  }

  onApplicationBootstrap(): void {
    const handlers = findEventHandlers(this.discovery, this.scanner);
    const [first] = handlers;
    if (first && !this.events.on) {
      throw new SessionOptionsError([
        `${first.name} has @OnSessionEvent, and nothing is told: set the option \`events\``,
      ]);
    }
    if (!this.events.on) return;
    this.#handlers = handlers.filter(({ once }) => once === 'node');
    this.events.events$.subscribe((event) => {
      for (const handler of this.#handlers) {
        if (handler.types.includes(event.type)) void callHandler(handler, event);
      }
    });
    const onTrouble = (error: unknown) => this.#logger.error(error);
    const shared = handlers.filter(({ once }) => once === 'cluster');
    for (const { source, options } of this.#sources) {
      const { sweepEvery: every, counts } = options;
      const sweeper = new ExpirySweeper(source, { every, counts, onTrouble });
      sweeper.start();
      this.#sweepers.set(source.name, sweeper);
      this.#running.push(sweeper);
      if (shared.length === 0) continue;
      const delivery = new ClusterDelivery(source, shared, { group: options.group, onTrouble });
      delivery.start(this.events);
      this.#running.push(delivery);
    }
  }

  /** What this node knows of the ends of sessions of a name, if it looks for them. */
  expiryOf(name: string | undefined): ExpiryFigures | undefined {
    return this.#sweepers.get(name)?.figures;
  }

  /** What is under way is done; another node goes on at once. */
  async beforeApplicationShutdown(): Promise<void> {
    await Promise.all(this.#running.map((one) => one.stop()));
  }
}
