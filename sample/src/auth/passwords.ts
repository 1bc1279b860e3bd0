import { scrypt, timingSafeEqual, type ScryptOptions } from 'node:crypto';
import { promisify } from 'node:util';

const derive = promisify<string, Buffer, number, ScryptOptions, Buffer>(scrypt);

/** As the OWASP Password Storage Cheat Sheet asks for, with little memory: 16 MiB for each login. */
const COST: ScryptOptions = { N: 2 ** 14, r: 8, p: 5 };

/**
 * Whether a password belongs to a stored one: salt and scrypt hash in base64url, with a dot between.
 * Takes the same time for any answer.
 */
export async function isPassword(password: string, stored: string): Promise<boolean> {
  const [salt = '', hash = ''] = stored.split('.');
  const expected = Buffer.from(hash, 'base64url');
  const salted = Buffer.from(salt, 'base64url');
  return timingSafeEqual(await derive(password, salted, expected.length, COST), expected);
}
