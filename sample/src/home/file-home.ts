import { FileSessionStore } from 'nestjs-distributed-session/file';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Settings } from '../settings.js';
import type { SessionHome } from './session-home.js';

/** In a directory, which several nodes may share. */
export function inFiles({ sessionDirectory }: Settings): SessionHome {
  const directory = sessionDirectory ?? mkdtempSync(join(tmpdir(), 'shop-sessions-'));
  return {
    options: { store: new FileSessionStore({ directory }) },
    description: `Sessions are kept in files in ${directory}`,
    isSilent: true,
  };
}
