import { createSecretKey, type KeyObject } from 'node:crypto';
import type { OpenedText, RecordSealer, RecordSealing } from '../core/record-sealer.interface.js';
import { openText, sealText } from './aes.js';
import { Hmac } from './hmac.js';
import type { Keyring } from './keyring.js';

/** A secret of the keyring, as far as records need it. */
class RecordKey {
  readonly #hmac: Hmac;
  #owner: string | undefined;
  #key!: KeyObject;

  /** @param name tells with which secret something was sealed; says nothing about it */
  constructor(
    readonly name: string,
    key: Buffer,
  ) {
    this.#hmac = new Hmac(key);
  }

  /** Each session has its own: so none is used often enough for a random nonce to come twice. */
  of(owner: string): KeyObject {
    // Header and contents of a record come one after the other.
    if (owner !== this.#owner) {
      this.#key = createSecretKey(this.#hmac.of(owner));
      this.#owner = owner;
    }
    return this.#key;
  }
}

/** Characters of a key's name. */
const NAME = 6;

/** AES-256-GCM under the application's keyring: the first secret seals, all open. */
export class AesRecordSealer implements RecordSealer {
  readonly blind: boolean;
  readonly acceptsPlain: boolean;
  readonly #first: RecordKey;
  readonly #keys: ReadonlyMap<string, RecordKey>;

  constructor(keyring: Keyring, { blind, acceptsPlain }: RecordSealing) {
    this.blind = blind;
    this.acceptsPlain = acceptsPlain;
    const names = keyring.keysFor('key-name').map((key) => key.toString('base64url'));
    const keys = keyring
      .keysFor('record')
      .map((key, i) => new RecordKey((names[i] as string).slice(0, NAME), key));
    const [first] = keys;
    if (!first) throw new RangeError('encryption needs a secret');
    this.#first = first;
    this.#keys = new Map(keys.map((key) => [key.name, key]));
  }

  seal(text: string, owner: string, context: string): string {
    const key = this.#first;
    return key.name + sealText(key.of(owner), text, context);
  }

  open(sealed: string, owner: string, context: string): OpenedText | undefined {
    const key = this.#keys.get(sealed.slice(0, NAME));
    const text = key && openText(key.of(owner), sealed.slice(NAME), context);
    return text === undefined ? undefined : { text, stale: key !== this.#first };
  }
}
