import type { Command } from 'commander';
import { lookAt, sizeOf, walkKeys, type WalkedKey } from '../doctor/key-walk.js';
import { fieldsIn, mastersOf } from '../doctor/server-facts.js';
import { listensAnybody } from './listening.js';
import { bytes, facts, table } from './print.js';
import type { CliRun, CliShared } from './shared.js';

export function register(program: Command, shared: CliShared): void {
  shared
    .command(program, 'stats', 'Counts sessions, principals and memory; walks all keys with SCAN.')
    .action(shared.run(stats));
}

interface Bucket {
  readonly bucket: string;
  sessions: number;
  bytes: number;
}

/** What was counted on the way. */
class Census {
  sessions = 0;
  pointers = 0;
  principals = 0;
  places = 0;
  bytes = 0;
  keys = 0;
  /** Under the key of a record there is something of another type. */
  foreign = 0;
  /** Bytes are told to this user. */
  isWeighed = true;
  readonly buckets = new Map<string, Bucket>();

  async add(one: WalkedKey): Promise<void> {
    this.keys++;
    if (one.kind === 'place') {
      this.places++;
      if (one.rest.startsWith('p:')) this.principals++;
    }
    if (one.kind !== 'record') return;
    const look = await lookAt(one);
    if (!look) return;
    if (look.isForeign) return void this.foreign++;
    if (!look.isLive) return void this.pointers++;
    this.isWeighed &&= look.bytes !== undefined;
    const { bytes: size = 0 } = look;
    const known = this.buckets.get(one.bucket) ?? { bucket: one.bucket, sessions: 0, bytes: 0 };
    this.buckets.set(one.bucket, known);
    known.sessions++;
    known.bytes += size;
    this.sessions++;
    this.bytes += size;
  }
}

async function stats(run: CliRun) {
  const { client, prefix } = run.redis;
  const total = await sizeOf(client);
  run.log(run.notes.dim(`This walks the whole store: ${total} keys, with SCAN.`));
  const progress = run.progress('keys', total);
  const census = new Census();
  let passed = 0;
  const onPage = (some: number) => progress.at(Math.min(total, (passed += some)));
  for await (const page of walkKeys(client, prefix, onPage)) {
    await Promise.all(page.map((one) => census.add(one)));
  }
  progress.end();
  if (census.foreign > 0) {
    run.log(
      run.notes.yellow(
        `${census.foreign} keys of records hold something else: see who writes there.`,
      ),
    );
  }
  const servers = await Promise.all(
    mastersOf(client).map(async (node) => fieldsIn(await node.info())),
  );
  const sum = (field: string) => servers.reduce((all, one) => all + Number(one[field] ?? 0), 0);
  const { sessions, pointers, principals, isWeighed, keys, foreign } = census;
  const size = isWeighed ? census.bytes : undefined;
  const buckets = [...census.buckets.values()].sort((one, other) => other.sessions - one.sessions);
  const json = {
    sessions,
    principals,
    renewedIds: pointers,
    places: census.places,
    keys,
    noSessions: foreign,
    bytes: size,
    bytesPerSession: size === undefined || sessions === 0 ? undefined : Math.round(size / sessions),
    events: await listensAnybody(run.redis),
    redis: {
      versions: [...new Set(servers.map((one) => one.valkey_version ?? one.redis_version))],
      masters: servers.length,
      commandsPerSecond: sum('instantaneous_ops_per_sec'),
      usedMemory: sum('used_memory'),
      maxMemory: sum('maxmemory'),
      clients: sum('connected_clients'),
      keys: total,
    },
    buckets,
  };
  return { json, text: shown(json, run) };
}

/** Fullest buckets that people are shown. */
const FULLEST = 5;

interface Stats {
  readonly sessions: number;
  readonly principals: number;
  readonly renewedIds: number;
  readonly places: number;
  readonly bytes: number | undefined;
  readonly bytesPerSession: number | undefined;
  readonly events: boolean;
  readonly redis: {
    readonly versions: readonly (string | undefined)[];
    readonly masters: number;
    readonly commandsPerSecond: number;
    readonly usedMemory: number;
    readonly maxMemory: number;
    readonly clients: number;
  };
  readonly buckets: readonly Bucket[];
}

function shown(stats: Stats, { colors }: CliRun): string {
  const { redis, buckets, bytes: size, bytesPerSession } = stats;
  const weight = size === undefined ? 'not told to this user (+memory|usage)' : bytes(size);
  const limit = redis.maxMemory > 0 ? ` of ${bytes(redis.maxMemory)}` : ', no maxmemory';
  const all = facts(
    [
      ['sessions', String(stats.sessions)],
      ['principals', String(stats.principals)],
      ['renewed ids', String(stats.renewedIds)],
      ['index places', String(stats.places)],
      ['memory of sessions', weight],
      ['  each', bytesPerSession === undefined ? '–' : bytes(bytesPerSession)],
      ['events', stats.events ? 'told' : 'not told'],
      [
        'Redis',
        `${redis.versions.join(', ')}, ${redis.masters} ${redis.masters === 1 ? 'master' : 'masters'}`,
      ],
      ['  memory', `${bytes(redis.usedMemory)}${limit}`],
      ['  commands/s', String(redis.commandsPerSecond)],
      ['  clients', String(redis.clients)],
      ['buckets used', `${buckets.length} of 256`],
    ],
    colors,
  );
  if (buckets.length === 0) return all;
  const rows = buckets
    .slice(0, FULLEST)
    .map((one) => [one.bucket, String(one.sessions), size === undefined ? '–' : bytes(one.bytes)]);
  return `${all}\n\n${table([['fullest bucket', 'sessions', 'memory'], ...rows], colors)}`;
}
