import type { SessionObserver, SessionStep } from '../../core/session-observer.interface.js';
import type { IndexedSessionStore, SessionStore } from '../../core/session-store.interface.js';

type Verb = (...args: unknown[]) => Promise<unknown>;

const isThere = (found: unknown): string => (found ? 'found' : 'absent');
const done = (): string => 'ok';
const statusOf = (outcome: unknown): string => (outcome as { readonly status: string }).status;

/** How each verb ends. */
const OUTCOMES = {
  load: isThere,
  create: (created) => (created ? 'created' : 'taken'),
  save: statusOf,
  touch: isThere,
  delete: isThere,
  admit: statusOf,
  replace: statusOf,
  list: done,
  countIn: done,
  endIn: done,
  settle: done,
  ping: done,
} satisfies Partial<Record<keyof IndexedSessionStore, SessionStep['outcomeOf']>>;

/** The same store; whatever is asked of it is a step that an observer sees. */
export function observed<Store extends SessionStore>(
  store: Store,
  observer: SessionObserver,
  realm: string | undefined,
): Store {
  const seen: Record<string, unknown> = { confirms: store.confirms, abilities: store.abilities };
  const verbs = store as unknown as Record<string, Verb | undefined>;
  for (const [name, outcomeOf] of Object.entries(OUTCOMES)) {
    const verb = verbs[name]?.bind(store);
    if (!verb) continue;
    const step: SessionStep = { name: `store.${name}`, realm, outcomeOf };
    seen[name] = (...args: unknown[]) => observer.step(step, () => verb(...args));
  }
  for (const name of ['count', 'placesOf', 'close']) {
    const verb = verbs[name];
    if (verb) seen[name] = verb.bind(store);
  }
  return seen as unknown as Store;
}
