import { createSecretKey, hkdfSync, randomBytes, type KeyObject } from 'node:crypto';
import { openText, sealText } from '../security/aes.js';
import { Keyring } from '../security/keyring.js';

/** Characters that names are filled up to: how long one is says something about it. */
const FILLED = 64;

/**
 * Stands for a principal in the addresses of the page, where the name itself would get into logs and histories.
 * The name is in it, encrypted (AES-256-GCM): nothing is stored, and each node can read it. It looks different each
 * time.
 *
 * The key is made of the visitor's login, so that an address is of no use to anybody else. For who was let in without a
 * session it is one of the application's secrets; without those it is of this process.
 */
export class SearchReferences {
  readonly #own: readonly KeyObject[];

  /**
   * @param secrets of the application: the first seals, all open
   * @param place of the dashboard: a reference of one is none of another
   */
  constructor(
    secrets: readonly string[],
    private readonly place: string,
  ) {
    const keys = new Keyring(secrets).keysFor('dashboard');
    this.#own = (keys.length > 0 ? keys : [randomBytes(32)]).map((key) => createSecretKey(key));
  }

  /** @param seed of the visitor's session; `undefined`: they have none */
  make(principal: string, seed: string | undefined): string {
    const [key] = this.#keysOf(seed);
    return sealText(key as KeyObject, JSON.stringify(principal).padEnd(FILLED), this.place);
  }

  /** Whom a text stands for; `undefined` if it is none of this visitor's references. */
  read(text: unknown, seed: string | undefined): string | undefined {
    if (typeof text !== 'string') return undefined;
    for (const key of this.#keysOf(seed)) {
      const opened = openText(key, text, this.place);
      if (opened !== undefined) return JSON.parse(opened) as string;
    }
    return undefined;
  }

  #keysOf(seed: string | undefined): readonly KeyObject[] {
    if (seed === undefined) return this.#own;
    const key = hkdfSync('sha256', seed, '', 'nestjs-distributed-session/dashboard', 32);
    return [createSecretKey(Buffer.from(key))];
  }
}
