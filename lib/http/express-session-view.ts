import { LiveSession } from '../core/live-session.js';
import { START_OVER } from '../core/session-renewal.js';
import { SessionEndedError } from '../core/session.errors.js';
import type { CookieAttributes } from '../options/resolve-session-options.js';

type Callback = (error?: unknown) => void;
type Data = Record<PropertyKey, unknown>;

/**
 * `req.session` as middleware for express-session expects it (passport, connect-flash, CSRF): its
 * own enumerable properties are the session's data, the rest is reached by name but not listed.
 * Methods take a callback, and return a promise where none is given.
 */
export class ExpressSessionViews {
  readonly #views = new WeakMap<LiveSession, { view: object; detach: () => void }>();

  constructor(private readonly cookie: CookieAttributes) {}

  /** The view of a session; `undefined` once it is destroyed, as in express-session. */
  of(session: LiveSession): object | undefined {
    const state = LiveSession.stateOf(session);
    if (state.destroyed || state.ended) return undefined;
    let entry = this.#views.get(session);
    if (!entry) this.#views.set(session, (entry = this.#create(session)));
    return entry.view;
  }

  #create(session: LiveSession): { view: object; detach: () => void } {
    // What the view shows after `regenerate`, when a new one has taken its place.
    let left: Data | undefined;
    const data = (): Data => left ?? (session.data as object as Data);
    const view: object = new Proxy({} as Data, {
      get: (_, key) => (key in named ? named[key as string]!() : data()[key]),
      set: (_, key, value) => {
        data()[key] = value;
        return true;
      },
      has: (_, key) => key in named || key in data(),
      deleteProperty: (_, key) => delete data()[key],
      ownKeys: () => Reflect.ownKeys(data()),
      getOwnPropertyDescriptor: (_, key) => {
        const found = Object.getOwnPropertyDescriptor(data(), key);
        return found && { ...found, configurable: true };
      },
      defineProperty: (_, key, descriptor) =>
        Reflect.defineProperty(data(), key, { ...descriptor, configurable: true }),
    });
    const detach = () => {
      left = { ...session.data };
      this.#views.delete(session);
    };
    const run = (action: () => Promise<unknown>) => (callback?: Callback) =>
      callback ? report(action, view, callback) : promise(action, session);
    const named: Record<string, () => unknown> = {
      id: () => session.id,
      cookie: () => this.#cookieOf(session),
      save: () => run(() => session.save()),
      touch: () => () => {
        // Never fails there; an outage shows in what the request goes on to do.
        session.touch().catch(() => undefined);
        return view;
      },
      reload: () =>
        run(async () => {
          await session.reload();
          if (session.isNew) throw new SessionEndedError();
        }),
      destroy: () => run(() => session.destroy().then(() => session.save())),
      regenerate: () =>
        run(async () => {
          await session.load();
          detach();
          LiveSession.stateOf(session).renew(START_OVER);
        }),
      resetMaxAge: () => () => view,
    };
    Object.setPrototypeOf(named, null);
    return { view, detach };
  }

  #cookieOf(session: LiveSession): object {
    const { name: _, persistent, ...attributes } = this.cookie;
    const { absoluteEnd, openedAt } = LiveSession.stateOf(session);
    const expires = persistent ? new Date(absoluteEnd) : null;
    const originalMaxAge = persistent ? absoluteEnd - openedAt : null;
    return { ...attributes, httpOnly: true, expires, originalMaxAge };
  }
}

/** express-session's methods return the session, and report through a callback. */
function report(action: () => Promise<unknown>, view: object, callback: Callback): object {
  action().then(
    () => callback(),
    (error: unknown) => callback(error),
  );
  return view;
}

/** Often not waited for: then a failure must not bring the process down, and the end of the request tries again. */
function promise(action: () => Promise<unknown>, session: LiveSession): Promise<void> {
  const done = action().then(() => undefined);
  done.catch(() => (LiveSession.stateOf(session).abandoned = false));
  return done;
}
