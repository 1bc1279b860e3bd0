import type { SessionCodec } from './session-codec.interface.js';
import { SessionSerializationError } from './session.errors.js';

/** Deeper than any real session, shallow enough that no walk overflows the stack. */
const MAX_DEPTH = 100;
/** Names at the beginning of a path that is too deep; the rest tells nothing. */
const NAMED = 10;

/** JSON that refuses what it would otherwise drop or change in silence. */
export const jsonSessionCodec: SessionCodec = {
  encode(data) {
    // Not the data itself: an attribute named `toJSON` must not speak for all others.
    const found = flawOfAttributes(data, 0);
    if (found) throw new SessionSerializationError(whereOf(found), found.what);
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

const whereOf = ({ path }: Flaw): string =>
  path.length > MAX_DEPTH / 2 ? `${path.slice(0, NAMED).join('.')}…` : path.join('.');

/** Something that JSON cannot hold, and where it is. */
interface Flaw {
  readonly what: string;
  /** Put together on the way back, from the inside out: a walk without a flaw pays for no path. */
  readonly path: string[];
}

const flaw = (what: string): Flaw => ({ what, path: [] });

function flawOf(value: unknown, depth: number): Flaw | undefined {
  switch (typeof value) {
    case 'string':
    case 'boolean':
    case 'undefined':
      return undefined;
    case 'number':
      return Number.isFinite(value) ? undefined : flaw(String(value));
    case 'object':
      return value === null ? undefined : flawOfObject(value, depth);
    default:
      return flaw(`a ${typeof value}`);
  }
}

function flawOfObject(value: object, depth: number): Flaw | undefined {
  if (depth > MAX_DEPTH) return flaw(`a cycle or more than ${MAX_DEPTH} levels`);
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      if (value[i] === undefined) return flaw('undefined in a list');
      const found = flawOf(value[i], depth + 1);
      if (found) return found;
    }
    return undefined;
  }
  // A class that says how it is written (Date, Decimal, …) is taken at its word.
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function') return undefined;
  if (Object.getPrototypeOf(value) !== Object.prototype) {
    // Maps, promises, errors and the like would become `{}`.
    const kind = Object.prototype.toString.call(value).slice('[object '.length, -1);
    if (kind !== 'Object') return flaw(`a ${kind}`);
  }
  return flawOfAttributes(value, depth);
}

function flawOfAttributes(object: object, depth: number): Flaw | undefined {
  for (const key in object) {
    const found = flawOf((object as Record<string, unknown>)[key], depth + 1);
    if (!found) continue;
    found.path.unshift(key);
    return found;
  }
  return undefined;
}
