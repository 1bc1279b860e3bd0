import {
  OperationNodeTransformer,
  SchemableIdentifierNode,
  type Kysely,
  type KyselyPlugin,
  type PluginTransformQueryArgs,
  type PluginTransformResultArgs,
} from 'kysely';

/** The databases that the store speaks to; `'mysql'` is MariaDB, too. */
export type SqlDialect = 'postgres' | 'mysql' | 'sqlite';

/** A time to be compared and counted with: milliseconds since the epoch, in whatever a driver makes of a BIGINT. */
export type Milliseconds = number | string | bigint;

/**
 * A session. Its value is kept as bytes, not as text: PostgreSQL has no NUL in text, MySQL converts between character
 * sets, and neither has a reason to look inside.
 */
export interface SessionRow {
  /** Digest of the session id, which is nowhere stored. */
  handle: string;
  /** What a save compares; its first eight digits are the fence. */
  version: string;
  /** 1: a session; 0: what a renewed id left behind. */
  live: number;
  /** The value up to its first line end: all that lists read. */
  head: SqlBytes;
  /** The rest of it, from that line end on. */
  body: SqlBytes | null;
  /** When its idle window ends. A BIGINT, and no TIMESTAMP: so there is no time zone, anywhere, to get wrong. */
  expires: Milliseconds;
}

/** A session's entry in one place. */
export interface PlaceRow {
  bucket: string;
  place: string;
  handle: string;
  since: Milliseconds;
}

/** What is locked while places of a bucket change: one row for each of the 256 buckets, never written. */
export interface BucketRow {
  bucket: string;
}

/** Bytes as drivers give them. */
export type SqlBytes = Uint8Array | ArrayBuffer | string;

/** What the store writes to. The names are stand-ins, see {@link NamedTables}. */
export interface SessionTables {
  sessions: SessionRow;
  session_places: PlaceRow;
  session_buckets: BucketRow;
}

/** A connection, or a transaction over one. */
export type SessionDatabase = Kysely<SessionTables>;

/** Where the tables of one store are. */
export interface TableNames {
  readonly schema: string | undefined;
  readonly sessions: string;
  readonly places: string;
  readonly buckets: string;
}

export const tableNames = (table: string, schema: string | undefined): TableNames => ({
  schema,
  sessions: table,
  places: `${table}_places`,
  buckets: `${table}_buckets`,
});

/** Puts the names of a store's own tables where statements say the stand-ins. */
export class NamedTables extends OperationNodeTransformer implements KyselyPlugin {
  readonly #names: ReadonlyMap<string, SchemableIdentifierNode>;

  constructor({ schema, sessions, places, buckets }: TableNames) {
    super();
    const node = (name: string) =>
      schema === undefined
        ? SchemableIdentifierNode.create(name)
        : SchemableIdentifierNode.createWithSchema(schema, name);
    this.#names = new Map([
      ['sessions', node(sessions)],
      ['session_places', node(places)],
      ['session_buckets', node(buckets)],
    ]);
  }

  protected override transformSchemableIdentifier(node: SchemableIdentifierNode) {
    return this.#names.get(node.identifier.name) ?? node;
  }

  transformQuery({ node, queryId }: PluginTransformQueryArgs) {
    return this.transformNode(node, queryId);
  }

  async transformResult({ result }: PluginTransformResultArgs) {
    return result;
  }
}

/** Names that all three databases take, with room for what is put behind them. */
const NAME = /^[A-Za-z_][A-Za-z0-9_]{0,39}$/;

/** What is wrong with the names of a table and a schema. */
export function problemsOfNames(table: string, schema: string | undefined): string[] {
  const remedy = 'use up to 40 letters, digits and underscores, beginning with no digit';
  const names = Object.entries({ table, ...(schema !== undefined && { schema }) });
  return names
    .filter(([, name]) => typeof name !== 'string' || !NAME.test(name))
    .map(([option]) => `${option} of the SQL store cannot be used as a name: ${remedy}`);
}
