import { describe, expect, it } from '@jest/globals';
import { jsonSessionCodec as codec } from '../../lib/core/json-session.codec.js';
import { SessionSerializationError } from '../../lib/core/session.errors.js';

function nested(levels: number): Record<string, unknown> {
  let data: Record<string, unknown> = {};
  for (let i = 0; i < levels; i++) data = { data };
  return data;
}

function cycle(): Record<string, unknown> {
  const data: Record<string, unknown> = { inner: { list: [] } };
  (data.inner as { list: unknown[] }).list.push(data);
  return data;
}

function refusal(data: Record<string, unknown>): SessionSerializationError {
  try {
    codec.encode(data);
  } catch (error) {
    if (error instanceof SessionSerializationError) return error;
    throw error;
  }
  throw new Error('it was encoded');
}

describe('the JSON codec', () => {
  it.each([
    {},
    { text: 'Grüße \0 \n 🦊 </script>', empty: '' },
    { n: 0, negative: -1.5e-7, max: Number.MAX_SAFE_INTEGER, yes: true, no: false, none: null },
    { list: [1, [2, { three: 3 }], null], nested: nested(90) },
  ])('gives back what it was given, and the same text again: %j', (data) => {
    const text = codec.encode(data);
    expect(codec.decode(text)).toEqual(data);
    expect(codec.encode(codec.decode(text))).toBe(text);
  });

  it('writes a class by its own word, and leaves out what is undefined', () => {
    const data = { at: new Date(0), url: new URL('http://a/'), gone: undefined };
    expect(codec.encode(data)).toBe('{"at":"1970-01-01T00:00:00.000Z","url":"http://a/"}');
  });

  it.each<[what: string, data: Record<string, unknown>, where: string]>([
    ['a function', { a: { b: () => 1 } }, 'a.b'],
    ['a symbol', { a: Symbol('s') }, 'a'],
    ['a bigint', { a: [{ b: 1n }] }, 'a.b'],
    ['NaN', { a: NaN }, 'a'],
    ['Infinity', { a: -Infinity }, 'a'],
    ['a Map', { a: new Map([[1, 2]]) }, 'a'],
    ['a Set', { a: new Set([1]) }, 'a'],
    ['a typed array', { a: new Uint8Array(2) }, 'a'],
    ['an ArrayBuffer', { a: new ArrayBuffer(2) }, 'a'],
    ['a promise that was not awaited', { user: Promise.resolve(1) }, 'user'],
    ['a RegExp', { a: /x/ }, 'a'],
    ['an Error', { a: new Error('x') }, 'a'],
    ['a WeakMap', { a: new WeakMap() }, 'a'],
    ['an undefined element of a list', { a: [1, undefined] }, 'a'],
    ['a hole in a list', { a: [1, , 2] }, 'a'], // eslint-disable-line no-sparse-arrays
  ])('refuses %s, and says where it is', (_, data, where) => {
    const error = refusal(data);
    expect(error.code).toBe('SESSION_NOT_SERIALIZABLE');
    expect(error.message).toContain(`"${where}"`);
    expect(error.message).toContain('use JSON values');
  });

  it('refuses a cycle and more than 100 levels, in time and without a long message', () => {
    for (const data of [cycle(), nested(150), nested(100_000)]) {
      expect(refusal(data).message).toMatch(/cycle or more than 100 levels/);
      expect(refusal(data).message.length).toBeLessThan(400);
    }
  });

  it('tells no value in its refusal', () => {
    const data = {
      password: { toString: () => 'hunter2', hunter2: 'hunter2', f: () => 'hunter2' },
    };
    expect(refusal(data).message).not.toContain('hunter2');
  });

  it.each(['__proto__', 'constructor', 'prototype', 'then', 'toJSON', 'toString', 'valueOf'])(
    'takes %s for an attribute like any other, at the top and inside',
    async (key) => {
      const text = `{"${key}":{"polluted":true},"inner":{"${key}":{"polluted":true}}}`;
      const data = codec.decode(text);
      expect(Object.keys(data)).toEqual([key, 'inner']);
      expect(Object.getPrototypeOf(data)).toBeNull();
      expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
      expect(codec.encode(data)).toBe(text);
      expect(await Promise.resolve(data)).toBe(data);
    },
  );

  it('has no attributes that nobody stored', () => {
    const data = codec.decode('{}');
    for (const key of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
      expect(data[key]).toBeUndefined();
    }
  });

  it('refuses a toJSON function among the attributes: it would speak for all of them', () => {
    expect(refusal({ a: 1, toJSON: () => ({ admin: true }) }).message).toContain('"toJSON"');
  });

  it.each(['', '{', '[]', 'null', '1', '"text"', '{"a":1}x', 'undefined', '\0'])(
    'reads nothing into %j',
    (text) => {
      expect(() => codec.decode(text)).toThrow();
    },
  );

  it('survives hostile depth: reading it harms nothing, writing it is refused', () => {
    const text = `{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
    let data: Record<string, unknown> = {};
    try {
      data = codec.decode(text);
    } catch (error) {
      expect(error).toBeInstanceOf(Error);
      return;
    }
    expect(refusal(data).code).toBe('SESSION_NOT_SERIALIZABLE');
  });
});
