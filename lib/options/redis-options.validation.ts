import { isRedisClient } from '../stores/redis/redis-client.js';

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isText = (value: unknown): value is string => typeof value === 'string' && value !== '';
/** Also as environment variables have it. */
const isPort = (value: unknown): boolean =>
  /^\d+$/.test(String(value)) && Number(value) >= 1 && Number(value) <= 65_535;
const isUrl = (value: unknown): value is string =>
  typeof value === 'string' && /^rediss?:\/\/\S+$/.test(value) && URL.canParse(value);
/** Of one node of several: rights stand beside, as those that it tells of need them as well. */
const isNodeUrl = (value: unknown): boolean => {
  if (!isUrl(value)) return false;
  const { username, password } = new URL(value);
  return username === '' && password === '';
};
const isAddress = (value: unknown): boolean =>
  isObject(value) && isText(value.host) && (value.port === undefined || isPort(value.port));

/** Ways to say where Redis is, of which one is given. */
const WAYS = ['url', 'host', 'path', 'cluster', 'sentinels', 'client'] as const;

/** What is wrong with the option `redis`, and how to mend it. Values are not repeated: some are secrets. */
export function problemsOfRedis(redis: unknown): string[] {
  if (redis === undefined || isRedisClient(redis)) return [];
  if (typeof redis === 'string') {
    return isUrl(redis) ? [] : [`redis cannot be used: ${USABLE}`];
  }
  if (!isObject(redis)) return [`redis cannot be used: ${USABLE}`];
  const problems: string[] = [];
  const unless = (right: boolean, problem: string) => right || problems.push(`redis.${problem}`);

  const ways = WAYS.filter((way) => redis[way] !== undefined);
  unless(
    ways.length < 2,
    `${ways.join(' and redis.')} are given together: keep the one by which Redis is to be found`,
  );
  const { url, host, port, db, tls, username, password, client, cluster, sentinels } = redis;
  unless(
    url === undefined ? ways.length > 0 || !('url' in redis) : isUrl(url),
    "url cannot be used: use 'redis://host:6379' or 'rediss://host:6379'; if it is undefined, look whether an environment variable is missing",
  );
  unless(host === undefined || isText(host), 'host cannot be used: use a name or an address');
  unless(
    port === undefined || isPort(port),
    'port cannot be used: use a whole number from 1 to 65535',
  );
  unless(
    db === undefined || (Number.isInteger(db) && (db as number) >= 0),
    'db cannot be used: use a whole number from 0',
  );
  unless(!cluster || !db, 'db cannot be used: a Cluster has only database 0, leave it out');
  unless(
    tls === undefined || typeof tls === 'boolean' || isObject(tls),
    'tls cannot be used: use true, or options of `tls.connect` such as { ca }',
  );
  unless(
    username === undefined || isText(username),
    'username cannot be used: use the name of a user of Redis (ACL)',
  );
  unless(
    username === undefined || isText(password),
    'username is given without a password: give redis.password',
  );
  unless(
    password === undefined || typeof password === 'string',
    'password cannot be used: use a string',
  );
  unless(
    client === undefined || isRedisClient(client),
    'client cannot be used: use a client of ioredis 5, ioredis 6 or iovalkey, alone or a Cluster',
  );
  unless(
    !isRedisClient(client) || Object.keys(redis).length === 1,
    'client is given with other options: give those to the client itself',
  );
  unless(
    cluster === undefined || isCluster(cluster),
    "cluster cannot be used: give redis.username and redis.password beside it, and use { nodes: ['redis://node-1:6379', { host: 'node-2', port: 6379 }] }",
  );
  if (sentinels !== undefined) {
    unless(
      isSentinels(sentinels),
      "sentinels cannot be used: give their username and password beside nodes, and use { name: 'mymaster', nodes: ['redis://sentinel-1:26379', { host: 'sentinel-2', port: 26379 }] }",
    );
    unless(
      !Array.isArray(sentinels) || isText(redis.name),
      "sentinels are given without the name of the master: give redis.name, such as 'mymaster'",
    );
  }
  return problems;
}

export const USABLE =
  "use a URL such as 'redis://localhost:6379', options such as { url }, { cluster: { nodes } }, { sentinels: { name, nodes } }, or a client";

const areNodes = (nodes: unknown): boolean =>
  Array.isArray(nodes) &&
  nodes.length > 0 &&
  nodes.every((node) => isNodeUrl(node) || isAddress(node));

const isCluster = (value: unknown): boolean => isObject(value) && areNodes(value.nodes);

/** Ours, or those of ioredis. */
const isSentinels = (value: unknown): boolean =>
  Array.isArray(value)
    ? value.length > 0 && value.every(isAddress)
    : isObject(value) && isText(value.name) && areNodes(value.nodes);
