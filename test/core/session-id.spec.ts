import { describe, expect, it } from '@jest/globals';
import { createHash } from 'node:crypto';
import {
  bucketOf,
  bucketOfHandle,
  handleOf,
  isHandle,
  isLasting,
  isSessionId,
  newSessionId,
} from '../../lib/core/session-id.js';

describe('a session id', () => {
  it('is 33 bytes in base64url, and never comes twice', () => {
    const ids = new Set<string>();
    for (let i = 0; i < 100_000; i++) ids.add(newSessionId());
    expect(ids.size).toBe(100_000);
    for (const id of ids) {
      if (!/^[A-Za-z0-9_-]{44}$/.test(id)) throw new Error(`not the shape of an id: ${id.length}`);
    }
    expect(Buffer.from(newSessionId(), 'base64url')).toHaveLength(33);
  });

  it('is random in every byte, the bucket included, but for the bit that tells lasting ones', () => {
    const seen = Array.from({ length: 33 }, () => new Set<number>());
    for (let i = 0; i < 5_000; i++) {
      Buffer.from(newSessionId(), 'base64url').forEach((byte, at) => seen[at]?.add(byte));
    }
    expect(seen.map((bytes) => bytes.size)).toEqual(seen.map((_, at) => (at === 1 ? 128 : 256)));
  });

  it('lies in the bucket that is asked for', () => {
    for (let bucket = 0; bucket < 256; bucket++) {
      const id = newSessionId(bucket);
      expect(Buffer.from(id, 'base64url')[0]).toBe(bucket);
      expect(parseInt(bucketOfHandle(handleOf(id)), 16)).toBe(bucket);
    }
  });

  it.each([
    '',
    'x'.repeat(43),
    'x'.repeat(45),
    `${'x'.repeat(43)}=`,
    `${'x'.repeat(43)}+`,
    `${'x'.repeat(44)}\n`,
    '../../x',
    '*',
    '{x}',
    `\0${'x'.repeat(43)}`,
    '🦊'.repeat(22),
    'x'.repeat(8_192),
  ])('has a shape that %j has not', (value) => {
    expect(isSessionId(value)).toBe(false);
    expect(isHandle(value)).toBe(false);
  });
});

describe('a handle', () => {
  it("is the bucket in hex and the id's SHA-256", () => {
    const id = newSessionId(0xa7);
    const digest = createHash('sha256').update(id).digest('base64url');
    expect(handleOf(id)).toBe(`a7${digest}`);
    expect(isHandle(handleOf(id))).toBe(true);
    expect(isSessionId(id)).toBe(true);
  });

  it('of a lasting session tells so, and its bucket all the same', () => {
    for (let bucket = 0; bucket < 256; bucket++) {
      const [usual, lasting] = [
        handleOf(newSessionId(bucket)),
        handleOf(newSessionId(bucket, true)),
      ];
      expect([isLasting(usual), isLasting(lasting)]).toEqual([false, true]);
      expect([isHandle(usual), isHandle(lasting)]).toEqual([true, true]);
      expect(bucketOfHandle(lasting)).toBe(bucketOfHandle(usual));
      expect(bucketOfHandle(usual)).toBe(usual.slice(0, 2));
    }
  });

  it('is none for an id, nor an id for a handle', () => {
    const id = newSessionId();
    expect(isHandle(id)).toBe(false);
    expect(isSessionId(handleOf(id))).toBe(false);
  });
});

describe('the bucket of a principal', () => {
  it('is always the same, and principals spread over the buckets', () => {
    expect(bucketOf('alice')).toBe(bucketOf('alice'));
    const buckets = new Set(Array.from({ length: 5_000 }, (_, i) => bucketOf(`user-${i}`)));
    expect(buckets.size).toBe(256);
  });
});
