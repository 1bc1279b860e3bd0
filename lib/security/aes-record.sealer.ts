import type { OpenedText, RecordSealer, RecordSealing } from '../core/record-sealer.interface.js';
import { openText, sealText } from './aes.js';
import { Hmac } from './hmac.js';
import type { Keyring } from './keyring.js';

/** A secret of the keyring, as far as records need it. */
interface RecordKey {
  /** Tells with which secret something was sealed; says nothing about it. */
  readonly name: string;
  /** Makes each session's own key: so none is used often enough for a random nonce to come twice. */
  readonly of: Hmac;
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
    const names = keyring.keysFor('key-name').map((key) => key.toString('base64url', 0, NAME));
    const keys = keyring.keysFor('record').map((key, i): RecordKey => {
      return { name: (names[i] as string).slice(0, NAME), of: new Hmac(key) };
    });
    const [first] = keys;
    if (!first) throw new RangeError('encryption needs a secret');
    this.#first = first;
    this.#keys = new Map(keys.map((key) => [key.name, key]));
  }

  seal(text: string, owner: string, context: string): string {
    const { name, of } = this.#first;
    return name + sealText(of.of(owner), text, context);
  }

  open(sealed: string, owner: string, context: string): OpenedText | undefined {
    const key = this.#keys.get(sealed.slice(0, NAME));
    const text = key && openText(key.of.of(owner), sealed.slice(NAME), context);
    return text === undefined ? undefined : { text, stale: key !== this.#first };
  }
}
