import { toText } from '../core/duration.js';
import type { BackupHeader } from './backup-format.js';
import { BUCKETS } from '../core/session-id.js';
import { refused } from './backup.errors.js';
import type { RedisRoom } from './redis-room.js';
import { settledWalks } from './settled-walk.js';

/** What is remembered of a backup that was restored to its end. */
export const COMPLETE = 'all';
const DAY = 86_400_000;

/** Where to go on. */
export interface Decision {
  /** Entries that were dealt with already. */
  readonly done: number;
  /** All were. */
  readonly isComplete: boolean;
}

const FROM_THE_BEGINNING: Decision = { done: 0, isComplete: false };

/** @throws SessionBackupError (`SESSION_BACKUP_REFUSED`) */
export function refuseOld({ takenAt }: BackupHeader, now: number, maxAge = DAY): void {
  if (now - takenAt <= maxAge) return;
  const age = toText(Math.floor((now - takenAt) / 60_000) * 60_000);
  throw refused(
    `The backup is ${age} old, and at most ${toText(maxAge)} are allowed: whoever was logged out since would be logged in again. Take a newer one, or allow this age (--max-age).`,
  );
}

/**
 * Whether a backup may be restored here. In an empty Redis whatever is absent was lost. Where there are other
 * sessions it may have been ended, and who restores has to say that it was not.
 *
 * @throws SessionBackupError (`SESSION_BACKUP_REFUSED`, `SESSION_BACKUP_MOVING`)
 */
export async function decide(
  room: RedisRoom,
  { id }: BackupHeader,
  { merge = false, again = false }: { readonly merge?: boolean; readonly again?: boolean },
): Promise<Decision> {
  const mark = again ? undefined : await room.mark(id);
  if (mark === COMPLETE) return { done: 0, isComplete: true };
  if (mark !== undefined) return { done: Number(mark), isComplete: false };
  if (merge || again || !(await holdsSessions(room))) return FROM_THE_BEGINNING;
  throw refused(
    'There are sessions already, which this backup did not bring: what is absent may have been ended since, and would be revived. Restore to an empty Redis, or say that all that is absent was lost (--merge).',
  );
}

async function holdsSessions(room: RedisRoom): Promise<boolean> {
  const isAnyThere = settledWalks(room, new Set(BUCKETS), async (_, masters) => {
    for await (const _ of room.handles('??', masters)) return true;
    return false;
  });
  for await (const { found } of isAnyThere) if (found) return true;
  return false;
}
