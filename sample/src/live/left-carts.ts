import { Injectable, Logger } from '@nestjs/common';
import { OnSessionEvent, type SessionEvent } from 'nestjs-distributed-session';

/** A real shop would write to whoever it was. */
@Injectable()
export class LeftCarts {
  readonly #logger = new Logger('Shop');

  /** On one node only, however many there are. */
  @OnSessionEvent('expired', { once: 'cluster' })
  note({ handle, attributes }: SessionEvent): void {
    const items = Number(attributes.items ?? 0);
    if (items === 0) return;
    const what = items === 1 ? '1 item' : `${items} items`;
    this.#logger.log(`A cart with ${what} was left behind (handle ${handle})`);
  }
}
