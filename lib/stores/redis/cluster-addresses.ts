import { SessionStoreUnavailableError } from '../../core/session.errors.js';
import type { RedisClient } from './redis-client.js';

/** A master of a Cluster, whichever; empty where there is no Cluster: a connection goes where the client goes. */
export function anyMasterOf(client: RedisClient): string {
  if (!client.nodes) return '';
  const masters = client.nodes('master');
  const { host, port } = masters[Math.floor(Math.random() * masters.length)]?.options ?? {};
  if (host === undefined) throw new SessionStoreUnavailableError('no connection');
  return `${host}:${port}`;
}

/** The address by which a node can be reached from here, if the client was told of one. */
export function translatedFor(client: RedisClient, address: string): string {
  const { natMap } = client.options ?? {};
  const to = typeof natMap === 'function' ? natMap(address) : natMap?.[address];
  return to ? `${to.host}:${to.port}` : address;
}

/** The master that has a key, as any of them tells: it has it, or leads on to where it is. */
export async function ownerOf(client: RedisClient, key: string): Promise<string> {
  const address = anyMasterOf(client);
  const node = client
    .nodes?.('master')
    .find(({ options }) => `${options?.host}:${options?.port}` === address);
  if (!node) throw new SessionStoreUnavailableError('no connection');
  try {
    await node.get(key);
  } catch (error) {
    const { message } = error as Error;
    const [, to] = /^MOVED \d+ (\S+)/.exec(message) ?? [];
    if (to) return translatedFor(client, to);
    // It is no string: but here it is.
    if (!message.startsWith('WRONGTYPE')) throw error;
  }
  return address;
}
