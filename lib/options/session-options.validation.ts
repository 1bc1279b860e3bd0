import type { StandardSchemaV1 } from '@standard-schema/spec';
import { REPLAY_POLICIES } from '../core/rejection.js';
import { STORE_FAILURE_POLICIES } from '../core/store-failure.js';
import {
  areSecrets,
  asList,
  boolean,
  Check,
  duration,
  hasMethods,
  isCount,
  isObject,
  oneOf,
  violations,
} from './option-check.js';
import {
  BindingRules,
  CsrfOptionRules,
  DeviceRules,
  EncryptionRules,
} from './security-options.validation.js';
import { problemsOfRedis, USABLE } from './redis-options.validation.js';
import { NearCacheRules } from './near-cache.options.js';
import { EventsRules } from './session-events.options.js';
import type { SessionModuleOptions } from './session-module.options.js';

// Browsers drop cookies of more than 4096 bytes, and attributes of more than 1024 (RFC 6265bis).
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/;
const DOMAIN = /^\.?[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*$/i;
const PATH = /^\/[\x20-\x3a\x3c-\x7e]{0,1023}$/;
const LONGEST_DOMAIN = 253;
const PREFIX = /^[\x21-\x7a|~]{1,64}$/;
const TRANSPORTS: readonly unknown[] = ['cookie', 'x-auth-token', 'authorization'];

const cookieName = [
  "use letters, digits and ! # $ % & ' * + - . ^ _ ` | ~, at most 256 of them",
  (value: unknown) => typeof value === 'string' && TOKEN.test(value),
] as const;

function isTokenIssuer(value: unknown): boolean {
  if (!hasMethods(value, 'issue')) return false;
  const { ttl, maxTtl } = value as { readonly ttl?: unknown; readonly maxTtl?: unknown };
  return typeof ttl === 'number' && typeof maxTtl === 'number' && ttl >= 1_000 && ttl <= maxTtl;
}

class CookieRules {
  @Check(...cookieName)
  name?: unknown;

  @Check(
    "use a host name such as 'example.com'",
    (v) => typeof v === 'string' && v.length <= LONGEST_DOMAIN && DOMAIN.test(v),
  )
  domain?: unknown;

  @Check(
    "use a path that begins with '/', without ';' and control characters, of at most 1024 characters",
    (v) => typeof v === 'string' && PATH.test(v),
  )
  path?: unknown;

  @Check(...oneOf('lax', 'strict', 'none'))
  sameSite?: unknown;

  @Check(...oneOf(true, false, 'auto'))
  secure?: unknown;

  @Check(...boolean)
  partitioned?: unknown;

  @Check(...oneOf('low', 'medium', 'high'))
  priority?: unknown;

  @Check(...boolean)
  persistent?: unknown;

  @Check(...cookieName)
  routing?: unknown;
}

class RememberMeRules {
  @Check(...duration(1_000, '14d'))
  idleTimeout?: unknown;

  @Check(...duration(1_000, '30d'))
  absoluteTimeout?: unknown;
}

class DurabilityRules {
  @Check('use a whole number of at least 1', isCount)
  replicas?: unknown;

  @Check(...duration(1, '200ms'))
  timeout?: unknown;

  @Check(...boolean)
  fsync?: unknown;
}

const isSwitchOrGroup = (value: unknown): boolean => typeof value === 'boolean' || isObject(value);

class ModuleRules {
  /** Its parts are judged by themselves. */
  @Check(USABLE, (v) => v !== null)
  redis?: unknown;

  @Check(
    "use 'memory' or an object with the methods of SessionStore",
    (v) => v === 'memory' || isStore(v),
  )
  store?: unknown;

  @Check(...boolean)
  bootWithoutStore?: unknown;

  @Check('use an object with replicas, timeout and fsync', isObject)
  durability?: unknown;

  @Check(...oneOf(...STORE_FAILURE_POLICIES))
  onStoreFailure?: unknown;

  @Check(...duration(1, '1m'))
  staleFor?: unknown;

  @Check(...duration(0, '1m'))
  logoutRetry?: unknown;

  @Check(...duration(1_000, '30m'))
  idleTimeout?: unknown;

  @Check(...duration(1_000, '24h'))
  absoluteTimeout?: unknown;

  @Check(...oneOf('aal1', 'aal2', 'aal3'))
  preset?: unknown;

  @Check('use an object with idleTimeout and absoluteTimeout', isObject)
  rememberMe?: unknown;

  @Check(
    'use a whole number of at least 1, Infinity, or a function (principal, session) => number',
    (v) => typeof v === 'function' || v === Infinity || isCount(v),
  )
  maxSessions?: unknown;

  @Check(...oneOf('reject', 'retire-oldest', 'retire-least-recently-used'))
  onLimit?: unknown;

  @Check(
    "use an object from names of letters, digits, '_' and '-', but for idpSession, to functions (session) => value",
    areIndexes,
  )
  indexes?: unknown;

  @Check('use a function (factors) => 1, 2 or 3', (v) => typeof v === 'function')
  assurance?: unknown;

  @Check('use a function (session, context) => boolean', (v) => typeof v === 'function')
  policy?: unknown;

  @Check('use a whole number from 1 to 10', (v) => isCount(v) && (v as number) <= 10)
  accounts?: unknown;

  @Check(...duration(0, '60s'))
  touchAfter?: unknown;

  @Check(...duration(0, '30s'))
  regenerateGrace?: unknown;

  @Check(
    "use 1 to 64 visible characters without '{' and '}'",
    (v) => typeof v === 'string' && PREFIX.test(v),
  )
  keyPrefix?: unknown;

  @Check(
    'use one or more different random strings of at least 32 characters, made for example by `openssl rand -base64 32`',
    areSecrets,
  )
  secret?: unknown;

  @Check('use true, or an object with keys, mode and acceptPlain', isSwitchOrGroup)
  encryption?: unknown;

  @Check(...duration(1_000, '15m'))
  renewalTimeout?: unknown;

  @Check(...duration(0, '30m'))
  replayWindow?: unknown;

  @Check(...oneOf(...REPLAY_POLICIES))
  onReplay?: unknown;

  @Check('use an object with userAgent, address and onMismatch', isObject)
  binding?: unknown;

  @Check('use true, or an object with path and lifetime', isSwitchOrGroup)
  deviceBound?: unknown;

  @Check('use an object with origins, token, header and field', isObject)
  csrf?: unknown;

  @Check(
    'use true, or an object with modified, projection, retention, sweepEvery and group',
    isSwitchOrGroup,
  )
  events?: unknown;

  @Check('use true, or an object with maxEntries, maxBytes, maxAge and touchAfter', isSwitchOrGroup)
  nearCache?: unknown;

  @Check('use a function (rejection) => void', (v) => typeof v === 'function')
  onRejected?: unknown;

  @Check(
    "use connectRedis(…) or fastifySession(…) of 'nestjs-distributed-session/migration'",
    (v) => hasMethods(v, 'begin', 'before', 'attach', 'visit', 'close'),
  )
  migrateFrom?: unknown;

  @Check('use an object of cookie options', isObject)
  cookie?: unknown;

  @Check(
    "use 'cookie', 'x-auth-token', 'authorization', an object with read, write and clear, or a list of these",
    areTransports,
  )
  transport?: unknown;

  @Check('use a class with class-validator decorators or a Standard Schema', isSchema)
  schema?: unknown;

  @Check(
    'use a whole number of bytes from 256 to 536870912',
    (v) => Number.isInteger(v) && (v as number) >= 256 && (v as number) <= 536_870_912,
  )
  maxBytes?: unknown;

  @Check(
    "use a JwtIssuer of 'nestjs-distributed-session/jwt', or an object with issue(), and ttl and maxTtl in milliseconds, of at least 1000",
    isTokenIssuer,
  )
  tokens?: unknown;

  @Check(
    "use openTelemetry() of 'nestjs-distributed-session/telemetry', or an object with step(), rejected() and watch()",
    (v) => hasMethods(v, 'step', 'rejected', 'watch'),
  )
  observer?: unknown;

  @Check('use an object with encode and decode', (v) => hasMethods(v, 'encode', 'decode'))
  codec?: unknown;

  @Check('use an object with now()', (v) => hasMethods(v, 'now'))
  clock?: unknown;

  @Check(...oneOf('lazy', 'eager'))
  loading?: unknown;

  @Check("use a list as in MiddlewareConsumer's forRoutes(...)", Array.isArray)
  forRoutes?: unknown;

  @Check("use a list as in MiddlewareConsumer's exclude(...)", Array.isArray)
  exclude?: unknown;
}

/** What is wrong with each single option. */
export function problemsOf(options: SessionModuleOptions): string[] {
  if (!isObject(options)) {
    return [
      'the options are no object: give an object, and return one from an asynchronous factory',
    ];
  }
  const problems = violations(new ModuleRules(), options, '');
  if (options.redis !== null) problems.push(...problemsOfRedis(options.redis));
  for (const [name, rules] of [
    ['cookie', new CookieRules()],
    ['rememberMe', new RememberMeRules()],
    ['durability', new DurabilityRules()],
    ['encryption', new EncryptionRules()],
    ['binding', new BindingRules()],
    ['deviceBound', new DeviceRules()],
    ['csrf', new CsrfOptionRules()],
    ['events', new EventsRules()],
    ['nearCache', new NearCacheRules()],
  ] as const) {
    const group = options[name];
    if (isObject(group)) problems.push(...violations(rules, group, `${name}.`));
  }
  return problems;
}

/** An arrow function has no prototype, and so is no class. */
function isSchema(value: unknown): boolean {
  const standard = (value as Partial<StandardSchemaV1> | null)?.['~standard'];
  if (standard !== undefined) return typeof standard?.validate === 'function';
  return typeof value === 'function' && value.prototype !== undefined;
}

const isStore = (value: unknown): boolean =>
  hasMethods(value, 'load', 'create', 'save', 'touch', 'delete', 'count', 'ping');

function areIndexes(value: unknown): boolean {
  if (!isObject(value)) return false;
  return Object.entries(value).every(
    ([name, indexer]) =>
      /^[\w-]{1,64}$/.test(name) && name !== 'idpSession' && typeof indexer === 'function',
  );
}

function areTransports(value: unknown): boolean {
  const transports = asList(value);
  return (
    transports.length > 0 &&
    transports.every((one) => TRANSPORTS.includes(one) || hasMethods(one, 'read', 'write', 'clear'))
  );
}
