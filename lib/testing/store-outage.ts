import assert from 'node:assert/strict';
import { inspect } from 'node:util';
import type { SessionStore } from '../core/session-store.interface.js';
import { SessionError } from '../core/session.errors.js';
import { handleOf, newSessionId } from '../core/session-id.js';
import { nextVersion, versionOf } from '../core/session-record.js';
import type { Guarantee } from './store-proof.js';

const SECRET = 'what-only-the-session-knows';

const verbs: Record<string, (store: SessionStore, handle: string) => Promise<unknown>> = {
  load: (store, handle) => store.load(handle),
  'load with touch': (store, handle) => store.load(handle, { touch: 60_000 }),
  'load with remaining': (store, handle) => store.load(handle, { remaining: true }),
  create: (store, handle) => store.create(handle, nextVersion() + SECRET, { ttl: 60_000 }),
  save: (store, handle) => {
    const expected = versionOf(nextVersion());
    return store.save(handle, nextVersion(expected) + SECRET, { expected, ttl: 60_000 });
  },
  touch: (store, handle) => store.touch(handle, 60_000),
  delete: (store, handle) => store.delete(handle),
  count: (store) => store.count(),
  ping: (store) => store.ping(),
};

/** What every verb does while the backend cannot be reached. */
export const outageGuarantees: readonly Guarantee[] = Object.entries(verbs).map(([verb, call]) => ({
  title: `${verb} fails with SESSION_STORE_UNAVAILABLE, is never "absent", and tells no handle or data`,
  proof: async (store) => {
    const handle = handleOf(newSessionId());
    const failure = await call(store, handle).then(
      (answer) => assert.fail(`an outage was answered with ${inspect(answer)}`),
      (error: unknown) => error,
    );
    assert.ok(failure instanceof SessionError, `not an error of this library: ${String(failure)}`);
    assert.equal(failure.code, 'SESSION_STORE_UNAVAILABLE');
    const told = inspect(failure, { depth: 10, showHidden: true });
    assert.ok(!told.includes(handle.slice(2)), 'the error tells the handle');
    assert.ok(!told.includes(SECRET), 'the error tells the data');
  },
}));
