import type { RedisClient, RedisConnection } from './redis-client.js';

/** Milliseconds between two signs of life that are asked for, and within which they must come. */
export const ASK_EVERY = 1_000;
const PATIENCE = 1_500;

/** What a connection is told that only hears: who listens connects anew, and knows then what it has missed. */
const HEARS: object = {
  lazyConnect: true,
  keyPrefix: '',
  // Messages come as they always did, whatever the client beside it speaks.
  protocol: 2,
  replyMapping: 'legacy',
  retryStrategy: null,
  autoResubscribe: false,
  enableOfflineQueue: false,
  enableReadyCheck: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 1_000,
  commandTimeout: PATIENCE,
  socketTimeout: 2 * PATIENCE,
  // By default what has ended already is waited for, for two seconds.
  disconnectTimeout: 100,
};

/**
 * A connection beside a client that only hears, not yet connected.
 *
 * @param node the client, or one node's of a Cluster
 * @param address of another node; empty: where the client goes
 * @throws Error if the client cannot open any
 */
export function sideConnection(node: RedisClient, address = ''): RedisConnection {
  const open = node.duplicate?.bind(node) as ((options: object) => RedisConnection) | undefined;
  if (!open) throw new Error('no connection');
  if (address === '') return open(HEARS);
  const at = address.lastIndexOf(':');
  const where = { host: address.slice(0, at), port: Number(address.slice(at + 1)) };
  return open({ ...HEARS, ...where, readOnly: false });
}
