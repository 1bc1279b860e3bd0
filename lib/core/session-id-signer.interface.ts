import type { SessionReferences } from './session-references.interface.js';

/** What a token that came with a request proved to be. */
export interface VerifiedToken {
  readonly id: string;
  /** Signed with a key that is on its way out: the client should get a new token. */
  readonly stale: boolean;
  /** The count of the newest version that its client has seen; absent: not known. */
  readonly seen?: number | undefined;
}

/** Turns a session id into the token that travels, and back; and leads from an old id to its successor. */
export interface SessionIdSigner {
  /**
   * The token of an id.
   *
   * @param seen count of the newest version that the client has seen, for nodes that keep older copies
   */
  sign(id: string, seen?: number): string;
  /** The id of a token; `undefined` for a malformed or forged one, without any I/O. */
  verify(token: string): VerifiedToken | undefined;
  /** Encrypts an id so that only who has `oldId` can read it: the store never holds a usable id. */
  sealSuccessor(oldId: string, successorId: string): string;
  /** The successor of an id; `undefined` if `sealed` was not made for it. */
  openSuccessor(oldId: string, sealed: string): string | undefined;
  /** What names a session to others, who cannot use it as its client does. */
  readonly references: SessionReferences;
}
