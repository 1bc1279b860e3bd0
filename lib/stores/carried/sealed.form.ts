import { createSecretKey, randomBytes, type KeyObject } from 'node:crypto';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { openBytes, sealBytes } from '../../security/aes.js';
import { Hmac } from '../../security/hmac.js';
import type { Keyring } from '../../security/keyring.js';
import {
  decodeContent,
  encodeContent,
  type BroughtToken,
  type CarriedContent,
  type CarriedForm,
  type OpenedToken,
} from './carried-content.js';

/** How tokens are sealed. */
export interface SealedFormOptions {
  /** What tells these sessions from all others. */
  readonly realm: string;
  /** Beyond so many bytes it is compressed; `Infinity`: never. */
  readonly compressAbove: number;
  /** Bytes that what was compressed may become again. */
  readonly mostBytes: number;
}

/** Characters of a key's name. */
const NAME = 6;
/** Characters of a salt of 96 bits. */
const SALT = 16;
const PLAIN = 0;
const DEFLATED = 1;

/** A secret of the keyring, and what it is called: that says nothing about it. */
interface SealingKey {
  readonly name: string;
  readonly of: (salt: string) => KeyObject;
}

/**
 * AES-256-GCM under the application's keyring, in base64url: name of the key, salt, and what was sealed under
 * a key made for that salt. So no key is used often enough for a random nonce to come twice, however many
 * answers there are (the idea of XAES-256-GCM, C2SP).
 */
export class SealedForm implements CarriedForm {
  readonly #first: SealingKey;
  readonly #keys: ReadonlyMap<string, SealingKey>;
  readonly #context: string;

  constructor(
    keyring: Keyring,
    private readonly options: SealedFormOptions,
  ) {
    const names = keyring.keysFor('key-name').map((key) => key.toString('base64url'));
    const keys = keyring.keysFor('carried').map((key, i): SealingKey => {
      const hmac = new Hmac(key);
      const name = (names[i] as string).slice(0, NAME);
      return { name, of: (salt) => createSecretKey(hmac.of(salt)) };
    });
    this.#first = keys[0] as SealingKey;
    this.#keys = new Map(keys.map((key) => [key.name, key]));
    this.#context = `session 1 ${options.realm}`;
  }

  read(token: string): BroughtToken | undefined {
    const opened = this.#open(token);
    return opened && { id: opened.id, open: () => opened };
  }

  write(content: CarriedContent): string {
    const { name, of } = this.#first;
    const salt = randomBytes(12).toString('base64url');
    const sealed = sealBytes(of(salt), this.#packed(encodeContent(content)), this.#context);
    return name + salt + sealed.toString('base64url');
  }

  #open(token: string): OpenedToken | undefined {
    const key = this.#keys.get(token.slice(0, NAME));
    const rest = token.slice(NAME + SALT);
    const bytes = Buffer.from(rest, 'base64url');
    // Spelled in another way the same is none.
    if (!key || bytes.toString('base64url') !== rest) return undefined;
    const plain = openBytes(key.of(token.slice(NAME, NAME + SALT)), bytes, this.#context);
    const text = plain && this.#unpacked(plain);
    const content = text === undefined ? undefined : decodeContent(text);
    return content && { ...content, stale: key !== this.#first };
  }

  /** Before it is sealed: afterwards nothing can be compressed. */
  #packed(text: string): Buffer {
    const plain = Buffer.from(text);
    if (plain.length > this.options.compressAbove) {
      const deflated = deflateRawSync(plain);
      if (deflated.length < plain.length) return Buffer.concat([Buffer.of(DEFLATED), deflated]);
    }
    return Buffer.concat([Buffer.of(PLAIN), plain]);
  }

  #unpacked(plain: Buffer): string | undefined {
    const body = plain.subarray(1);
    if (plain[0] === PLAIN) return body.toString();
    if (plain[0] !== DEFLATED) return undefined;
    try {
      return inflateRawSync(body, { maxOutputLength: this.options.mostBytes }).toString();
    } catch {
      return undefined;
    }
  }
}
