import { jsonSessionCodec } from './json-session.codec.js';
import type { SessionCodec } from './session-codec.interface.js';

type Data = Readonly<Record<string, unknown>>;

/** The data of a record that several requests share: decoded once, looked at, and copied for who may change them. */
export class SharedData {
  #data: Data | undefined;

  constructor(private readonly text: string) {}

  /** @throws what the codec throws */
  of(codec: SessionCodec): Data {
    return (this.#data ??= codec.decode(this.text));
  }

  /** A copy, at half the price of decoding; `undefined` for what is more than JSON, or nested too deep. */
  copy(codec: SessionCodec): Record<string, unknown> | undefined {
    if (codec !== jsonSessionCodec) return undefined;
    const data = this.of(codec);
    const copy = Object.create(null) as Record<string, unknown>;
    try {
      for (const key in data) copy[key] = copyOf(data[key]);
      return copy;
    } catch {
      return undefined;
    }
  }

  /** Whether data are certainly as these, without encoding them. */
  equals(data: Data, codec: SessionCodec): boolean {
    try {
      return codec === jsonSessionCodec && isSame(this.of(codec), data);
    } catch {
      return false;
    }
  }
}

/** What only JSON can hold, once more. */
export function copyOf(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(copyOf);
  const copy: Record<string, unknown> = {};
  for (const key of Object.keys(value)) {
    const one = copyOf((value as Data)[key]);
    // An attribute like any other here, but not to an assignment.
    if (key === '__proto__') Object.defineProperty(copy, key, { ...PLAIN, value: one });
    else copy[key] = one;
  }
  return copy;
}

const PLAIN = { configurable: true, enumerable: true, writable: true };

/** Whether what was decoded is still what it was: attributes of a class of its own say themselves how they are written. */
function isSame(one: unknown, other: unknown): boolean {
  if (one === other) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || !one || !other) return false;
  if (Array.isArray(one)) return Array.isArray(other) && isSameList(one, other);
  const prototype: unknown = Object.getPrototypeOf(other);
  if (prototype !== Object.prototype && prototype !== null) return false;
  let left = 0;
  for (const key in one) {
    if (!isSame((one as Data)[key], (other as Data)[key])) return false;
    left++;
  }
  for (const _ in other) left--;
  return left === 0;
}

function isSameList(one: readonly unknown[], other: readonly unknown[]): boolean {
  if (one.length !== other.length) return false;
  for (let i = 0; i < one.length; i++) if (!isSame(one[i], other[i])) return false;
  return true;
}
