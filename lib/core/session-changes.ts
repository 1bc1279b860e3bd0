import type { SessionCodec } from './session-codec.interface.js';
import type { FlashMessages } from './session-record.js';
import { jsonSessionCodec } from './json-session.codec.js';
import type { SharedData } from './shared-data.js';
import { SessionDamagedError, SessionUnavailableError } from './session.errors.js';

type Data = Record<string, unknown>;

interface Contents {
  readonly data: Data;
  readonly flash: FlashMessages;
}

interface Operation {
  /** The attribute it settles; absent for flash messages. */
  readonly key?: string;
  apply(contents: Contents): void;
}

/** What a commit writes. */
export interface EncodedContents {
  readonly dataText: string;
  readonly flashText: string;
  /** Operations that are in it; later ones are not. */
  readonly operations?: number;
  /** Not readable here: the texts are none. */
  readonly locked?: true | undefined;
  /** The same data, decoded for all who only look at them. */
  readonly shared?: SharedData | undefined;
}

/**
 * The contents of one session in one request: decoded when they are first asked for, with a log
 * of what was done to them, so that it can be done again on a newer state.
 */
export class SessionChanges {
  #stored: EncodedContents | undefined;
  #contents: Contents | undefined;
  readonly #operations: Operation[] = [];
  /** Value of each logged attribute right after its last operation. */
  #settled: Map<string, unknown> | undefined;
  /** Encoding of each object that `update` computed: replaying computes another, without later changes. */
  #computed: Map<string, string> | undefined;
  /** Something mutable left this object: only comparing encodings tells whether it was changed. */
  #handedOut = false;
  /** What is stored cannot be decoded. */
  damaged = false;

  constructor(private readonly codec: SessionCodec) {}

  /** The live attributes. */
  get data(): Data {
    const { data } = this.#decoded();
    this.#handedOut = true;
    return data;
  }

