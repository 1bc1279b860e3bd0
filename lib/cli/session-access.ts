import type { Command } from 'commander';
import { readFileSync } from 'node:fs';
import type { Clock } from '../core/clock.js';
import { toMilliseconds } from '../core/duration.js';
import { jsonSessionCodec } from '../core/json-session.codec.js';
import type { RecordSealer } from '../core/record-sealer.interface.js';
import { SessionLifetime, type SessionLifetimeOptions } from '../core/session-lifetime.js';
import { SessionManager } from '../core/session-manager.js';
import { SessionNews } from '../core/session-news.js';
import { SessionRecords } from '../core/session-records.js';
import { AesRecordSealer } from '../security/aes-record.sealer.js';
import { Keyring } from '../security/keyring.js';
import { HmacSessionIdSigner } from '../security/session-id.signer.js';
import { RedisSessionStore } from '../stores/redis/redis-session.store.js';
import { CliUsageError, type CliIo } from './cli-io.js';
import type { OpenedRedis } from './connection.js';
import { listensAnybody } from './listening.js';

/** Options of commands that read sessions. */
export interface AccessOptions {
  readonly secretFile?: string;
  readonly idleTimeout?: string;
  readonly events?: boolean;
}

/** Sessions as an application has them. */
export interface SessionAccess {
  readonly manager: SessionManager;
  readonly records: SessionRecords;
  /** Keys were given. */
  readonly hasKeys: boolean;
  /** Says what is told to the nodes; `undefined`: they listen to nothing. */
  readonly news: SessionNews | undefined;
  /** The store, which tells what is done. */
  readonly store: RedisSessionStore;
}

/**
 * For how long it is remembered what is told here. Who tells also drops what is older: so it is more than any
 * application's own `retention`, which counts again with the next it tells.
 */
const RETENTION = 86_400_000;

export const withSecret = (command: Command): Command =>
  command.option(
    '--secret-file <file>',
    'where sessions are encrypted: the keys, one a line (or the variable SESSION_SECRET)',
  );

export const withIdleTimeout = (command: Command): Command =>
  command.option(
    '--idle-timeout <duration>',
    'idleTimeout of the application, such as 30m: then it is told when a session was last used',
  );

export const withEvents = (command: Command): Command =>
  command.option('--no-events', 'tell no node of it, although they listen');

/**
 * What is needed to act on sessions as a node does, without the application. Whatever can be done without its
 * keys is done without them.
 *
 * @throws SessionStoreUnavailableError (`SESSION_STORE_UNAVAILABLE`) if nodes listen and cannot be told
 */
export async function openAccess(
  redis: OpenedRedis,
  options: AccessOptions,
  io: CliIo,
): Promise<SessionAccess> {
  const clock = { now: io.now };
  const keys = keysFrom(options, io);
  const sealer = keys ? new AesRecordSealer(new Keyring(keys), READING) : OPENS_NOTHING;
  const records = new SessionRecords(sealer);
  const told = options.events !== false && (await listensAnybody(redis));
  const store = redis.store.withPrefix(redis.prefix, RETENTION);
  // What is done and then cannot be told would be done in silence.
  if (told) await store.news.listen(DEAF);
  store.news.close();
  const { realm } = redis;
  const news = told ? new SessionNews({ clock, records, modified: false, realm }) : undefined;
  const manager = managerOf({ store, records, news, realm, clock, timeouts: timeoutsOf(options) });
  return { manager, records, hasKeys: keys !== undefined, news, store };
}

/** What a manager here differs in from another. */
interface ManagerParts {
  readonly store: RedisSessionStore;
  readonly records: SessionRecords;
  readonly clock: Clock;
  readonly timeouts: SessionLifetimeOptions;
  readonly news?: SessionNews | undefined;
  readonly realm?: string | undefined;
}

/** Sessions as a node has them that knows no more of the application than is told here. */
export const managerOf = ({ timeouts, ...parts }: ManagerParts): SessionManager =>
  new SessionManager({
    ...parts,
    codec: jsonSessionCodec,
    signer: new HmacSessionIdSigner(new Keyring([])),
    lifetime: new SessionLifetime(timeouts),
    maxBytes: Infinity,
    grace: 30_000,
  });

const DEAF = { told: () => undefined, called: () => undefined, missed: () => undefined };

/** Plain records count as well: what an operator sees is what there is. */
const READING = { blind: false, acceptsPlain: true };

/** Where there are no keys: what is sealed stays so, and can be ended all the same. */
const OPENS_NOTHING: RecordSealer = {
  ...READING,
  seal: () => {
    throw new CliUsageError('Nothing can be encrypted without keys: give --secret-file.');
  },
  open: () => undefined,
};

/** Without the application's word a session counts as used when it was last written. */
function timeoutsOf({ idleTimeout }: AccessOptions) {
  const idle = idleTimeout === undefined ? Infinity : toMilliseconds(idleTimeout);
  if (idle === undefined) {
    throw new CliUsageError('--idle-timeout is a number with a unit: 30m, 12h or 14d.');
  }
  const each = { idleTimeout: idle, absoluteTimeout: Infinity };
  // How long lasting sessions may be idle is not known here.
  return { ...each, touchAfter: 0, rememberMe: { ...each, idleTimeout: Infinity } };
}

const SHORTEST = 32;

/** Never from the command line: others see that. */
function keysFrom({ secretFile }: AccessOptions, { env }: CliIo): string[] | undefined {
  const text = secretFile === undefined ? env.SESSION_SECRET : read(secretFile);
  const keys = (text ?? '').split(/\r?\n/).filter((line) => line !== '');
  if (keys.length === 0) {
    if (secretFile === undefined) return undefined;
    throw new CliUsageError('The file of --secret-file is empty: it holds one key a line.');
  }
  if (keys.every((key) => key.length >= SHORTEST)) return keys;
  throw new CliUsageError(
    `A key has at least ${SHORTEST} characters: one of those given has less.`,
  );
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    throw new CliUsageError('The file of --secret-file cannot be read.');
  }
}
