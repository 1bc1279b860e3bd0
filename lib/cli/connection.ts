import { Option, type Command } from 'commander';
import { readFileSync } from 'node:fs';
import { SessionStoreUnavailableError } from '../core/session.errors.js';
import type { Cluster, Redis } from 'ioredis';
import {
  createRedis,
  type RedisClient,
  type RedisConnectionOptions,
} from '../stores/redis/redis-client.js';
import { RedisSessionStore } from '../stores/redis/redis-session.store.js';
import { CliFailedError, CliUsageError, type CliIo } from './cli-io.js';

/** Options by which Redis is reached. */
export interface ConnectionOptions {
  readonly redis?: string;
  readonly cluster?: string;
  readonly sentinel?: string;
  readonly master?: string;
  readonly tls?: boolean;
  readonly ca?: string;
  readonly prefix?: string;
  readonly name?: string;
}

/** A connection that answers, and the sessions behind it. */
export interface OpenedRedis {
  /** As the driver has it: for what no verb of the store does. */
  readonly client: RedisClient;
  readonly store: RedisSessionStore;
  /** First part of every key. */
  readonly prefix: string;
  /** Name of the sessions, if they are those of `forFeature`. */
  readonly realm: string | undefined;
  /** Where it goes: may hold a password, never print it. */
  readonly to: RedisConnectionOptions;
  close(): Promise<void>;
  /** Drops the connection: what was asked fails. */
  abandon(): void;
}

/** Milliseconds that a server has to answer at the beginning. */
const PATIENCE = 3_000;
/** And later: an operator may wait longer than a request. */
const COMMAND_TIMEOUT = 10_000;

export function addConnectionOptions(command: Command): Command {
  return command
    .option('--redis <url>', 'redis:// or rediss:// (or the variable REDIS_URL)')
    .option('--cluster <host:port,…>', 'some nodes of a Cluster')
    .option('--sentinel <host:port,…>', 'Sentinels, with --master')
    .option('--master <name>', 'what the Sentinels call the master')
    .option('--tls', 'TLS to a Cluster, or to a master that Sentinels tell of')
    .option('--ca <file>', 'certificates to trust (PEM)')
    .addOption(new Option('--prefix <text>', 'keyPrefix of the application').default('sess'))
    .option('--name <feature>', 'sessions of forFeature(name) instead of forRoot');
}

/**
 * Connects, and waits until Redis answers.
 *
 * @throws CliUsageError if it is not clear where to; CliFailedError with what to do if there is no answer
 */
export async function openRedis(options: ConnectionOptions, io: CliIo): Promise<OpenedRedis> {
  const to = destinationOf(options, io.env);
  const client = createRedis(to);
  let last: unknown;
  client.on('error', (error: unknown) => (last = error));
  client.on('node error', (error: unknown) => (last = error));
  try {
    await answers(client, () => last);
  } catch (error) {
    client.disconnect();
    throw error;
  }
  const prefix = options.name === undefined ? options.prefix! : `${options.prefix}.${options.name}`;
  const redis = client as unknown as RedisClient;
  let isAbandoned = false;
  const abandon = () => {
    isAbandoned = true;
    client.disconnect();
  };
  const close = async () => {
    // It would be connected again to say so.
    if (!isAbandoned) await client.quit().catch(() => undefined);
    client.disconnect();
  };
  const store = new RedisSessionStore(redis, { keyPrefix: prefix, close });
  await store.facts().catch(() => undefined);
  return {
    client: redis,
    store,
    prefix,
    realm: options.name,
    to,
    close: () => store.close(),
    abandon,
  };
}

/** Tries until there is an answer that says something, or time is over. */
async function answers(client: Redis | Cluster, last: () => unknown): Promise<void> {
  const connected = client.connect().then(() => client.ping());
  connected.catch(() => undefined);
  const until = performance.now() + PATIENCE;
  for (;;) {
    const outcome = await Promise.race([
      connected.then(
        () => undefined,
        (error: unknown) => error ?? last(),
      ),
      nap(100).then(() => PENDING),
    ]);
    if (outcome === undefined) return;
    const refusals = [last(), outcome].map(refusalIn);
    const known = refusals.find((one) => one !== undefined);
    // Who may not PING may well do what is wanted.
    if (known?.code === 'NOPERM' && outcome !== PENDING) return;
    if (known && known.code !== 'NOPERM') throw known;
    if (outcome !== PENDING || performance.now() > until) throw unanswered(last() ?? outcome);
  }
}

const PENDING = Symbol('pending');
const nap = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

