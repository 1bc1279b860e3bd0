import type { HotCopies } from '../../core/hot-copies.interface.js';
import { bucketOfHandle } from '../../core/session-id.js';
import type { Tier } from './tier.js';

/** More are not kept in mind: the copies of others go when they are as old as they may be. */
const MOST = 10_000;
/** Milliseconds between two attempts. */
const EVERY = 200;

interface Owed {
  readonly ended: boolean;
}

/** Copies that are to be dropped as soon as that is possible: this node has written past them. */
export class OwedDrops {
  readonly #owed = new Map<string, Owed>();
  #timer: NodeJS.Timeout | undefined;
  #isClosed = false;

  constructor(private readonly hot: Tier<HotCopies>) {}

  has(handle: string): boolean {
    return this.#owed.has(handle);
  }

  get isFull(): boolean {
    return this.#owed.size >= MOST;
  }

  /** @param ended they are over */
  add(handles: readonly string[], ended: boolean): void {
    for (const one of handles) {
      const known = this.#owed.get(one);
      if (known || !this.isFull) this.#owed.set(one, { ended: ended || known?.ended === true });
    }
    this.#arm();
  }

  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#timer);
  }

  #arm(): void {
    if (this.#timer || this.#isClosed || this.#owed.size === 0) return;
    this.#timer = setTimeout(() => {
      void this.#pay().finally(() => {
        this.#timer = undefined;
        this.#arm();
      });
    }, EVERY).unref();
  }

  async #pay(): Promise<void> {
    const rows = new Map<string, [handle: string, owed: Owed][]>();
    for (const [handle, owed] of this.#owed) {
      const row = `${bucketOfHandle(handle)} ${owed.ended}`;
      rows.set(row, [...(rows.get(row) ?? []), [handle, owed]]);
    }
    for (const row of rows.values()) {
      const handles = row.map(([handle]) => handle);
      const drop = this.hot.ask((copies) => copies.drop(handles, row[0]?.[1].ended === true));
      const isPaid = await drop.then(
        () => true,
        () => false,
      );
      if (!isPaid) return;
      // Of what came meanwhile nothing is known.
      for (const [one, owed] of row) if (this.#owed.get(one) === owed) this.#owed.delete(one);
    }
  }
}
