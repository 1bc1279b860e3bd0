export {
  backupSessions,
  type BackupOptions,
  type BackupProgress,
  type BackupReport,
} from './backup/backup-sessions.js';
export {
  restoreSessions,
  type BackupSource,
  type RestoreOptions,
  type RestorePhase,
  type RestoreReport,
} from './backup/restore-sessions.js';
export { readWhole, writeWhole } from './backup/backup-file.js';
export { SessionBackupError, type SessionBackupErrorCode } from './backup/backup.errors.js';
