/** A text that was sealed, read again. */
export interface OpenedText {
  readonly text: string;
  /** Sealed with a key that is on its way out. */
  readonly stale: boolean;
}

/** How records are sealed. */
export interface RecordSealing {
  /** Contents are sealed with the session's id as well: who has only its handle cannot read them. */
  readonly blind: boolean;
  /** Records that were written before there was a sealer count, and are sealed when they are used. */
  readonly acceptsPlain: boolean;
}

/** Makes what is stored of a session unreadable for whoever has only the store. */
export interface RecordSealer extends RecordSealing {
  /**
   * Encrypts a text, without line ends in what comes out.
   *
   * @param owner the session's handle or id: without it nobody reads it
   * @param context where it belongs: elsewhere it cannot be read
   */
  seal(text: string, owner: string, context: string): string;
  /** Reads what {@link seal} wrote; `undefined` if it was altered, belongs elsewhere or has an unknown key. */
  open(sealed: string, owner: string, context: string): OpenedText | undefined;
}
