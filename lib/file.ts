export { FileSessionStore } from './stores/file/file-session.store.js';
export type { FileStoreOptions } from './stores/file/file-store.options.js';
export type { SweptBatch } from './stores/file/file-sweeper.js';
