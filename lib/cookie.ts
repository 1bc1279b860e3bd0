import type { CarriedContext } from './core/carried-store.interface.js';
import type { RevocationList } from './core/revocation-list.interface.js';
import { SessionOptionsError } from './core/session.errors.js';
import type { SessionStore } from './core/session-store.interface.js';
import { Keyring } from './security/keyring.js';
import { CarriedSessions } from './stores/carried/carried-sessions.store.js';
import { MemoryRevocations } from './stores/carried/memory-revocations.js';
import { SealedForm } from './stores/carried/sealed.form.js';
import type { RedisClient, RedisConnectionOptions } from './stores/redis/redis-client.js';

export type {
  PlaceInBucket,
  RevocationAnswer,
  RevocationList,
} from './core/revocation-list.interface.js';

/**
 * Where it is kept what was ended: in Redis, given as the option `redis` of SessionModule takes it; `'memory'`, in
 * this process, for tests and development: other nodes do not know it, and a restart forgets it, as the log says
 * at boot; or a list of your own.
 */
export type RevocationOption =
  { readonly redis: string | RedisConnectionOptions | RedisClient } | 'memory' | RevocationList;

/** What sessions that clients carry have in common, in whatever form. */
export interface CarriedSessionOptions {
  /**
   * Makes logouts, `revoke` and `revokeAll` hold wherever a copy of the session is: each request that reads its
   * session asks the list, one command in Redis. While it does not answer, the option `onStoreFailure` decides
   * (503): nobody is let in unasked.
   *
   * @default none: a logout makes the browser forget, and a copy serves until its idle window ends; the log says
   * so at boot
   */
  revocation?: RevocationOption;
  /**
   * How many cookies of 4096 bytes a session may take, 1 to 10. Servers and proxies bound what a request may
   * bring: nginx a cookie header of 8 KiB, Node all headers of 16 KiB.
   *
   * @default 3
   */
  maxChunks?: number;
}

/** How sessions are sealed. */
export interface SealedCookieOptions extends CarriedSessionOptions {
  /**
   * Sessions of more bytes are compressed before they are sealed; `false`: none. The length of what is compressed
   * tells of its contents who can see the length, and put in text of their own beside a secret (CRIME): switch it
   * off if sessions hold such secrets beside what others write.
   *
   * @default 1024
   */
  compressAbove?: number | false;
}

/**
 * Sessions in a cookie at the client, and nowhere else: encrypted and authenticated by AES-256-GCM under the
 * option `secret`, compressed, in as many cookies of 4096 bytes as it takes. Without a store, and with what that
 * means: of two answers at once the last one wins, nobody can list or count sessions, and what was ended lives on
 * in copies unless there is a list of it (`revocation`).
 *
 * @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`)
 * @example SessionModule.forRoot({ secret: process.env.SESSION_SECRET, store: sealedCookie({ revocation: { redis: process.env.REDIS_URL } }) })
 */
export function sealedCookie(options: SealedCookieOptions = {}): SessionStore {
  const { compressAbove = 1_024 } = options;
  const problems = problemsOfCarried(options, ['compressAbove']);
  if (compressAbove !== false && !(Number.isInteger(compressAbove) && compressAbove >= 0)) {
    problems.push('compressAbove cannot be used: use a whole number of bytes, or false');
  }
  if (problems.length > 0) {
    throw new SessionOptionsError(problems.map((problem) => `sealedCookie: ${problem}`));
  }
  return new CarriedSessions({
    ...carriedParts(options, 'sealed cookie', true),
    form: ({ secrets, realm, maxBytes }) =>
      new SealedForm(new Keyring(secrets), {
        realm,
        compressAbove: compressAbove === false ? Infinity : compressAbove,
        mostBytes: 2 * maxBytes,
      }),
  });
}

/** What is the same in all forms. @internal */
export function carriedParts(
  { revocation, maxChunks = 3 }: CarriedSessionOptions,
  form: string,
  needsSecret: boolean,
) {
  const isRevocable = revocation !== undefined;
  return {
    traits: {
      form,
      maxCookies: maxChunks,
      needsSecret,
      isRevocable,
      isForgetful: revocation === 'memory',
    },
    list: isRevocable
      ? (context: CarriedContext) => openRevocations(revocation, context)
      : undefined,
  };
}

/** What is wrong with what is the same in all forms. @internal */
export function problemsOfCarried(
  options: CarriedSessionOptions,
  others: readonly string[],
): string[] {
  const known = ['revocation', 'maxChunks', ...others];
  const problems = Object.keys(options)
    .filter((name) => !known.includes(name))
    .map((name) => `${name} is no option: use ${known.join(', ')}`);
  const { maxChunks = 3, revocation } = options;
  if (!(Number.isInteger(maxChunks) && maxChunks >= 1 && maxChunks <= 10)) {
    problems.push('maxChunks cannot be used: use a whole number from 1 to 10');
  }
  if (revocation !== undefined && !isRevocation(revocation)) {
    problems.push(
      "revocation cannot be used: use { redis } with a URL, options or a client, 'memory', or an object with ask, note, begin and ping",
    );
  }
  return problems;
}

const isList = (value: object): value is RevocationList =>
  ['ask', 'note', 'begin', 'ping'].every(
    (name) => typeof (value as Record<string, unknown>)[name] === 'function',
  );

function isRevocation(value: unknown): boolean {
  if (value === 'memory') return true;
  if (typeof value !== 'object' || value === null) return false;
  const { redis } = value as { redis?: unknown };
  return (
    isList(value) || typeof redis === 'string' || (typeof redis === 'object' && redis !== null)
  );
}

async function openRevocations(
  revocation: RevocationOption,
  { clock, keyPrefix, bootWithoutStore, onTrouble }: CarriedContext,
): Promise<RevocationList> {
  if (revocation === 'memory') return new MemoryRevocations(clock);
  if (!('redis' in revocation)) return kept(revocation);
  // Only where it is needed: without a list there is no Redis.
  const { openRedisRevocations } = await import('./stores/redis/redis-revocations.js');
  return openRedisRevocations(revocation.redis, { keyPrefix, bootWithoutStore, onTrouble });
}

/** What was handed in is never closed. */
const kept = (list: RevocationList): RevocationList => ({
  ask: (handle, places) => list.ask(handle, places),
  note: (handle, entry, ttl) => list.note(handle, entry, ttl),
  begin: (at, epoch, ttl) => list.begin(at, epoch, ttl),
  ping: () => list.ping(),
});
