import type { Command } from 'commander';
import { jsonSessionCodec } from '../core/json-session.codec.js';
import { isHandle, isLasting } from '../core/session-id.js';
import type { LiveRecord, RecordHeader, RetiredRecord } from '../core/session-record.js';
import { CliFailedError, CliUsageError } from './cli-io.js';
import { facts, instant, tame } from './print.js';
import { openAccess, withSecret, type AccessOptions } from './session-access.js';
import type { CliRun, CliShared } from './shared.js';

interface ShowOptions extends AccessOptions {
  readonly data?: boolean;
}

export function register(program: Command, shared: CliShared): void {
  const show = shared
    .command(
      program,
      'show <handle>',
      'Shows what is known about a session; its data only if asked for.',
    )
    .option('--data', 'print the data of the session as well');
  withSecret(show).action(shared.run<ShowOptions>(showSession));
}

/** @throws CliUsageError for what is no handle; an id is none, and must not be typed into a terminal */
export function handleIn(args: readonly string[]): string {
  const [handle = ''] = args;
  if (isHandle(handle)) return handle;
  throw new CliUsageError(
    'That is no handle: it has 45 characters, as `list` prints them. A session id is as secret as a password, and none.',
  );
}

async function showSession({ args, options, redis, io, colors }: CliRun<ShowOptions>) {
  const handle = handleIn(args);
  const { records, hasKeys, store } = await openAccess(redis, { ...options, events: false }, io);
  const loaded = await store.load(handle, { remaining: true });
  if (!loaded) throw new CliFailedError('NO_SESSION', 'There is no session with this handle.');
  const record = records.decode(loaded.value, { handle });
  if (!record) throw unreadable(hasKeys);
  if (record.kind === 'retired') return moved(handle, record);
  const meta = metaOf(handle, record.header, io.now() + (loaded.remaining ?? 0));
  const size = { bytes: Buffer.byteLength(loaded.value), encrypted: record.body !== undefined };
  const json = { ...meta, ...size, ...(options.data && { data: dataOf(record) }) };
  const pairs = Object.entries(json).filter(([, value]) => value !== undefined);
  const lines = pairs.map(([name, value]) => [name, textOf(value)] as const);
  return { json, text: facts(lines, colors) };
}

const textOf = (value: unknown): string =>
  tame(typeof value === 'string' ? value : JSON.stringify(value));

const unreadable = (hasKeys: boolean): CliFailedError =>
  new CliFailedError(
    'ENCRYPTED',
    hasKeys
      ? 'The session cannot be read: it is encrypted under another key than those given, or damaged.'
      : 'The session is encrypted: give --secret-file. (`revoke` needs no key.)',
  );

function moved(handle: string, { successor, until }: RetiredRecord) {
  const json = { handle, renewed: true, successor, until: instant(until) };
  return {
    json,
    text: `The id was renewed: the session goes on as ${successor}.`,
  };
}

function metaOf(handle: string, header: RecordHeader, idleEnd: number) {
  const { identity, createdAt, savedAt, absoluteEnd, device, bound } = header;
  return {
    handle,
    principal: identity?.principal,
    actor: identity?.actor?.principal,
    device: identity?.label,
    clientKind: identity?.clientKind,
    client: identity?.client,
    roles: identity?.roles,
    factors: identity && Object.keys(identity.factors),
    createdAt: instant(createdAt),
    authenticatedAt: identity && instant(identity.authenticatedAt),
    lastWrittenAt: instant(savedAt),
    idleUntil: instant(idleEnd),
    expiresAt: instant(Math.min(idleEnd, absoluteEnd)),
    endsAtLatest: instant(absoluteEnd),
    rememberMe: isLasting(handle),
    boundToDevice: device !== undefined,
    boundToClient: bound !== undefined,
    name: header.realm,
  };
}

function dataOf({ locked, dataText }: LiveRecord): unknown {
  if (locked) {
    throw new CliFailedError(
      'STORE_BLIND',
      "The data of this session can be read with its id only (encryption mode 'store-blind'): leave --data out.",
    );
  }
  try {
    return jsonSessionCodec.decode(dataText);
  } catch {
    throw new CliFailedError(
      'CODEC',
      'The data is not JSON: the application has a codec of its own, leave --data out.',
    );
  }
}
