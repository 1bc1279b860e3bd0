import type { Command } from 'commander';
import type { ListedSession } from '../core/principal-sessions.js';
import { CliUsageError } from './cli-io.js';
import { whole } from './doctor.command.js';
import { instant, table, tame } from './print.js';
import { openAccess, withIdleTimeout, withSecret, type AccessOptions } from './session-access.js';
import type { CliRun, CliShared } from './shared.js';

interface ListOptions extends AccessOptions {
  readonly principal: string;
  readonly limit: string;
}

export function register(program: Command, shared: CliShared): void {
  const list = shared
    .command(program, 'list', 'Lists the sessions of a principal: never their data.')
    .requiredOption('--principal <id>', 'whose sessions')
    .option('--limit <count>', 'at most so many, the newest logins first', '100');
  withIdleTimeout(withSecret(list)).action(shared.run<ListOptions>(listSessions));
}

/** Sessions that one question asks for. */
const PAGE = 1_000;

async function listSessions({ options, redis, io, colors, log, notes }: CliRun<ListOptions>) {
  const limit = whole(options.limit, '--limit');
  if (options.principal === '') throw new CliUsageError('--principal is empty.');
  const { manager, hasKeys } = await openAccess(redis, { ...options, events: false }, io);
  const theirs = manager.forPrincipal(options.principal, () => undefined);
  const count = await theirs.count();
  const sessions: ListedSession[] = [];
  while (sessions.length < limit) {
    const size = Math.min(PAGE, limit - sessions.length);
    const some = await theirs.list({
      limit: size,
      ...(sessions.length > 0 && { after: sessions.at(-1)! }),
    });
    sessions.push(...some);
    if (some.length < size) break;
  }
  const hidden = Math.max(0, Math.min(count, limit) - sessions.length);
  if (hidden > 0) log(notes.yellow(hiddenNote(hidden, hasKeys)));
  const isExact = options.idleTimeout !== undefined;
  const shown = sessions.map((one) => asShown(one, isExact));
  const json = { principal: options.principal, count, unreadable: hidden, sessions: shown };
  const text =
    shown.length === 0
      ? colors.dim('No sessions that can be shown.')
      : tableOf(shown, isExact, colors);
  return { json, text };
}

const hiddenNote = (hidden: number, hasKeys: boolean): string =>
  hasKeys
    ? `${hidden} more cannot be read: they are encrypted under another key than those given.`
    : `${hidden} more cannot be read: they are encrypted, give --secret-file.`;

/** Roles and factors are the application's matter; addresses and software were told at the login. */
function asShown(one: ListedSession, isExact: boolean) {
  const { handle, label, clientKind, client, rememberMe, actor } = one;
  return {
    handle,
    device: label ?? [client.browser, client.os].filter((part) => part !== undefined).join(', '),
    address: client.address,
    clientKind,
    createdAt: instant(one.createdAt),
    authenticatedAt: one.authenticatedAt === undefined ? undefined : instant(one.authenticatedAt),
    // Of lasting sessions it is not known here how long they may be idle.
    ...(isExact && !rememberMe
      ? { lastAccessedAt: instant(one.lastAccessedAt) }
      : { lastWrittenAt: instant(one.lastAccessedAt) }),
    expiresAt: instant(one.expiresAt),
    rememberMe,
    actor,
  };
}

type Shown = ReturnType<typeof asShown>;

function tableOf(sessions: readonly Shown[], isExact: boolean, colors: CliRun['colors']): string {
  const head = [
    'handle',
    'device',
    'address',
    'created',
    isExact ? 'last seen' : 'last written',
    'ends',
  ];
  const rows = sessions.map((one) => [
    one.handle,
    tame(one.device || '–'),
    tame(one.address ?? '–'),
    one.createdAt,
    ('lastAccessedAt' in one ? one.lastAccessedAt : one.lastWrittenAt) ?? '–',
    one.expiresAt,
  ]);
  return table([head, ...rows], colors);
}