  get isEmpty(): boolean {
    if (!this.#contents) return !this.#stored;
    return !hasKeys(this.#contents.data) && !hasKeys(this.#contents.flash);
  }

  get(key: string): unknown {
    const looked = this.#contents ? undefined : this.#lookAt(key);
    if (looked) return looked.value;
    const value = this.#decoded().data[key];
    if (isObject(value)) this.#handedOut = true;
    return value;
  }

  /** What cannot be changed by who gets it need not be a copy of their own. */
  #lookAt(key: string): { readonly value: unknown } | undefined {
    try {
      const data = this.#stored?.shared?.of(this.codec);
      if (!data) return undefined;
      const value = Object.hasOwn(data, key) ? data[key] : undefined;
      return isObject(value) || typeof value === 'function' ? undefined : { value };
    } catch {
      // It is found to be damaged where that has consequences.
      return undefined;
    }
  }

  set(key: string, value: unknown): void {
    this.#do({ key, apply: ({ data }) => assign(data, key, value) });
    // Who set it still holds it, and may change it after it was stored.
    if (isObject(value)) this.#handedOut = true;
  }

  clear(): void {
    const settled = (this.#settled ??= new Map());
    for (const key of Object.keys(this.#decoded().data)) settled.set(key, undefined);
    this.#do({ apply: (contents) => empty(contents) });
  }

  update(key: string, fn: (current: unknown) => unknown): unknown {
    this.#do({ key, apply: ({ data }) => assign(data, key, fn(data[key])) });
    this.#noteComputed(key);
    return this.get(key);
  }

  leaveFlash(key: string, message: unknown): void {
    this.#do({ apply: ({ flash }) => (flash[key] ??= []).push(message) });
  }

  takeFlash(key: string): unknown[] {
    const messages = this.#decoded().flash[key];
    if (!messages) return [];
    this.#do({
      apply: ({ flash }) => {
        // Only what was taken: somebody else may have left more meanwhile, also the same again.
        const taken = messages.map((message) => JSON.stringify(message));
        const left = flash[key]?.filter((message) => {
          const at = taken.indexOf(JSON.stringify(message));
          return at < 0 || (taken.splice(at, 1), false);
        });
        if (left?.length) flash[key] = left;
        else delete flash[key];
      },
    });
    return messages;
  }

  /** False if the contents are certainly as they were stored. No I/O, but encodes what was handed out. */
  get mayDiffer(): boolean {
    if (this.#operations.length > 0 || this.damaged) return true;
    if (!this.#handedOut || this.#isAsShared) return false;
    try {
      return this.encode() !== undefined;
    } catch {
      // What cannot be encoded is the commit's to refuse.
      return true;
    }
  }

  /** The contents as they would be written, `undefined` if they are as they were stored. */
  encode(): EncodedContents | undefined {
    if (!this.#handedOut && this.#operations.length === 0 && !this.damaged) return undefined;
    if (!this.#stored && this.isEmpty) return undefined;
    if (this.#operations.length === 0 && this.#isAsShared) return undefined;
    const encoded = this.encodeAll();
    const same =
      encoded.dataText === this.#stored?.dataText && encoded.flashText === this.#stored.flashText;
    return same ? undefined : encoded;
  }

  /** The contents as they would be written, changed or not. */
  encodeAll(): EncodedContents {
    if (!this.#contents && this.#stored) return unlocked(this.#stored);
    const { data, flash } = this.#decoded();
    return {
      dataText: this.codec.encode(data),
      flashText: hasKeys(flash) ? jsonSessionCodec.encode(flash) : '',
      operations: this.#operations.length,
    };
  }

  /** Forgets all contents and all that was done to them. */
  reset(): void {
    this.#stored = this.#contents = undefined;
    this.#operations.length = 0;
    this.#settled = this.#computed = undefined;
    this.#handedOut = this.damaged = false;
  }

  /** What was encoded is now stored; what was done since is still to be written. */
  stored(encoded: EncodedContents): void {
    this.#stored = encoded;
    this.#operations.splice(0, encoded.operations ?? 0);
    if (this.#operations.length > 0) return;
    this.#settled = this.#computed = undefined;
  }

  /** Does all that was done so far again on another stored state (`undefined`: on an empty one). */
  rebase(stored: EncodedContents | undefined): void {
    if (!this.#contents) {
      this.#stored = stored;
      return;
    }
    this.#logMutations();
    const keys = [...(this.#settled?.keys() ?? [])];
    // In place: the application may hold a reference to the data.
    const contents = this.#contents;
    empty(contents);
    this.#stored = stored;
    if (stored) {
      const fresh = this.#decode(stored);
      Object.assign(contents.data, fresh.data);
      Object.assign(contents.flash, fresh.flash);
    }
    for (const operation of this.#operations) operation.apply(contents);
    for (const key of keys) this.#settled?.set(key, contents.data[key]);
    for (const key of this.#computed?.keys() ?? []) this.#noteComputed(key);
  }

  /** What was handed out is still what others share. */
  get #isAsShared(): boolean {
    const shared = this.#stored?.shared;
    if (!shared || !this.#contents || this.damaged || this.#operations.length > 0) return false;
    const { data, flash } = this.#contents;
    return !this.#stored?.flashText && !hasKeys(flash) && shared.equals(data, this.codec);
  }

  #decoded(): Contents {
    return (this.#contents ??= this.#stored
      ? this.#decode(this.#stored)
      : { data: bare(), flash: bare() });
  }

  /** Late, when the session was already found: so what cannot be read is an error, and then ended. */
  #decode(stored: EncodedContents): Contents {
    unlocked(stored);
    try {
      const flash = stored.flashText ? (JSON.parse(stored.flashText) as FlashMessages) : undefined;
      const data = stored.shared?.copy(this.codec) ?? this.codec.decode(stored.dataText);
      return { data, flash: Object.assign(bare(), flash) };
    } catch {
      this.damaged = true;
      throw new SessionDamagedError();
    }
  }

  #do(operation: Operation): void {
    const contents = this.#decoded();
    operation.apply(contents);
    this.#operations.push(operation);
    if (operation.key === undefined) return;
    (this.#settled ??= new Map()).set(operation.key, contents.data[operation.key]);
    this.#computed?.delete(operation.key);
  }

  #noteComputed(key: string): void {
    const value = this.#decoded().data[key];
    if (isObject(value)) (this.#computed ??= new Map()).set(key, this.#textOf(key, value));
    else this.#computed?.delete(key);
  }

  /** Turns what was changed through references into operations. */
  #logMutations(): void {
    if (!this.#handedOut) return;
    const now = this.#decoded().data;
    const before: Data = this.#stored ? this.#decode(this.#stored).data : {};
    for (const key of new Set([...Object.keys(before), ...Object.keys(now)])) {
      const untouched = this.#settled?.has(key)
        ? this.#settled.get(key) === now[key] && this.#isAsComputed(key, now[key])
        : this.#textOf(key, before[key]) === this.#textOf(key, now[key]);
      if (!untouched) this.set(key, now[key]);
    }
  }

  #isAsComputed(key: string, value: unknown): boolean {
    const computed = this.#computed?.get(key);
    return computed === undefined || computed === this.#textOf(key, value);
  }

  #textOf(key: string, value: unknown): string {
    return this.codec.encode({ [key]: value });
  }
}

function unlocked(stored: EncodedContents): EncodedContents {
  if (!stored.locked) return stored;
  throw new SessionUnavailableError(
    'The data of this session are sealed with its id: only a request of its client can read or change them.',
  );
}

const bare = <T>(): Record<string, T> => Object.create(null) as Record<string, T>;

const isObject = (value: unknown): value is object => typeof value === 'object' && value !== null;

function hasKeys(object: object): boolean {
  for (const _ in object) return true;
  return false;
}

function assign(data: Data, key: string, value: unknown): void {
  if (value === undefined) delete data[key];
  else data[key] = value;
}

function empty({ data, flash }: Contents): void {
  for (const key of Object.keys(data)) delete data[key];
  for (const key of Object.keys(flash)) delete flash[key];
}
