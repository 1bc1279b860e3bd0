import { describe, expect, it } from '@jest/globals';
import {
  SessionOptionsError,
  type SessionModuleOptions,
  type SessionStore,
} from 'nestjs-distributed-session';
import { systemClock } from '../lib/core/clock.js';
import { jsonSessionCodec } from '../lib/core/json-session.codec.js';
import { resolveSessionOptions } from '../lib/options/resolve-session-options.js';
import { MemorySessionStore } from '../lib/stores/memory/memory-session.store.js';
import { WatchedStore } from './support/session-world.js';

const SECRET = 'x8Jd93kd02kdLs93kfj3kdlsk39fkslw0';

/** The problems that booting with these options meets. */
function problemsOf(options: unknown, environment?: string): readonly string[] {
  try {
    resolveSessionOptions(options as SessionModuleOptions, environment);
    return [];
  } catch (error) {
    if (error instanceof SessionOptionsError) return error.problems;
    throw error;
  }
}

const resolve = (options?: SessionModuleOptions) => resolveSessionOptions(options, 'test');
const store = new MemorySessionStore(systemClock, { maxSessions: 1 });
/** A store that has what is needed, and nobody can follow. */
const silent: SessionStore = new WatchedStore(store);
const followed = Object.assign(new WatchedStore(store), { follow: async () => undefined });

describe('defaults', () => {
  it('are safe, complete and frozen', () => {
    const resolved = resolve();
    expect(resolved).toMatchObject({
      store: 'memory',
      memoryByDefault: true,
      bootWithoutStore: false,
      durability: undefined,
      onStoreFailure: 'reject',
      staleFor: undefined,
      nearCache: undefined,
      logoutRetry: 60_000,
      idleTimeout: 30 * 60_000,
      absoluteTimeout: 24 * 3_600_000,
      touchAfter: 60_000,
      regenerateGrace: 30_000,
      keyPrefix: 'sess',
      secrets: [],
      transports: ['cookie'],
      validate: undefined,
      maxBytes: 65_536,
      codec: jsonSessionCodec,
      clock: systemClock,
      loading: 'lazy',
      cookie: {
        name: '__Host-session',
        domain: undefined,
        path: '/',
        sameSite: 'lax',
        secure: true,
        partitioned: false,
        priority: undefined,
        persistent: false,
        routing: undefined,
      },
    });
    for (const part of [resolved, resolved.cookie, resolved.secrets, resolved.transports]) {
      expect(Object.isFrozen(part)).toBe(true);
    }
  });

  it('follow from what is given', () => {
    expect(resolve({ idleTimeout: '5m' }).touchAfter).toBe(30_000);
    expect(resolve({ idleTimeout: '2h' }).touchAfter).toBe(60_000);
    expect(resolve({ redis: 'redis://localhost' })).toMatchObject({
      store: 'redis',
      memoryByDefault: false,
    });
    expect(resolve({ store }).store).toBe(store);
    expect(resolve({ secret: SECRET }).secrets).toEqual([SECRET]);
    expect(resolve({ transport: 'x-auth-token' }).transports).toEqual(['x-auth-token']);
    expect(resolve({ onStoreFailure: 'stale' }).staleFor).toBe(60_000);
    const near = { maxEntries: 10_000, maxBytes: 67_108_864, maxAge: 30_000 };
    for (const nearCache of [true, {}]) {
      expect(resolve({ redis: 'redis://localhost', nearCache }).nearCache).toEqual(near);
    }
    expect(resolve({ redis: 'redis://localhost', nearCache: { maxAge: '5s' } }).nearCache).toEqual({
      ...near,
      maxAge: 5_000,
    });
    const touching = { redis: 'redis://localhost', touchAfter: '5s' } as const;
    expect(resolve({ ...touching, nearCache: true }).touchAfter).toBe(5_000);
    expect(resolve({ ...touching, nearCache: { touchAfter: '2s' } }).touchAfter).toBe(2_000);
    expect(resolve({ redis: 'redis://localhost', durability: {} }).durability).toEqual({
      replicas: 1,
      timeout: 200,
      fsync: false,
    });
  });

  it.each<[SessionModuleOptions['cookie'], string]>([
    [{ secure: 'auto' }, 'session'],
    [{ secure: false }, 'session'],
    [{ domain: 'example.com' }, 'session'],
    [{ path: '/app' }, 'session'],
    [{ sameSite: 'strict' }, '__Host-session'],
    [{ name: 'mine' }, 'mine'],
  ])('give the cookie %j the name %s', (cookie, name) => {
    expect(resolve({ cookie }).cookie.name).toBe(name);
  });

  it('take an option that is undefined for one that is not given', () => {
    const nothing = { idleTimeout: undefined, codec: undefined, cookie: { name: undefined } };
    expect(resolve(nothing)).toEqual(resolve());
  });
});

