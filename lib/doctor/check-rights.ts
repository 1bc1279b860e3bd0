import type { RedisClient } from '../stores/redis/redis-client.js';
import type { Finding } from './finding.js';
import { isScratch, type NeededRight } from './needed-rights.js';
import { ask, whereIs } from './server-facts.js';

/** What a user may not do of what is needed. */
export interface RightsFacts {
  readonly where: string;
  /** `undefined`: the server does not say, so it is the one who asks. */
  readonly user: string | undefined;
  /** `'nobody'`: there is no such user; `'untold'`: Redis does not say what another one may do. */
  readonly missing: readonly MissingRight[] | 'nobody' | 'untold';
}

export interface MissingRight {
  readonly name: string;
  /** The command itself, or the key or channel that it is about. */
  readonly kind: 'command' | 'key' | 'channel';
  /** The rule that allows that channel. */
  readonly channel?: string | undefined;
}

/**
 * Asks a server what a user may do (`ACL DRYRUN`, from Redis 7 on); where it does not say, tries it on keys of
 * a bucket that there is not.
 */
export async function rightsOf(
  node: RedisClient,
  client: RedisClient,
  needed: readonly NeededRight[],
  named?: string,
): Promise<RightsFacts> {
  const where = whereIs(node);
  const whoami = () => ask(node, 'ACL', 'WHOAMI').then(String);
  const user = named ?? (await whoami().catch(() => undefined));
  const asked = user === undefined ? 'untold' : await dryRun(node, user, needed);
  // Who asks can try it; whether somebody else is there, and may, only Redis can say.
  if (asked !== 'untold' || named !== undefined) return { where, user, missing: asked };
  return { where, user, missing: await tryOut(client, needed) };
}

const NO_SUCH_USER = /^(ERR )?User .* not found/i;
/** Of a server, about a command that it is asked about. */
const NO_SUCH_COMMAND = /^(ERR )?Command .* not found/i;

async function dryRun(
  node: RedisClient,
  user: string,
  needed: readonly NeededRight[],
): Promise<RightsFacts['missing']> {
  const missing: MissingRight[] = [];
  for (const right of needed) {
    let reply: unknown;
    try {
      reply = await ask(node, 'ACL', 'DRYRUN', user, ...right.command);
    } catch (error) {
      const { message } = error as Error;
      if (NO_SUCH_USER.test(message)) return 'nobody';
      // A server that does not know the command needs no right to it.
      if (NO_SUCH_COMMAND.test(message)) continue;
      return 'untold';
    }
    if (String(reply) !== 'OK') missing.push(refusedAs(right, String(reply)));
  }
  return missing;
}

async function tryOut(
  client: RedisClient,
  needed: readonly NeededRight[],
): Promise<MissingRight[]> {
  const missing: MissingRight[] = [];
  for (const right of needed) {
    if (right.onlyAsked) continue;
    const [word = '', ...args] = right.command;
    const refusal = await ask(client, word, ...args).then(
      () => undefined,
      (error: Error) => (error.message.startsWith('NOPERM') ? error.message : undefined),
    );
    if (refusal !== undefined) missing.push(refusedAs(right, refusal));
  }
  await cleanUp(client, needed);
  return missing;
}

/** With whichever right there is. */
async function cleanUp(client: RedisClient, needed: readonly NeededRight[]): Promise<void> {
  const keys = new Set(needed.flatMap(({ command }) => command.filter(isScratch)));
  for (const key of keys) {
    await ask(client, 'UNLINK', key)
      .catch(() => ask(client, 'DEL', key))
      .catch(() => ask(client, 'PEXPIRE', key, 1))
      .catch(() => undefined);
  }
}

const refusedAs = ({ name, channel }: NeededRight, refusal: string): MissingRight => ({
  name,
  kind: kindOfRefusal(refusal),
  channel,
});

function kindOfRefusal(text: string): MissingRight['kind'] {
  if (/channel/i.test(text)) return 'channel';
  return /\bkeys?\b/i.test(text) ? 'key' : 'command';
}

/** What is missing, and the rule that grants it. */
export function checkRights({ where, user, missing }: RightsFacts, prefix: string): Finding[] {
  const who = user ?? '<user>';
  if (missing === 'nobody') return [NO_USER(where, who)];
  if (missing === 'untold') return [CANNOT_ASK(where, who)];
  if (missing.length === 0) return [];
  const has = (kind: MissingRight['kind']) => missing.some((one) => one.kind === kind);
  const commands = missing.filter(({ kind }) => kind === 'command').map(({ name }) => name);
  const isChannel = ({ kind }: MissingRight) => kind === 'channel';
  const rules = [
    ...(has('key') ? [`'~{${prefix}:*'`] : []),
    ...channelsOf(missing.filter(isChannel)),
    ...commands.map((name) => `+${name}`),
    // A command is refused before its channel is looked at: that may be missing as well.
    ...channelsOf(missing.filter((one) => !isChannel(one))),
  ];
  const what = [
    ...new Set(
      missing.map(({ name, kind }) => (kind === 'command' ? name : `${name} (its ${kind})`)),
    ),
  ];
  return [
    {
      code: 'RIGHT_MISSING',
      severity: 'error',
      seen: `${where}: user ${who} may not ${what.join(', ')}`,
      why: 'what needs it is refused (NOPERM): requests answer 503, events or near caches stay silent',
      remedy: `ACL SETUSER ${who} ${[...new Set(rules)].join(' ')} (and ACL SAVE, or the same in redis.conf)`,
    },
  ];
}

const channelsOf = (missing: readonly MissingRight[]): string[] =>
  missing.flatMap(({ channel }) => (channel === undefined ? [] : [`'${channel}'`]));

const NO_USER = (where: string, user: string): Finding => ({
  code: 'USER_UNKNOWN',
  severity: 'error',
  seen: `${where} has no user ${user}`,
  why: 'an application that logs in as this user is refused (WRONGPASS): every request answers 503',
  remedy: `check the name (ACL USERS tells all of them), or make that user as in docs/stores.md: ACL SETUSER ${user} …`,
});

const CANNOT_ASK = (where: string, user: string): Finding => ({
  code: 'RIGHTS_UNKNOWN',
  severity: 'warning',
  seen: `${where} does not say what user ${user} may do (ACL DRYRUN)`,
  why: 'whether a right is missing could not be looked at',
  remedy:
    'run doctor with the login of the application, or as a user with +acl|dryrun on Redis 7 or later',
});
