import type { FakeClock } from 'nestjs-distributed-session/testing';
import { isCarried, type CarriedSessionStore } from '../../lib/core/carried-store.interface.js';
import { jsonSessionCodec } from '../../lib/core/json-session.codec.js';
import type { RequestingClient } from '../../lib/core/session-binding.js';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import type {
  CreateOptions,
  LoadedValue,
  LoadOptions,
  SaveOptions,
  SaveOutcome,
  SessionStore,
  StoredValue,
} from '../../lib/core/session-store.interface.js';
import { SECRET } from './app.js';

const CLIENT: RequestingClient = {
  describe: () => undefined,
  traits: () => ({ address: undefined, userAgent: undefined }),
  arrivedAt: 0,
  isAnswered: () => false,
};

/** A store of carried sessions as an application opens it, without limits of its cookies. */
export function openCarried(store: SessionStore, clock: FakeClock): Promise<CarriedSessionStore> {
  if (!isCarried(store)) throw new Error('not carried');
  return store.open({
    clock,
    secrets: [SECRET],
    realm: 'test',
    keyPrefix: 'sess',
    codec: jsonSessionCodec,
    maxBytes: 65_536,
    capacity: Infinity,
    longestLife: () => 86_400_000,
    bootWithoutStore: false,
    onTrouble: () => undefined,
  });
}

/** What a request has for a store, if it brings these tokens. */
export const carriageOf = (store: CarriedSessionStore, tokens: readonly string[] = []) =>
  store.receive(tokens, CLIENT);

/**
 * A client that keeps what answers hand out, and brings it with its next request: each verb is a request of its
 * own, one after the other, so all that is known of a session between two of them is its token.
 */
export class CarriedClient implements SessionStore {
  readonly #tokens = new Map<string, string>();
  readonly #ids = new Map<string, string>();
  #last: Promise<unknown> = Promise.resolve();

  /** @param unit milliseconds that one of those stands for which are asked of it */
  constructor(
    private readonly store: CarriedSessionStore,
    private readonly unit = 1,
  ) {}

  async load(handle: string, options: LoadOptions = {}): Promise<LoadedValue | undefined> {
    const { touch } = options;
    const asked = { ...options, ...(touch !== undefined && { touch: touch * this.unit }) };
    const loaded = await this.#request(handle, (carriage, at) => carriage.load(at, asked));
    if (loaded?.remaining === undefined) return loaded;
    return { ...loaded, remaining: loaded.remaining / this.unit };
  }

  create(handle: string, value: StoredValue, options: CreateOptions): Promise<boolean> {
    const asked = { ...options, ttl: options.ttl * this.unit };
    return this.#request(handle, async (carriage, at) => {
      const found = await carriage.load(at);
      return found ? found.value === value : carriage.create(at, value, asked);
    });
  }

  save(handle: string, value: StoredValue, options: SaveOptions): Promise<SaveOutcome> {
    const { ttl } = options;
    const asked = { ...options, ...(ttl !== undefined && { ttl: ttl * this.unit }) };
    return this.#request(handle, (carriage, at) => carriage.save(at, value, asked));
  }

  touch(handle: string, ttl: number): Promise<boolean> {
    return this.#request(handle, (carriage, at) => carriage.touch(at, ttl * this.unit));
  }

  delete(handle: string): Promise<StoredValue | undefined> {
    return this.#request(handle, async (carriage, at) => {
      const value = await carriage.delete(at);
      this.#tokens.delete(handle);
      return value;
    });
  }

  count(): Promise<number> {
    return this.store.count();
  }

  ping(): Promise<void> {
    return this.store.ping();
  }

  async close(): Promise<void> {
    await this.store.close?.();
  }

  /** Brings what there is of a session, and keeps what comes back. */
  #request<T>(handle: string, ask: (carriage: SessionStore, at: string) => Promise<T>): Promise<T> {
    const answer = this.#last.then(async () => {
      const token = this.#tokens.get(handle);
      const carriage = carriageOf(this.store, token === undefined ? [] : [token]);
      // The client of an id, which a handle does not tell.
      const id = this.#ids.get(handle) ?? newSessionId();
      this.#ids.set(handle, id);
      carriage.serve(() => id);
      const result = await ask(carriage, handleOf(id));
      const next = carriage.tokenOf(handleOf(id));
      if (next !== undefined) this.#tokens.set(handle, next);
      return result;
    });
    this.#last = answer.catch(() => undefined);
    return answer;
  }
}
