/** What a text that names a session says. */
export interface ReadReference {
  readonly handle: string;
  /** Somebody with the application's secrets has made it; `false` where there are no secrets. */
  readonly proven: boolean;
  /** Whether it was made of a session that was this one's; believed where there are no secrets. */
  isOf(owner: string): boolean;
}

/** Makes texts that name a session to other services of the application, and reads them. */
export interface SessionReferences {
  /** @param owner whose session it is */
  make(handle: string, owner: string): string;
  /** `undefined` for a malformed or forged one, without any I/O. */
  read(reference: string): ReadReference | undefined;
}
