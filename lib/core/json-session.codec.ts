import type { SessionCodec } from './session-codec.interface.js';
import { SessionSerializationError } from './session.errors.js';

/** Deeper than any real session, shallow enough that no walk overflows the stack. */
const MAX_DEPTH = 100;

/** JSON that refuses what it would otherwise drop or change in silence. */
export const jsonSessionCodec: SessionCodec = {
  encode(data) {
    // Not the data itself: an attribute named `toJSON` must not speak for all others.
    assertAttributesStorable(data, '', 0);
    return JSON.stringify(data);
  },

  decode(text) {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
      throw new TypeError('session data is not an object');
    }
    // Without a prototype, keys such as `__proto__` or `constructor` are keys like any other.
    return Object.assign(Object.create(null) as Record<string, unknown>, parsed);
  },
};

function assertStorable(value: unknown, path: string, depth: number): void {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'undefined':
      return;
    case 'number':
      if (Number.isFinite(value)) return;
      throw new SessionSerializationError(path, String(value));
    case 'object':
      return assertObjectStorable(value, path, depth);
    default:
      throw new SessionSerializationError(path, `a ${typeof value}`);
  }
}

function assertObjectStorable(value: object | null, path: string, depth: number): void {
  if (value === null) return;
  if (depth > MAX_DEPTH) {
    throw new SessionSerializationError(
      path.slice(0, 60),
      `a cycle or more than ${MAX_DEPTH} levels`,
    );
  }
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      if (value[i] === undefined) throw new SessionSerializationError(path, 'undefined in a list');
      assertStorable(value[i], path, depth + 1);
    }
    return;
  }
  // A class that says how it is written (Date, Decimal, …) is taken at its word.
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return;
  // Maps, promises, errors and the like would become `{}`.
  const kind = Object.prototype.toString.call(value).slice('[object '.length, -1);
  if (kind !== 'Object') throw new SessionSerializationError(path, `a ${kind}`);
  assertAttributesStorable(value, path, depth);
}

function assertAttributesStorable(object: object, path: string, depth: number): void {
  for (const key in object) {
    assertStorable(
      (object as Record<string, unknown>)[key],
      path ? `${path}.${key}` : key,
      depth + 1,
    );
  }
}
