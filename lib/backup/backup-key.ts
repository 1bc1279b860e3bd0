import {
  createCipheriv,
  createDecipheriv,
  createHmac,
  scrypt,
  timingSafeEqual,
  type ScryptOptions,
} from 'node:crypto';
import { promisify } from 'node:util';
import { damaged, wrongKey } from './backup.errors.js';

/** What a key is made of has at least so many characters. */
export const SHORTEST_KEY = 32;
const TAG = 16;
const NONCE = 12;
/** 64 MiB and a tenth of a second, once for each file (OWASP Password Storage Cheat Sheet). */
const COST: ScryptOptions = { N: 2 ** 16, r: 8, p: 1, maxmem: 2 ** 27 };
const derive = promisify<string, string, number, ScryptOptions, Buffer>(scrypt);

/**
 * Seals the frames of one backup by AES-256-GCM. The key is another for each backup, and the nonce is the
 * frame's number: none comes twice. What a frame is and where it stands is sealed with it.
 */
export class BackupKey {
  private constructor(private readonly key: Buffer) {}

  /**
   * @param salt of the backup
   * @throws SessionBackupError (`SESSION_BACKUP_KEY`) for a key that is too short
   */
  static async from(secret: string, salt: string): Promise<BackupKey> {
    if (secret.length < SHORTEST_KEY) {
      throw wrongKey(
        `The key of a backup has at least ${SHORTEST_KEY} characters: make one with \`openssl rand -base64 32\`.`,
      );
    }
    return new BackupKey(await derive(secret, salt, 32, COST));
  }

  /** Tells this key from others, and nothing about it. */
  get proof(): string {
    return createHmac('sha256', this.key).update('session backup').digest('base64url');
  }

  isProvenBy(proof: string): boolean {
    const [one, other] = [Buffer.from(this.proof), Buffer.from(proof)];
    return one.length === other.length && timingSafeEqual(one, other);
  }

  seal(payload: Buffer, number: number, context: Buffer): Buffer {
    const cipher = createCipheriv('aes-256-gcm', this.key, nonceOf(number));
    cipher.setAAD(context);
    return Buffer.concat([cipher.update(payload), cipher.final(), cipher.getAuthTag()]);
  }

  /** @throws SessionBackupError (`SESSION_BACKUP_DAMAGED`) */
  open(sealed: Buffer, number: number, context: Buffer): Buffer {
    const options = { authTagLength: TAG };
    const decipher = createDecipheriv('aes-256-gcm', this.key, nonceOf(number), options);
    try {
      decipher.setAAD(context);
      decipher.setAuthTag(sealed.subarray(-TAG));
      return Buffer.concat([decipher.update(sealed.subarray(0, -TAG)), decipher.final()]);
    } catch {
      throw damaged('an encrypted part');
    }
  }
}

function nonceOf(number: number): Buffer {
  const nonce = Buffer.alloc(NONCE);
  nonce.writeUIntBE(number, NONCE - 6, 6);
  return nonce;
}
