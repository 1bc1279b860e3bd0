import type { RedisClient } from '../stores/redis/redis-client.js';
import type { Finding } from './finding.js';
import { isScratch, type NeededRight } from './needed-rights.js';
import { ask, whereIs } from './server-facts.js';

/** What a user may not do of what is needed. */
export interface RightsFacts {
  readonly where: string;
  /** `undefined`: the server does not say, so it is the one who asks. */
  readonly user: string | undefined;
  readonly missing: readonly MissingRight[];
}

export interface MissingRight {
  readonly name: string;
  /** The command itself, or the key or channel that it is about. */
  readonly kind: 'command' | 'key' | 'channel';
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
  const asked = user === undefined ? undefined : await dryRun(node, user, needed);
  if (asked) return { where, user, missing: asked };
  if (named !== undefined)
    return { where, user, missing: [{ name: 'acl|dryrun', kind: 'command' }] };
  return { where, user, missing: await tryOut(client, needed) };
}

/** `undefined` where the server cannot say, or not to this user. */
async function dryRun(
  node: RedisClient,
  user: string,
  needed: readonly NeededRight[],
): Promise<MissingRight[] | undefined> {
  const missing: MissingRight[] = [];
  for (const { name, command } of needed) {
    let reply: unknown;
    try {
      reply = await ask(node, 'ACL', 'DRYRUN', user, ...command);
    } catch (error) {
      // A server that does not know the command needs no right to it.
      if (/not found|unknown command/i.test((error as Error).message) && missing.length > 0)
        continue;
      return undefined;
    }
    if (String(reply) !== 'OK') missing.push({ name, kind: kindOfRefusal(String(reply)) });
  }
  return missing;
}

async function tryOut(
  client: RedisClient,
  needed: readonly NeededRight[],
): Promise<MissingRight[]> {
  const missing: MissingRight[] = [];
  for (const { name, command, onlyAsked } of needed) {
    if (onlyAsked) continue;
    const [word = '', ...args] = command;
    const refusal = await ask(client, word, ...args).then(
      () => undefined,
      (error: Error) => (error.message.startsWith('NOPERM') ? error.message : undefined),
    );
    if (refusal !== undefined) missing.push({ name, kind: kindOfRefusal(refusal) });
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

function kindOfRefusal(text: string): MissingRight['kind'] {
  if (/channel/i.test(text)) return 'channel';
  return /\bkeys?\b/i.test(text) ? 'key' : 'command';
}

/** What is missing, and the rule that grants it. */
export function checkRights({ where, user, missing }: RightsFacts, prefix: string): Finding[] {
  if (missing.length === 0) return [];
  const who = user ?? '<user>';
  if (missing[0]?.name === 'acl|dryrun') return [CANNOT_ASK(where, who)];
  const has = (kind: MissingRight['kind']) => missing.some((one) => one.kind === kind);
  const commands = missing.filter(({ kind }) => kind === 'command').map(({ name }) => name);
  const rules = [
    ...(has('key') ? [`'~{${prefix}:*'`] : []),
    ...(has('channel') ? channelRules(prefix, missing) : []),
    ...new Set(commands.map((name) => `+${name}`)),
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
      remedy: `ACL SETUSER ${who} ${rules.join(' ')} (and ACL SAVE, or the same in redis.conf)`,
    },
  ];
}

function channelRules(prefix: string, missing: readonly MissingRight[]): string[] {
  const names = missing.filter(({ kind }) => kind === 'channel').map(({ name }) => name);
  const rules = names.map((name) =>
    /^s(pub|sub)/.test(name) && name !== 'subscribe' ? `'&{${prefix}:*'` : `'&${prefix}:events'`,
  );
  return [...new Set(rules)];
}

const CANNOT_ASK = (where: string, user: string): Finding => ({
  code: 'RIGHTS_UNKNOWN',
  severity: 'warning',
  seen: `${where} does not say what user ${user} may do (ACL DRYRUN)`,
  why: 'whether a right is missing could not be looked at',
  remedy:
    'run doctor with the login of the application, or as a user with +acl|dryrun on Redis 7 or later',
});