describe('right options', () => {
  it.each<SessionModuleOptions>([
    { redis: 'rediss://user:pass@cache.example.com:6380/1' },
    { redis: { host: 'localhost', port: 6379 } },
    { redis: { url: 'redis://localhost' } },
    { redis: { url: 'rediss://localhost', username: 'shop', password: 'x', tls: { ca: 'x' } } },
    { redis: { host: 'localhost', tls: true } },
    { redis: { url: 'redis://a', host: undefined, cluster: undefined } as never },
    { redis: { host: 'a', port: '6379', password: '', tls: false } as never },
    { redis: { path: '/run/redis.sock' } },
    { redis: { cluster: { nodes: ['redis://a', { host: 'b', port: 7000 }] }, password: 'x' } },
    { redis: { sentinels: { name: 'mymaster', nodes: ['redis://a', { host: 'b' }] } } },
    { redis: { sentinels: [{ host: 'a', port: 26379 }], name: 'mymaster' } },
    { redis: 'redis://localhost', durability: { replicas: 2, timeout: '1s', fsync: true } },
    { redis: 'redis://localhost', onStoreFailure: 'stale', staleFor: '5m', logoutRetry: 0 },
    { cookie: { routing: 'session_route' } },
    { idleTimeout: 1_000, touchAfter: 0, regenerateGrace: '0s' },
    { idleTimeout: '1.5h', absoluteTimeout: '1.5h' },
    { secret: [SECRET, `${SECRET}2`] },
    { encryption: true, secret: SECRET },
    { encryption: false },
    { encryption: { keys: SECRET, mode: 'store-blind', acceptPlain: true } },
    { renewalTimeout: '15m', replayWindow: '1d', onReplay: 'end' },
    { replayWindow: 0 },
    { binding: {} },
    { binding: { userAgent: false, address: '/32,/56', onMismatch: 'destroy' } },
    { binding: { address: (address) => address } },
    { keyPrefix: 'shop:prod:[1]*' },
    { maxBytes: 256 },
    { transport: ['authorization', 'cookie', { read: () => [], write() {}, clear() {} }] },
    { cookie: { name: '__Secure-s', domain: '.example.co.uk', sameSite: 'none' } },
    { cookie: { partitioned: true, priority: 'high', persistent: true } },
    { schema: class Data {} },
    { redis: 'redis://localhost', nearCache: true },
    { redis: 'redis://localhost', nearCache: {} },
    { redis: 'redis://localhost', nearCache: { maxEntries: 1, maxBytes: 65_536, maxAge: 1 } },
    { redis: 'redis://localhost', nearCache: { maxAge: '5s', touchAfter: 0 } },
    { store: 'memory', nearCache: false },
    { store, nearCache: false },
    { store, nearCache: true, events: { modified: true } },
    { store: followed, nearCache: true },
    { forRoutes: ['api/{*rest}'], exclude: ['health'] },
  ])('are taken: %j', (options) => {
    expect(problemsOf(options)).toEqual([]);
  });
});

