/** Of the library, which asks for it as a peer: what stands beside this file is an older one, of better-auth. */
export {
  Kysely,
  MysqlDialect,
  PostgresDialect,
  SqliteDialect,
  type Dialect,
  type SqliteDatabase,
} from '../../../node_modules/kysely/dist/index.js';