const REFUSALS: readonly (readonly [pattern: RegExp, code: string, message: string])[] = [
  [
    /NOAUTH|Authentication required/,
    'NOAUTH',
    'Redis wants a login (NOAUTH): put user and password into REDIS_URL, or REDIS_USERNAME and REDIS_PASSWORD.',
  ],
  [
    /WRONGPASS|invalid username-password|invalid password/,
    'WRONGPASS',
    'Redis refuses the login (WRONGPASS): check user and password.',
  ],
  [
    /NOPERM/,
    'NOPERM',
    'Redis refuses a command to this user (NOPERM): give it the rights that docs/cli.md names.',
  ],
  [
    /WRONGTYPE/,
    'WRONGTYPE',
    'A key of these sessions holds something else (WRONGTYPE): see who else writes under this prefix, and delete it (`doctor` looks through the keys).',
  ],
  [
    /certificate|self.signed|altnames|UNABLE_TO_/i,
    'TLS',
    'The certificate of Redis is not trusted: give --ca with the certificate that signs it.',
  ],
  [
    /wrong version number|ECONNRESET.*TLS|EPROTO/i,
    'TLS',
    'Redis does not speak TLS there: use redis:// instead of rediss://, or the port that does.',
  ],
];

/** What a server refuses, in words that say what to do; `undefined` for anything else. */
export function refusalIn(error: unknown): CliFailedError | undefined {
  const { message = '', code = '' } = (error ?? {}) as { message?: string; code?: string };
  const text = `${code} ${message}`;
  const found = REFUSALS.find(([pattern]) => pattern.test(text));
  return found && new CliFailedError(found[1], found[2]);
}

/** What a connection fails with on the way; `undefined` for anything else. */
export function lossIn(error: unknown): CliFailedError | undefined {
  const {
    name = '',
    message = '',
    code = '',
  } = (error ?? {}) as {
    name?: string;
    message?: string;
    code?: string;
  };
  const isLost =
    /^(?:MaxRetriesPerRequestError|ClusterAllFailedError|AbortError)$/.test(name) ||
    /^E[A-Z]+$/.test(code) ||
    /connection is closed|timed? ?out/i.test(message);
  return isLost
    ? new CliFailedError(
        'CONNECTION_LOST',
        'Redis does not answer any more: see whether it runs, and run this again; what was done by then is done.',
      )
    : undefined;
}

function unanswered(error: unknown): CliFailedError {
  const { code, message = '' } = (error ?? {}) as { code?: string; message?: string };
  const reason =
    code ??
    (error instanceof SessionStoreUnavailableError
      ? error.reason
      : /timed? ?out/i.test(message)
        ? 'timeout'
        : 'no answer');
  return new CliFailedError(
    'NO_CONNECTION',
    `Redis does not answer (${reason}): check host and port, whether it runs, and whether it speaks TLS (rediss://) or not (redis://).`,
  );
}

function destinationOf(options: ConnectionOptions, env: CliIo['env']): RedisConnectionOptions {
  const { cluster, sentinel, master } = options;
  const ca = options.ca === undefined ? undefined : read(options.ca);
  // It may be meant for --url alone.
  const tls: RedisConnectionOptions['tls'] = options.tls
    ? ca === undefined
      ? true
      : { ca }
    : undefined;
  const username = env.REDIS_USERNAME;
  const password = env.REDIS_PASSWORD;
  const login = { ...(username && { username }), ...(password && { password }) };
  const common = { ...login, ...(tls && { tls }), ...PROFILE };
  const ways = [options.redis, cluster, sentinel].filter((one) => one !== undefined);
  if (ways.length > 1) throw new CliUsageError('Give one of --redis, --cluster and --sentinel.');
  if (cluster !== undefined) return { ...common, cluster: { nodes: nodesIn(cluster) } };
  if (sentinel !== undefined) {
    if (!master) throw new CliUsageError('--sentinel needs --master, the name of the master.');
    const its = env.SENTINEL_PASSWORD ? { password: env.SENTINEL_PASSWORD } : {};
    return { ...common, sentinels: { name: master, nodes: nodesIn(sentinel), ...its } };
  }
  const url = options.redis ?? env.REDIS_URL;
  if (!url) {
    throw new CliUsageError('Where is Redis? Give --redis redis://host:6379, or set REDIS_URL.');
  }
  return {
    ...common,
    url: checked(url),
    ...(ca !== undefined && url.startsWith('rediss:') && { tls: { ca } }),
  };
}

const PROFILE = { commandTimeout: COMMAND_TIMEOUT, socketTimeout: COMMAND_TIMEOUT + 1_000 };

/** Only what is one: the driver would take anything for a host or a path. */
function checked(url: string): string {
  const known = URL.canParse(url) ? new URL(url) : undefined;
  if (known && /^rediss?:$/.test(known.protocol) && known.hostname !== '') return url;
  throw new CliUsageError(
    'That is no URL of Redis: write redis://host:6379 or rediss://host:6379.',
  );
}

function nodesIn(list: string): { host: string; port: number }[] {
  return list.split(',').map((one) => {
    const [, host, port] = /^\[?([^\s\]]+?)\]?:(\d{1,5})$/.exec(one.trim()) ?? [];
    if (host === undefined)
      throw new CliUsageError('Write nodes as host:port, with commas between.');
    return { host, port: Number(port) };
  });
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    throw new CliUsageError('The file of --ca cannot be read.');
  }
}
