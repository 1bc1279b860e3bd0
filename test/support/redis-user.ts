import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** A user of Redis, and what it may do. */
export interface RedisUser {
  readonly username: string;
  readonly password: string;
  /** As `ACL SETUSER` takes them. */
  readonly rules: readonly string[];
}

const page = () => readFileSync(join(import.meta.dirname, '../../docs/stores.md'), 'utf8');

/** The user that docs/stores.md gives an application, at Redis or where the program is told to ask. */
export function documentedUser(program = 'redis-cli'): RedisUser {
  const before = `${program} ACL SETUSER `;
  const line = page()
    .split('\n')
    .find((one) => one.startsWith(before));
  const [username = '', ...words] = (line ?? '')
    .slice(before.length)
    .split(' ')
    .map((word) => word.replaceAll("'", ''));
  const rules = words.filter((word) => word !== 'on');
  const password = rules.find((word) => word.startsWith('>'))?.slice(1) ?? '';
  return { username, password, rules };
}

/** What it needs besides to tell of events; in a Cluster as well. */
export function documentedForEvents(): readonly string[] {
  const [, alone = '', inCluster = ''] =
    /With `events` it needs `(.*?)` besides, and in a Cluster `(.*?)` as well/.exec(page()) ?? [];
  return [alone, inCluster].join(' ').split(' ');
}

/** What it needs besides so that copies of sessions can be kept. */
export function documentedForNearCache(): readonly string[] {
  return (/With `nearCache` it needs `(.*?)` besides/.exec(page())?.[1] ?? '').split(' ');
}

/** What it needs in a Cluster besides. */
export function documentedInCluster(): readonly string[] {
  return (/In a Cluster it needs `(.*?)` besides/.exec(page())?.[1] ?? '').split(' ');
}

/** The same, with the keys of further prefixes, as the page says for them. */
export function withPrefixes(user: RedisUser, prefixes: readonly string[]): RedisUser {
  const keys = prefixes.map((prefix) => `~{${prefix}:*`);
  const channels = prefixes.map((prefix) => `&${prefix}:events`);
  const rules = user.rules.flatMap((rule) => (rule === 'resetchannels' ? [...keys, rule] : [rule]));
  return { ...user, rules: [...rules, ...channels] };
}

/** As clients take it. */
export const loginOf = ({ username, password }: Partial<RedisUser> = {}) =>
  username === undefined ? {} : { username, password };
