import type { RedisClient } from '../stores/redis/redis-client.js';

/** A clock beside this machine's, in milliseconds. */
export interface ClockFacts {
  /** How far it is ahead. */
  readonly ahead: number;
  /** The measurement may be wrong by as much. */
  readonly within: number;
}

/** What one server tells of itself. What it does not tell, or not to this user, is `undefined`. */
export interface ServerFacts {
  /** Host and port. */
  readonly where: string;
  /** The fields of `INFO`; empty: not told. */
  readonly info: Readonly<Record<string, string>>;
  /** When it takes snapshots (`CONFIG GET save`); empty: never. */
  readonly save: string | undefined;
  readonly appendfsync: string | undefined;
  readonly clock: ClockFacts | undefined;
}

/** The fields of an answer to `INFO`. */
export function fieldsIn(info: string): Record<string, string> {
  const lines = info.split(/\r?\n/).filter((line) => /^[^#]*:/.test(line));
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf(':');
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
}

/** A number among them; `NaN` if it is not told. */
export const numberIn = ({ info }: Pick<ServerFacts, 'info'>, name: string): number =>
  Number(info[name] ?? NaN);

/** Sends any command. */
export async function ask(
  node: RedisClient,
  command: string,
  ...args: (string | number)[]
): Promise<unknown> {
  return node.call?.(command, ...args);
}

export const mastersOf = (client: RedisClient): readonly RedisClient[] =>
  client.nodes?.('master') ?? [client];

export function whereIs({ options }: RedisClient): string {
  const { host, port } = options ?? {};
  return host === undefined ? 'the master' : `${host}:${port}`;
}

/** Asks a server for all of it. */
export async function factsOf(node: RedisClient, now: () => number): Promise<ServerFacts> {
  const info = await node.info().catch(() => '');
  const [save, appendfsync] = await Promise.all([
    setting(node, 'save'),
    setting(node, 'appendfsync'),
  ]);
  const clock = await clockOf(node, now).catch(() => undefined);
  return { where: whereIs(node), info: fieldsIn(info), save, appendfsync, clock };
}

/** Not everybody may ask, and servers that are rented do not tell. */
async function setting(node: RedisClient, name: string): Promise<string | undefined> {
  const reply = await ask(node, 'CONFIG', 'GET', name).catch(() => undefined);
  return Array.isArray(reply) && reply.length === 2 ? String(reply[1]) : undefined;
}

const MEASUREMENTS = 5;

/** The quickest of some answers tells most: it is wrong by half of what the way took, at most. */
async function clockOf(node: RedisClient, now: () => number): Promise<ClockFacts> {
  let best: ClockFacts = { ahead: 0, within: Infinity };
  for (let i = 0; i < MEASUREMENTS; i++) {
    const asked = now();
    const [seconds, micros] = await node.time();
    const told = now();
    const within = (told - asked) / 2;
    const at = Number(seconds) * 1_000 + Number(micros) / 1_000;
    if (within < best.within) best = { ahead: at - (asked + told) / 2, within };
  }
  return best;
}