describe('a wrong option', () => {
  it.each<[option: string, options: object, remedy: string]>([
    ['redis', { redis: 'localhost:6379' }, "use a URL such as 'redis://localhost:6379'"],
    ['redis', { redis: 'http://localhost' }, 'use a URL'],
    ['redis', { redis: 6379 }, 'use a URL'],
    ['redis', { redis: null }, 'use a URL'],
    ['redis.url', { redis: { url: undefined } }, 'environment variable is missing'],
    ['redis.url', { redis: { url: 'localhost:6379' } }, 'rediss://'],
    ['redis.host', { redis: { host: '' } }, 'a name or an address'],
    ['redis.port', { redis: { host: 'a', port: 'redis' } }, 'from 1 to 65535'],
    ['redis.url', { redis: { url: 'redis://:s3cret@host:99999' } }, 'rediss://'],
    ['redis.db', { redis: { host: 'a', db: -1 } }, 'whole number'],
    ['redis.db', { redis: { cluster: { nodes: ['redis://a'] }, db: 1 } }, 'only database 0'],
    ['redis.tls', { redis: { host: 'a', tls: 'yes' } }, 'use true, or options'],
    ['redis.username', { redis: { host: 'a', username: 'u' } }, 'give redis.password'],
    ['redis.password', { redis: { host: 'a', password: 7 } }, 'use a string'],
    ['redis.client', { redis: { client: {} } }, 'a client of ioredis'],
    ['redis.url', { redis: { url: 'redis://a', host: 'b' } }, 'keep the one'],
    ['redis.cluster', { redis: { cluster: { nodes: ['a:6379'] } } }, 'node-1'],
    ['redis.cluster', { redis: { cluster: { nodes: ['redis://u:p@a'] } } }, 'give redis.username'],
    ['redis.sentinels', { redis: { sentinels: { nodes: ['redis://a'] } } }, "name: 'mymaster'"],
    ['redis.sentinels', { redis: { sentinels: [{ host: 'a' }] } }, 'give redis.name'],
    ['redis.sentinels', { redis: { sentinels: [], name: 'm' } }, 'sentinel-1'],
    ['durability', { redis: 'redis://a', durability: true }, 'use an object'],
    ['durability', { store, durability: {} }, 'answers for itself'],
    ['durability.replicas', { redis: 'redis://a', durability: { replicas: 0 } }, 'at least 1'],
    ['durability.timeout', { redis: 'redis://a', durability: { timeout: 0 } }, "such as '200ms'"],
    ['durability.fsync', { redis: 'redis://a', durability: { fsync: 1 } }, 'true or false'],
    ['durability.quorum', { redis: 'redis://a', durability: { quorum: 1 } }, 'is no option'],
    ['onStoreFailure', { onStoreFailure: 'ignore' }, '"reject" or "anonymous" or "stale"'],
    ['staleFor', { staleFor: 'ever' }, "such as '1m'"],
    ['logoutRetry', { logoutRetry: -1 }, "such as '1m'"],
    ['cookie.routing', { cookie: { routing: 'a b' } }, 'use letters, digits'],
    ['cookie.routing', { cookie: { name: 'a', routing: 'a' } }, 'choose another name'],
    ['redis', { redis: [] }, 'use a URL'],
    ['store', { store: 'redis' }, "use 'memory' or an object"],
    ['store', { store: { get() {}, set() {} } }, 'methods of SessionStore'],
    ['bootWithoutStore', { bootWithoutStore: 'yes' }, 'use true or false'],
    ['idleTimeout', { idleTimeout: '30 minutes' }, "such as '30m'"],
    ['idleTimeout', { idleTimeout: 999 }, 'at least 1000 ms'],
    ['idleTimeout', { idleTimeout: NaN }, "such as '30m'"],
    ['idleTimeout', { idleTimeout: Infinity }, "such as '30m'"],
    ['absoluteTimeout', { absoluteTimeout: '-1h' }, "such as '24h'"],
    ['touchAfter', { touchAfter: -1 }, "such as '60s'"],
    ['regenerateGrace', { regenerateGrace: {} }, "such as '30s'"],
    ['keyPrefix', { keyPrefix: 'a{b}' }, "without '{' and '}'"],
    ['keyPrefix', { keyPrefix: '' }, '1 to 64'],
    ['keyPrefix', { keyPrefix: 'a b' }, 'visible characters'],
    ['secret', { secret: 'short' }, 'at least 32 characters'],
    ['secret', { secret: [] }, 'one or more'],
    ['secret', { secret: [SECRET, SECRET] }, 'different'],
    ['secret', { secret: 'a'.repeat(40) }, 'openssl rand'],
    ['secret', { secret: 'keyboard cat keyboard cat keyboard cat' }, 'random'],
    ['secret', { secret: 'change-me-change-me-change-me-change-me' }, 'random'],
    ['secret', { secret: 'correct-horse-'.repeat(4) }, 'random'],
    ['secret', { secret: 'abcabdabeabfabcabdabeabfabcdabcf'.replace(/[ef]/g, 'c') }, 'random'],
    ['secret', { secret: Buffer.alloc(32) }, 'strings'],
    ['encryption', { encryption: 'aes' }, 'use true, or an object'],
    ['encryption.keys', { encryption: { keys: 'short' } }, 'at least 32 characters'],
    ['encryption.mode', { encryption: { keys: SECRET, mode: 'blind' } }, '"store-blind"'],
    ['encryption.acceptPlain', { encryption: { keys: SECRET, acceptPlain: 1 } }, 'true or false'],
    ['encryption.key', { encryption: { key: SECRET } }, 'is no option: use keys'],
    ['renewalTimeout', { renewalTimeout: 'often' }, "such as '15m'"],
    ['replayWindow', { replayWindow: -1 }, "such as '30m'"],
    ['onReplay', { onReplay: 'log' }, '"refuse" or "end"'],
    ['binding', { binding: true }, 'use an object with userAgent'],
    ['binding.address', { binding: { address: '24' } }, "prefixes such as '/24'"],
    ['binding.address', { binding: { address: '/64,/24' } }, "prefixes such as '/24'"],
    ['binding.address', { binding: { address: '/129' } }, "prefixes such as '/24'"],
    ['binding.onMismatch', { binding: { onMismatch: 'end' } }, '"destroy"'],
    ['csrf', { csrf: true }, 'use an object with origins'],
    ['csrf.origins', { csrf: { origins: 'https://a.test' } }, 'a list of origins'],
    ['csrf.origins', { csrf: { origins: ['https://a.test/'] } }, 'nothing after them'],
    ['csrf.origins', { csrf: { origins: ['a.test'] } }, 'a list of origins'],
    ['csrf.origins', { csrf: { origins: ['https://*.a.test'] } }, 'a list of origins'],
    ['csrf.origins', { csrf: { origins: ['https://u:p@a.test'] } }, 'a list of origins'],
    ['csrf.origins', { csrf: { origins: ['null'] } }, 'a list of origins'],
    ['csrf.origins', { csrf: { origins: ['ftp://a.test'] } }, 'a list of origins'],
    ['csrf.token', { csrf: { token: true } }, '"fallback" or "always"'],
    ['csrf.header', { csrf: { header: 'Accept' } }, "such as 'X-CSRF-Token'"],
    ['csrf.header', { csrf: { header: 'X Token' } }, "such as 'X-CSRF-Token'"],
    ['csrf.field', { csrf: { field: '' } }, "such as '_csrf'"],
    ['csrf.cookie', { csrf: { cookie: 'x' } }, 'is no option: use origins'],
    [
      'nearCache',
      { redis: 'redis://a', nearCache: 'on' },
      'use true, or an object with maxEntries',
    ],
    ['nearCache', { redis: 'redis://a', nearCache: 10_000 }, 'maxEntries, maxBytes, maxAge'],
    ['nearCache.maxEntries', { nearCache: { maxEntries: 0 } }, 'at least 1'],
    ['nearCache.maxEntries', { nearCache: { maxEntries: Infinity } }, 'whole number'],
    ['nearCache.maxBytes', { nearCache: { maxBytes: 65_535 } }, 'at least 65536'],
    ['nearCache.maxBytes', { nearCache: { maxBytes: '64MB' } }, 'whole number'],
    ['nearCache.maxAge', { nearCache: { maxAge: 0 } }, "such as '30s'"],
    ['nearCache.maxAge', { nearCache: { maxAge: 'ever' } }, "such as '30s'"],
    ['nearCache.touchAfter', { nearCache: { touchAfter: -1 } }, "such as '60s'"],
    ['nearCache.ttl', { nearCache: { ttl: 1 } }, 'is no option: use maxEntries, maxBytes'],
    ['onRejected', { onRejected: 'log' }, 'a function (rejection)'],
    ['transport', { transport: 'header' }, "'x-auth-token'"],
    ['transport', { transport: [] }, 'a list of these'],
    ['transport', { transport: [{ read() {} }] }, 'read, write and clear'],
    ['schema', { schema: { name: 'string' } }, 'Standard Schema'],
    ['maxBytes', { maxBytes: 255 }, 'from 256'],
    ['maxBytes', { maxBytes: 1e9 }, 'to 536870912'],
    ['maxBytes', { maxBytes: 300.5 }, 'whole number'],
    ['codec', { codec: JSON }, 'encode and decode'],
    ['clock', { clock: { time: 1 } }, 'now()'],
    ['loading', { loading: true }, '"lazy" or "eager"'],
    ['forRoutes', { forRoutes: 'api' }, 'use a list'],
    ['exclude', { exclude: { path: 'api' } }, 'use a list'],
    ['cookie', { cookie: 'session' }, 'an object of cookie options'],
    ['cookie.name', { cookie: { name: 'a b' } }, 'use letters, digits'],
    ['cookie.name', { cookie: { name: 'a;b' } }, 'use letters, digits'],
    ['cookie.name', { cookie: { name: 'a\r\nSet-Cookie: x' } }, 'use letters, digits'],
    ['cookie.name', { cookie: { name: '' } }, 'use letters, digits'],
    ['cookie.domain', { cookie: { domain: 'http://a.com' } }, 'host name'],
    ['cookie.domain', { cookie: { domain: 'a.com; x' } }, 'host name'],
    ['cookie.path', { cookie: { path: 'app' } }, "begins with '/'"],
    ['cookie.path', { cookie: { path: '/;a' } }, "without ';'"],
    ['cookie.path', { cookie: { path: '/\n' } }, 'control characters'],
    ['cookie.sameSite', { cookie: { sameSite: 'Lax' } }, '"lax" or "strict" or "none"'],
    ['cookie.sameSite', { cookie: { sameSite: false } }, '"lax" or "strict" or "none"'],
    ['cookie.secure', { cookie: { secure: 'yes' } }, '"auto"'],
    ['cookie.partitioned', { cookie: { partitioned: 1 } }, 'use true or false'],
    ['cookie.priority', { cookie: { priority: 'urgent' } }, '"high"'],
    ['cookie.persistent', { cookie: { persistent: 'true' } }, 'use true or false'],
    ['cookie.httpOnly', { cookie: { httpOnly: false } }, 'is no option: use name, domain'],
    ['cookie.maxAge', { cookie: { maxAge: 1 } }, 'is no option'],
    ['ttl', { ttl: 60 }, 'is no option: use redis, store'],
    ['Secret', { Secret: SECRET }, 'is no option'],
  ])('names itself and the remedy: %s %j', (option, options, remedy) => {
    const [problem, ...others] = problemsOf(options, 'test');
    expect(others).toEqual([]);
    expect(problem).toMatch(new RegExp(`^${option.replace('.', '\\.')} `));
    expect(problem).toContain(remedy);
  });

  it.each([
    'redis',
    'store',
    'idleTimeout',
    'keyPrefix',
    'secret',
    'cookie',
    'transport',
    'schema',
    'codec',
    'clock',
    'nearCache',
    'loading',
    'forRoutes',
    'exclude',
  ])('that is null names itself, too: %s', (option) => {
    expect(problemsOf({ [option]: null }, 'test')).toEqual([
      expect.stringMatching(new RegExp(`^${option} `)),
    ]);
  });

  it('comes together with all others in one error that says what to do', () => {
    const wrong = { idleTimeout: 'soon', keyPrefix: '', cookie: { path: 'x' }, nonsense: 1 };
    expect(problemsOf(wrong)).toHaveLength(4);
    const boot = () => resolveSessionOptions(wrong as unknown as SessionModuleOptions);
    expect(boot).toThrow(/^SessionModule cannot start:\n(  - .+\n){3}  - .+$/);
  });

  it.each([
    { secret: 'hunter2' },
    { secret: ['hunter2', SECRET] },
    { secret: { hunter2: 'hunter2' } },
    { encryption: { keys: ['hunter2'] } },
    { redis: 'http://user:hunter2@localhost' },
    { redis: { url: 'localhost?password=hunter2' } },
    { redis: 'rediss://user:hunter2@ localhost' },
  ])('that may hold a secret is never printed: %#', (options) => {
    const problems = problemsOf(options);
    expect(problems).toHaveLength(1);
    expect(problems.join()).not.toContain('hunter2');
    expect(problems.join()).not.toContain(SECRET);
  });
});

