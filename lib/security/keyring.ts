import { hkdfSync } from 'node:crypto';

/** Key material is never used as it is given, but through one derived key per purpose. */
export type KeyPurpose =
  | 'session-id'
  | 'record'
  | 'key-name'
  | 'device'
  | 'reference'
  | 'carried'
  | 'carried-jwt'
  | 'dashboard';

/**
 * The application's secrets in order: the first signs, all verify. So a secret is replaced by
 * putting the new one in front, and dropped once no session of its time is left.
 */
export class Keyring {
  readonly #secrets: readonly string[];

  constructor(secrets: readonly string[]) {
    this.#secrets = secrets;
  }

  /** 32-byte keys for one purpose, in the order of the secrets. */
  keysFor(purpose: KeyPurpose): Buffer[] {
    return this.#secrets.map((secret) =>
      Buffer.from(hkdfSync('sha256', secret, '', `nestjs-distributed-session/${purpose}`, 32)),
    );
  }
}
