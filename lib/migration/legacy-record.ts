/** Attributes of a session. */
export type Attributes = Record<string, unknown>;

/** Whose session it is, and what is in it. */
export interface MappedSession {
  /** `undefined`: nobody is logged in. */
  readonly principal?: string | undefined;
  /** @default all attributes, as they are */
  readonly data?: Attributes;
  /** @default none */
  readonly roles?: readonly string[];
  /** @default none */
  readonly permissions?: readonly string[];
  /** @default none */
  readonly claims?: Attributes;
  /** What was proven at the login. @default none */
  readonly factors?: readonly string[];
  /** What people call the device. @default none */
  readonly label?: string;
  /** A lasting session. @default false */
  readonly rememberMe?: boolean;
}

/** A session of this library, as it is to be written for the other one. */
export interface SessionToUnmap {
  readonly principal: string | undefined;
  readonly roles: readonly string[];
  readonly permissions: readonly string[];
  readonly claims: Readonly<Attributes>;
  readonly data: Attributes;
}

/** Who of this library has written a record last, and from what version of its session. */
export interface Mark {
  readonly handle: string;
  readonly count: number;
}

/** A record of the other library. */
export interface LegacyRecord {
  /** As it is stored. */
  readonly text: string;
  readonly cookie: Readonly<Attributes>;
  readonly data: Attributes;
  /** `undefined`: the other library has written it last. */
  readonly mark: Mark | undefined;
}

/**
 * Where the mark stands: in the record's `cookie`, of which the other library keeps only what it knows. So it
 * is gone as soon as that library writes the record, and no application ever sees it.
 */
const MARK = 'nestjs-distributed-session';

/** Longer ones were not written by an application that works. */
const LONGEST = 4 * 1024 * 1024;

/** A stored text as a record; `undefined` for what is none. */
export function parseRecord(text: string): LegacyRecord | undefined {
  if (text.length > LONGEST) return undefined;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (!isObject(parsed)) return undefined;
  // Without a prototype, and without what would give a copy one.
  const { cookie, __proto__: _, ...data } = Object.assign(bare(), parsed);
  const known = isObject(cookie) ? { ...cookie } : {};
  const mark = markIn(known[MARK]);
  delete known[MARK];
  return { text, cookie: known, data: Object.assign(bare(), data), mark };
}

/** A record as the other library would write it. */
export function composeRecord(cookie: Readonly<Attributes>, data: Attributes, mark?: Mark) {
  const marked = mark ? { ...cookie, [MARK]: { h: mark.handle, n: mark.count } } : cookie;
  const text = JSON.stringify({ ...data, cookie: marked });
  return { text, cookie, data, mark } satisfies LegacyRecord;
}

/** How long a record lives, in milliseconds; `undefined`: it does not say. */
export function maxAgeOf({ cookie }: Pick<LegacyRecord, 'cookie'>): number | undefined {
  const { originalMaxAge } = cookie;
  return typeof originalMaxAge === 'number' && originalMaxAge > 0 ? originalMaxAge : undefined;
}

/** When a record says that it ends, in milliseconds since the epoch; `undefined`: it does not. */
export function endOf({ cookie }: LegacyRecord): number | undefined {
  const end = typeof cookie.expires === 'string' ? Date.parse(cookie.expires) : NaN;
  return Number.isNaN(end) ? undefined : end;
}

/** A change of one attribute; `undefined`: it is not there any more. */
export type Change = readonly [key: string, value: unknown];

/** Attributes that the other library cannot have: that they are not there says nothing. */
const UNKNOWN_THERE: ReadonlySet<string> = new Set(['cookie', '__proto__']);

/** What makes one set of attributes the other. */
export function changesBetween(from: Attributes, to: Attributes): Change[] {
  const keys = new Set([...Object.keys(from), ...Object.keys(to)]);
  return [...keys]
    .filter((key) => !UNKNOWN_THERE.has(key) && !isSame(from[key], to[key]))
    .map((key) => [key, to[key]] as const);
}

/** What both sides made of the same attributes: of one that both have changed, ours stands. */
export function merged(base: Attributes, theirs: Attributes, ours: Attributes): Attributes {
  const result: Attributes = Object.assign(bare(), theirs);
  for (const [key, value] of changesBetween(base, ours)) {
    if (value === undefined) delete result[key];
    else result[key] = value;
  }
  return result;
}

/** By default: whose session it is says passport, and all attributes stay as they are. */
export function mapPassport(legacy: Attributes): MappedSession {
  const { passport } = legacy;
  const user = isObject(passport) ? passport.user : undefined;
  const isName = (typeof user === 'string' && user !== '') || typeof user === 'number';
  return { principal: isName ? String(user) : undefined, data: legacy };
}

/** The way back: who logged in here is logged in for passport as well. */
export function unmapPassport({ principal, data }: SessionToUnmap): Attributes {
  if (principal === undefined || mapPassport(data).principal === principal) return data;
  const passport = isObject(data.passport) ? data.passport : {};
  return { ...data, passport: { ...passport, user: principal } };
}

function markIn(value: unknown): Mark | undefined {
  if (!isObject(value)) return undefined;
  const { h, n } = value;
  return typeof h === 'string' && typeof n === 'number' ? { handle: h, count: n } : undefined;
}

const bare = (): Attributes => Object.create(null) as Attributes;
const isSame = (one: unknown, other: unknown): boolean =>
  one === other || JSON.stringify(one) === JSON.stringify(other);
const isObject = (value: unknown): value is Attributes =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
