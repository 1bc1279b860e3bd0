export { FileSessionStore, type FileStoreOptions } from './stores/file/file-session.store.js';
export type { SweptBatch } from './stores/file/file-sweeper.js';
