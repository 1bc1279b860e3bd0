import { LONGEST_TIMER } from './file-store.options.js';
import type { FileDirectory } from './file-directory.js';
import { orUnusable, Unusable, type FileTroubles } from './file-troubles.js';
import type { SessionFolder } from './session-folder.js';

/** What one batch has done. */
export interface SweptBatch {
  /** Sessions that were removed, their time being over. */
  readonly deleted: number;
  /** Folders that cannot be read or removed; each is told once by `onTrouble`. Absent: none. */
  readonly leftOut?: number;
  /** The round is not over: there are folders that it has not looked at. */
  readonly more: boolean;
}

/** Folders that one batch looks at. */
const BATCH = 500;
/** Nodes that were started together do not sweep together. */
const SPREAD = 0.2;

/**
 * Removes what has ended by time. Any number of nodes may do so at once, and beside all other work: a
 * session is removed by the very step that ends it, and only in the state in which it was seen.
 */
export class FileSweeper {
  #round: AsyncIterator<SessionFolder | Unusable> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(
    private readonly directory: FileDirectory,
    private readonly now: () => number,
    private readonly every: number | undefined,
    private readonly troubles: FileTroubles,
  ) {
    this.#wait();
  }

  /** Looks at so many folders, from where the last batch ended. */
  async batch(limit: number = BATCH): Promise<SweptBatch> {
    const round = (this.#round ??= this.directory.folders());
    let deleted = 0;
    const leftOut: Unusable[] = [];
    const outcome = (more: boolean) => {
      for (const one of leftOut) this.troubles.leftOut(one);
      return { deleted, ...(leftOut.length > 0 && { leftOut: leftOut.length }), more };
    };
    for (let looks = 0; looks < limit; looks++) {
      const { value: found, done } = await round.next();
      if (done) {
        this.#round = undefined;
        // Last: on a full disk it takes the room that the others leave.
        leftOut.push(...(await this.directory.removeAbandoned()));
        return outcome(false);
      }
      const swept =
        found instanceof Unusable ? found : await orUnusable(found.name, this.#sweep(found));
      if (swept instanceof Unusable) leftOut.push(swept);
      else if (swept) deleted++;
    }
    return outcome(true);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  async #sweep(folder: SessionFolder): Promise<boolean> {
    const listing = await folder.list();
    if (listing?.state && listing.state.endsAt <= this.now()) return folder.end(listing);
    if (listing && !listing.state) await folder.clear(listing.names);
    return false;
  }

  #wait(): void {
    if (this.every === undefined || this.#isClosed) return;
    const pause = this.every * (1 + SPREAD * (Math.random() - 0.5));
    this.#timer = setTimeout(
      () => {
        this.#running = this.#wholeRound();
      },
      Math.min(pause, LONGEST_TIMER),
    );
    this.#timer.unref();
  }

  async #wholeRound(): Promise<void> {
    try {
      while (!this.#isClosed && (await this.batch()).more);
      this.troubles.swept();
    } catch (error) {
      // The next round begins anew.
      this.#round = undefined;
      this.troubles.notSwept(error);
    }
    this.#wait();
  }
}
