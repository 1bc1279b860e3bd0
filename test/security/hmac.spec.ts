import { expect, it } from '@jest/globals';
import { createHmac, randomBytes } from 'node:crypto';
import { Hmac } from '../../lib/security/hmac.js';

it.each([1, 20, 32, 64])('is what Node computes, with a key of %d bytes', (size) => {
  const key = randomBytes(size);
  const hmac = new Hmac(key);
  for (const length of [44, 0, 44, 200, 3, 44]) {
    const text = randomBytes(length).toString('base64url').slice(0, length);
    expect(hmac.of(text)).toEqual(createHmac('sha256', key).update(text).digest());
  }
});

it('is that of RFC 4231, test case 2', () => {
  const mac = new Hmac(Buffer.from('Jefe')).of('what do ya want for nothing?');
  expect(mac.toString('hex')).toBe(
    '5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843',
  );
});

it('hands over a result of its own', () => {
  const hmac = new Hmac(randomBytes(32));
  const first = hmac.of('one');
  const copy = Buffer.from(first);
  hmac.of('two');
  expect(first).toEqual(copy);
});

it('refuses a key that would have to be hashed', () => {
  expect(() => new Hmac(Buffer.alloc(65))).toThrow(RangeError);
});