describe('options that contradict each other', () => {
  it.each<[SessionModuleOptions, problem: string, remedy: string]>([
    [
      { idleTimeout: '2h', absoluteTimeout: '1h' },
      'absoluteTimeout (3600000 ms) is shorter than idleTimeout (7200000 ms)',
      'at least as long',
    ],
    [{ idleTimeout: '48h' }, 'absoluteTimeout (86400000 ms) is shorter', 'at least as long'],
    [{ idleTimeout: '10s', touchAfter: '10s' }, 'touchAfter (10000 ms) is not', 'a tenth of it'],
    [{ redis: 'redis://localhost', store: 'memory' }, 'redis and store', 'leave one of them out'],
    [{ store: 'memory', nearCache: true }, 'in this process already', 'leave nearCache out'],
    [{ store: silent, nearCache: true }, 'a store that tells of changes', 'the method follow'],
    [{ store, nearCache: true, events: true }, 'tells of changes', 'events: { modified: true }'],
    [
      { redis: 'redis://localhost', idleTimeout: '1m', nearCache: { touchAfter: '1m' } },
      'touchAfter (60000 ms) is not',
      'a tenth of it',
    ],
    [{ encryption: true }, 'encryption needs keys', 'give `secret`'],
    [{ encryption: { mode: 'store-blind' } }, 'encryption needs keys', 'encryption: { keys }'],
    [{ renewalTimeout: '24h' }, 'renewalTimeout (86400000 ms)', 'make it shorter'],
    [{ binding: { userAgent: false, address: false } }, 'ties sessions to nothing', 'leave it out'],
    [{ onReplay: 'end', replayWindow: 0 }, 'needs a replayWindow', 'make it longer'],
    [{ onReplay: 'end', replayWindow: '30s' }, 'longer than regenerateGrace', 'make it longer'],
    [{ renewalTimeout: '5s' }, 'regenerateGrace (30000 ms)', 'at least as long'],
    [{ renewalTimeout: '5m', regenerateGrace: 0 }, 'regenerateGrace (0 ms)', 'longer than 0'],
    [{ cookie: { name: '__Host-s', domain: 'a.com' } }, 'cookie.name', 'another name'],
    [{ cookie: { name: '__host-s', path: '/a' } }, 'cookie.name', 'another name'],
    [{ cookie: { name: '__Host-s', secure: 'auto' } }, 'cookie.name', 'secure: true'],
    [{ cookie: { name: '__Secure-s', secure: false } }, 'cookie.name', 'secure: true'],
    [{ cookie: { sameSite: 'none', secure: 'auto' } }, 'cookie.sameSite', 'secure: true'],
    [{ cookie: { partitioned: true, secure: false } }, 'cookie.partitioned', 'secure: true'],
  ])('do not boot, and say how they would: %j', (options, problem, remedy) => {
    const [found, ...others] = problemsOf(options);
    expect(others).toEqual([]);
    expect(found).toContain(problem);
    expect(found).toContain(remedy);
  });
});

describe('production', () => {
  it('does not boot on memory that nobody asked for', () => {
    const [problem] = problemsOf({}, 'production');
    expect(problem).toContain("write store: 'memory' if that is what you want");
    expect(problemsOf(undefined, 'production')).toHaveLength(1);
    expect(problemsOf({}, 'development')).toEqual([]);
  });

  it.each<SessionModuleOptions>([{ store: 'memory' }, { store }, { redis: 'redis://localhost' }])(
    'boots with a store that was named: %#',
    (options) => {
      expect(problemsOf(options, 'production')).toEqual([]);
    },
  );

  it('is what NODE_ENV says, unless told otherwise', () => {
    const before = process.env.NODE_ENV;
    process.env.NODE_ENV = 'production';
    try {
      expect(() => resolveSessionOptions({})).toThrow(SessionOptionsError);
    } finally {
      process.env.NODE_ENV = before;
    }
  });
});
