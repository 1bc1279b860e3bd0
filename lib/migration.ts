export {
  connectRedis,
  fastifySession,
  LegacySessions,
  type MigrationOptions,
  type MigrationRemainder,
} from './migration/legacy-sessions.js';
export type { LegacyCookieOptions } from './migration/legacy-cookies.js';
export type { MappedSession, SessionToUnmap } from './migration/legacy-record.js';
export type { MigrationFigures } from './migration/migration-figures.js';
