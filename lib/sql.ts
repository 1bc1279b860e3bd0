export { SqlSessionStore } from './stores/sql/sql-session.store.js';
export type { SqlSessionStoreOptions } from './stores/sql/sql-session.options.js';
export {
  sessionMigration,
  sqlMigration,
  type SqlMigration,
  type SqlMigrationOptions,
} from './stores/sql/sql-migration.js';
export type { AnyKysely } from './stores/sql/sql-dialect.js';
export type { SqlDialect } from './stores/sql/sql-tables.js';
