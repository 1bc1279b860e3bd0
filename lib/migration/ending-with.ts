import type {
  Admission,
  EndedInPlace,
  IndexedSessionStore,
  SessionStore,
} from '../core/session-store.interface.js';

type Verb = (...args: never[]) => unknown;

/** Handles of a place that are looked up at once. */
const PAGE = 500;

/**
 * The same store; what ends there ends elsewhere, too: there first, so that whatever is interrupted has logged
 * out too much rather than too little.
 */
export function endingWith<Store extends SessionStore>(
  behind: Store,
  end: (handle: string) => Promise<void>,
): Store {
  const all = behind as unknown as IndexedSessionStore;
  const instead: Partial<Record<keyof IndexedSessionStore, Verb>> = {
    delete: async (...args: Parameters<SessionStore['delete']>) => {
      await end(args[0]);
      const value = await behind.delete(...args);
      // It may have been given a record in between.
      await end(args[0]);
      return value;
    },
    admit: async (...args: Parameters<IndexedSessionStore['admit']>): Promise<Admission> => {
      const admission = await all.admit(...args);
      if (admission.status === 'created') await Promise.all(admission.retired.map(end));
      return admission;
    },
    endIn: async (...args: Parameters<IndexedSessionStore['endIn']>): Promise<EndedInPlace> => {
      const [bucket, place, except] = args;
      const handles: string[] = [];
      for await (const handle of handlesIn(all, bucket, place)) {
        if (handle === except) continue;
        handles.push(handle);
        await end(handle);
      }
      const ended = await all.endIn(...args);
      for (const handle of handles) await end(handle);
      return ended;
    },
  };
  return new Proxy(behind, {
    get(target, name) {
      const value: unknown = Reflect.get(target, name, target);
      if (typeof value !== 'function') return value;
      return instead[name as keyof IndexedSessionStore] ?? value.bind(target);
    },
  });
}

async function* handlesIn(behind: IndexedSessionStore, bucket: string, place: string) {
  for (let after: { handle: string; since: number } | undefined; ;) {
    const page = await behind.list(bucket, place, { limit: PAGE, after });
    yield* page.map(({ handle }) => handle);
    if (page.length < PAGE) return;
    after = page.at(-1);
  }
}
