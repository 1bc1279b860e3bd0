export {
  connectRedis,
  fastifySession,
  LegacySessions,
  type MigrationRemainder,
} from './migration/legacy-sessions.js';
export type { LegacyCookieOptions } from './migration/legacy-cookies.js';
export type { MappedSession, SessionToUnmap } from './migration/legacy-record.js';
export type { MigrationOptions } from './migration/migration-options.js';
export type { MigrationFigures } from './core/migration-figures.js';
