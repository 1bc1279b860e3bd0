import type { RedisConnectionOptions } from '../stores/redis/redis-client.js';
import type { Finding } from './finding.js';

/** Whether what travels to Redis can be read or done by others. */
export function checkConnection(to: RedisConnectionOptions): Finding[] {
  const away = hostsOf(to).filter((host) => !isHere(host));
  if (away.length === 0) return [];
  const isSecure = Boolean(to.tls) || to.url?.startsWith('rediss:') === true;
  const login = to.password ?? (to.url === undefined ? undefined : new URL(to.url).password);
  return [
    ...(isSecure ? [] : [PLAINTEXT(away[0] as string)]),
    ...(login ? [] : [NO_LOGIN(away[0] as string)]),
  ];
}

const PLAINTEXT = (host: string): Finding => ({
  code: 'PLAINTEXT',
  severity: 'warning',
  seen: `the connection to ${host} is not encrypted`,
  why: 'who is on the way reads the password of Redis and what is in sessions, and can change it',
  remedy:
    'TLS: tls-port in redis.conf, and rediss:// in the option redis; or encryption: true for what is in sessions',
});

const NO_LOGIN = (host: string): Finding => ({
  code: 'NO_LOGIN',
  severity: 'warning',
  seen: `${host} is used without a password`,
  why: 'whoever reaches its port can read, make and end sessions',
  remedy:
    'ACL SETUSER with a password as in docs/stores.md, and user and password in the option redis',
});

function hostsOf({ url, host, cluster, sentinels }: RedisConnectionOptions): string[] {
  const given = Array.isArray(sentinels) ? [] : (sentinels?.nodes ?? []);
  const nodes = [...(cluster?.nodes ?? []), ...given];
  const all = [url, ...nodes].filter((one) => one !== undefined);
  const named = all.map((one) => (typeof one === 'string' ? new URL(one).hostname : one.host));
  return host === undefined ? named : [...named, host];
}

const isHere = (host: string): boolean =>
  host === 'localhost' || host.startsWith('127.') || /^\[?::1\]?$/.test(host);
