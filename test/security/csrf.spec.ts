import { describe, expect, it } from '@jest/globals';
import {
  isCsrfTokenOf,
  judgeSource,
  maskedCsrfToken,
  type CsrfRules,
  type RequestSource,
} from '../../lib/security/csrf.js';

const SEED = 'kJf83_kd-2lsP0aZxQw7Rt';
const OTHER = 'kJf83_kd-2lsP0aZxQw7Ru';
const bytesOf = (token: string) => Buffer.from(token, 'base64url');

describe('a CSRF token', () => {
  it('is another one each time, and proves itself each time', () => {
    const tokens = Array.from({ length: 1_000 }, () => maskedCsrfToken(SEED));
    expect(new Set(tokens).size).toBe(1_000);
    expect(tokens.every((token) => /^[\w-]{43}$/.test(token))).toBe(true);
    expect(tokens.every((token) => isCsrfTokenOf(SEED, token))).toBe(true);
  });

  it('has nothing in it that stays the same, at any place', () => {
    const tokens = Array.from({ length: 2_000 }, () => bytesOf(maskedCsrfToken(SEED)));
    for (let place = 0; place < 32; place++) {
      const seen = new Map<number, number>();
      for (const bytes of tokens) seen.set(bytes[place]!, (seen.get(bytes[place]!) ?? 0) + 1);
      // Evenly spread over 256 values, one is hit 8 times; 30 is out of reach.
      expect(seen.size).toBeGreaterThan(230);
      expect(Math.max(...seen.values())).toBeLessThan(30);
    }
  });

  it('does not tell the seed', () => {
    const bytes = bytesOf(maskedCsrfToken(SEED));
    const unmasked = Buffer.from(bytes.subarray(16).map((byte, i) => byte ^ bytes[i]!));
    expect(unmasked.equals(Buffer.from(SEED, 'base64url').subarray(0, 16))).toBe(false);
  });

  it('proves nothing for another session', () => {
    expect(isCsrfTokenOf(OTHER, maskedCsrfToken(SEED))).toBe(false);
  });

  it('proves nothing when any of its bits is another', () => {
    const token = bytesOf(maskedCsrfToken(SEED));
    for (let bit = 0; bit < 256; bit++) {
      const altered = Buffer.from(token);
      altered[bit >> 3]! ^= 1 << (bit & 7);
      expect(isCsrfTokenOf(SEED, altered.toString('base64url'))).toBe(false);
    }
  });

  it.each([
    ['nothing', undefined],
    ['null', null],
    ['an empty text', ''],
    ['a number', 0],
    ['a list', [maskedCsrfToken(SEED)]],
    ['an object', { length: 43 }],
    ['the seed', SEED],
    ['zeros', 'A'.repeat(43)],
    ['one character too few', maskedCsrfToken(SEED).slice(1)],
    ['one character too many', `${maskedCsrfToken(SEED)}A`],
    ['two of them', `${maskedCsrfToken(SEED)}, ${maskedCsrfToken(SEED)}`],
    ['other letters', 'ä'.repeat(43)],
    ['a line break at the end', `${maskedCsrfToken(SEED)}\n`],
    ['a megabyte', 'A'.repeat(1_048_576)],
  ])('is not %s', (_, token) => {
    expect(isCsrfTokenOf(SEED, token)).toBe(false);
  });
});

describe('where a request comes from', () => {
  const rules: CsrfRules = {
    origins: new Set(['https://partner.test']),
    always: false,
    header: 'X-CSRF-Token',
    field: '_csrf',
  };
  const own = 'https://shop.test';
  const judge = (given: Partial<RequestSource>, by = rules) =>
    judgeSource({ method: 'POST', site: undefined, origin: undefined, own, ...given }, by);

  it.each<[Partial<RequestSource>, string, string]>([
    [{ site: 'same-origin' }, 'pass', 'token'],
    [{ site: 'none' }, 'pass', 'token'],
    [{ origin: own }, 'pass', 'token'],
    [{}, 'token', 'token'],
    [{ site: 'cross-site', origin: 'https://partner.test' }, 'token', 'token'],
    [{ site: 'same-site', origin: 'https://partner.test' }, 'token', 'token'],
    [{ origin: 'https://partner.test' }, 'token', 'token'],
    [{ site: 'same-site' }, 'refuse', 'refuse'],
    [{ site: 'cross-site' }, 'refuse', 'refuse'],
    [{ site: 'cross-site', origin: own }, 'refuse', 'refuse'],
    [{ site: '' }, 'refuse', 'refuse'],
    [{ site: 'same-origin, cross-site' }, 'refuse', 'refuse'],
    [{ origin: 'null' }, 'refuse', 'refuse'],
    [{ origin: '' }, 'refuse', 'refuse'],
    [{ origin: 'https://shop.test.evil.test' }, 'refuse', 'refuse'],
    [{ origin: 'https://partner.test.' }, 'refuse', 'refuse'],
    [{ origin: own, own: undefined }, 'refuse', 'refuse'],
  ])('%j: %s; where tokens are asked for always: %s', (given, verdict, strict) => {
    expect(judge(given)).toBe(verdict);
    expect(judge(given, { ...rules, always: true })).toBe(strict);
  });

  it.each(['GET', 'HEAD', 'OPTIONS'])('does not matter for %s', (method) => {
    expect(judge({ method, site: 'cross-site' })).toBe('pass');
  });

  it.each(['PUT', 'DELETE', 'get', 'TRACE', 'QUERY', ''])('matters for "%s"', (method) => {
    expect(judge({ method, site: 'cross-site' })).toBe('refuse');
  });
});
