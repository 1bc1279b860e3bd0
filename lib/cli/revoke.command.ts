import type { Command } from 'commander';
import { decodeRecord, kindOf, LIVE } from '../core/session-record.js';
import type { SessionStore } from '../core/session-store.interface.js';
import { CliUsageError, EXIT } from './cli-io.js';
import { ReplicaConfirmation, withReplicas, type ConfirmOptions } from './replica-confirmation.js';
import { openAccess, withEvents, withSecret, type AccessOptions } from './session-access.js';
import { handleIn } from './show.command.js';
import type { CliRun, CliShared } from './shared.js';

type RevokeOptions = AccessOptions & ConfirmOptions;

interface RevokeAllOptions extends RevokeOptions {
  readonly principal?: string;
}

export function register(program: Command, shared: CliShared): void {
  const one = shared.command(
    program,
    'revoke <handle>',
    'Ends a session, also one that got a new id since.',
  );
  withReplicas(withEvents(withSecret(one))).action(shared.run<RevokeOptions>(revoke));
  const all = shared
    .command(program, 'revoke-all', 'Ends the sessions of a principal, or of all principals.')
    .option('--principal <id>', 'only theirs; without it those of everybody who is logged in')
    .option('--yes', 'ask nothing');
  withReplicas(withEvents(withSecret(all))).action(shared.run<RevokeAllOptions>(revokeAll));
}

async function revoke({ args, options, redis, io, colors }: CliRun<RevokeOptions>) {
  const handle = handleIn(args);
  const confirmation = await ReplicaConfirmation.begin(redis, options);
  const { manager, news, store } = await openAccess(redis, options, io);
  // What is encrypted cannot be read here without a key; that it is there can be seen, and it ends all the same.
  const was = await isThere(store, handle);
  const revoked = (await manager.revoke(handle)) || was;
  const done = { revoked, told: news !== undefined && revoked };
  const json = confirmation ? await confirmation.confirm(done) : done;
  const text = revoked
    ? `${colors.green('revoked')}${toldNote(news !== undefined)}${confirmedNote(json)}`
    : `There was no session with this handle${confirmedNote(json)}.`;
  return {
    json,
    text,
    exitCode: revoked ? EXIT.fine : EXIT.failed,
  };
}

const HOPS = 10_000;

/** Whether a session lives under this handle, or goes on under another. */
async function isThere(store: SessionStore, handle: string): Promise<boolean> {
  for (let hop = 0; hop < HOPS; hop++) {
    const loaded = await store.load(handle);
    if (!loaded || kindOf(loaded.value) === LIVE) return loaded !== undefined;
    const record = decodeRecord(loaded.value);
    if (record?.kind !== 'retired') return false;
    handle = record.successor;
  }
  return false;
}

async function revokeAll(run: CliRun<RevokeAllOptions>) {
  const { options, redis, io, colors } = run;
  const { principal } = options;
  if (principal === '') throw new CliUsageError('--principal is empty.');
  if (principal === undefined) {
    const agreed = await run.confirm(`End the sessions of all principals under "${redis.prefix}"?`);
    if (!agreed)
      return {
        json: { revoked: 0, cancelled: true },
        text: 'Nothing was done.',
        exitCode: EXIT.failed,
      };
  }
  const confirmation = await ReplicaConfirmation.begin(redis, options);
  const { manager, news } = await openAccess(redis, options, io);
  const revoked =
    principal === undefined
      ? await manager.revokeAllPrincipals()
      : await manager.forPrincipal(principal, () => undefined).revokeAll();
  const told = news !== undefined;
  const done = { revoked, told };
  const json = confirmation ? await confirmation.confirm(done) : done;
  const count = `${revoked} ${revoked === 1 ? 'session' : 'sessions'}`;
  const notes = `${toldNote(told)}${confirmedNote(json)}`;
  return { json, text: `${colors.green('revoked')} ${count}${notes}` };
}

const confirmedNote = (done: object): string => ('confirmed' in done ? '; replicas have it' : '');

const toldNote = (told: boolean): string =>
  told ? ', and the nodes were told' : ' (nobody listens: sockets end with their next message)';
