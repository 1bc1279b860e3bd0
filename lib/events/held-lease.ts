import { randomUUID } from 'node:crypto';
import type { StoreNews } from '../core/store-news.interface.js';

/** Milliseconds after which a node that fell silent has it no more. */
const TERM = 5_000;

/** Work that one node does at a time: of those that ask for it, whoever has it goes on having it. */
export class HeldLease {
  readonly #holder = randomUUID();
  #keeping: NodeJS.Timeout | undefined;
  #isGivenBack = false;

  constructor(
    private readonly store: Pick<StoreNews, 'lease' | 'release'>,
    private readonly name: string,
  ) {}

  /** Whether it is this node's turn; if so, it stays so until {@link giveBack}, as long as the store answers. */
  async isHeld(): Promise<boolean> {
    if (this.#isGivenBack) return false;
    const held = await this.store.lease(this.name, this.#holder, TERM);
    // Meanwhile: nobody is left who would end the keeping.
    if (this.#isGivenBack) return false;
    if (!held) this.#letGo();
    // Work may take longer than a term.
    else this.#keeping ??= setInterval(() => void this.#keep(), TERM / 4).unref();
    return held;
  }

  /** Another node need not wait. This one does not take it again. */
  async giveBack(): Promise<void> {
    this.#isGivenBack = true;
    this.#letGo();
    await this.store.release(this.name, this.#holder).catch(() => undefined);
  }

  async #keep(): Promise<void> {
    const held = await this.store.lease(this.name, this.#holder, TERM).catch(() => true);
    if (!held) this.#letGo();
  }

  #letGo(): void {
    clearInterval(this.#keeping);
    this.#keeping = undefined;
  }
}
