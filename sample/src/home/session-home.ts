import type { SessionModuleOptions } from 'nestjs-distributed-session';
import type { Settings } from '../settings.js';

/** Where the sessions live, and how to say that in a log. */
export interface SessionHome {
  readonly options: Pick<SessionModuleOptions, 'redis' | 'store' | 'bootWithoutStore'>;
  readonly description: string;
  /** It cannot tell what happens to sessions: the shop does without what follows from that. */
  readonly isSilent?: true;
  /** Sessions are with their clients: there is nothing to encrypt. */
  readonly isCarried?: true;
}

/** As `STORE` says. Only the one that is used is loaded. */
export async function chooseSessionHome(settings: Settings): Promise<SessionHome> {
  switch (settings.store) {
    case 'memory':
      return inMemory('STORE');
    case 'sql':
      return (await import('./sql-home.js')).inDatabase(settings);
    case 'tiered':
      return (await import('./sql-home.js')).inTiers(settings);
    case 'cookie':
      return (await import('./carried-home.js')).inCookies(settings);
    case 'jwt':
      return (await import('./carried-home.js')).inTokens(settings);
    case 'file':
      return (await import('./file-home.js')).inFiles(settings);
    default:
      return (await import('./redis-home.js')).inRedis(settings);
  }
}

export function inMemory(reason: string): SessionHome {
  return {
    options: { store: 'memory' },
    description: `Sessions are kept in the memory of this process (${reason})`,
  };
}
