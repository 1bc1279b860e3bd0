import { describe, expect, it } from '@jest/globals';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import {
  decodeRecord,
  encodeLive,
  encodeRetired,
  nextVersion,
  versionOf,
  type RecordHeader,
} from '../../lib/core/session-record.js';
import { VERSION_LENGTH } from '../../lib/core/session-store.interface.js';
import { SessionFormatError } from '../../lib/core/session.errors.js';

const header: RecordHeader = {
  createdAt: 1_000,
  absoluteEnd: 90_000,
  savedAt: 2_000,
  identity: {
    principal: 'alice "the\n admin"',
    roles: ['admin', 'grüße'],
    permissions: ['orders:write'],
    factors: { pwd: 1_500, otp: 1_700 },
    claims: { tenant: 't1' },
    authenticatedAt: 1_500,
    label: 'My phone',
    clientKind: 'mobile',
    idpSession: 'sid-1',
    client: { address: '192.0.2.1', browser: 'Firefox 145', os: 'Linux', device: undefined },
    actor: {
      principal: 'admin',
      roles: ['root'],
      permissions: [],
      factors: {},
      claims: {},
      authenticatedAt: 1_400,
    },
  },
  declared: ['i.tenant:AAAAAAAAAAAAAAAAAAAAAA'],
  renew: true,
  realm: 'admin',
};

const live = (dataText = '{"cart":[1]}', flashText = '', over: Partial<RecordHeader> = {}) =>
  encodeLive(nextVersion(), { ...header, ...over }, flashText, dataText);

describe('a version', () => {
  it('has a fixed width, counts on from the one before and is unique', () => {
    const first = nextVersion();
    expect(first).toHaveLength(VERSION_LENGTH);
    expect(first.slice(0, 8)).toBe('00000001');
    expect(nextVersion(first).slice(0, 8)).toBe('00000002');
    expect(nextVersion(`000000ff${'x'.repeat(6)}`).slice(0, 8)).toBe('00000100');
    const many = new Set(Array.from({ length: 10_000 }, () => nextVersion(first)));
    expect(many.size).toBe(10_000);
  });
});

describe('a live record', () => {
  it.each([
    ['{"cart":[1]}', '{"info":["hi"]}'],
    ['{}', ''],
    ['{"text":"a\\nb \\u0000 Grüße 🦊"}', ''],
    ['a codec may write\nany text\n', '{"a":["\\n"]}'],
    ['', ''],
  ])('comes back as it was written: %j %j', (dataText, flashText) => {
    const version = nextVersion();
    const value = encodeLive(version, header, flashText, dataText);
    expect(versionOf(value)).toBe(version);
    expect(decodeRecord(value)).toEqual({ kind: 'live', version, header, flashText, dataText });
  });

  it('of an anonymous session carries neither principal nor roles', () => {
    const value = live('{}', '', { identity: undefined, declared: [], renew: undefined });
    expect(value).not.toMatch(/"[prmfqaltdkoxw]":/);
    const record = decodeRecord(value);
    expect(record).toMatchObject({ kind: 'live', header: { createdAt: 1_000 } });
    expect(record).not.toHaveProperty('header.identity', expect.anything());
  });

  it('counts as absent if it was truncated, at whatever place', () => {
    const value = live('{"cart":[1,2,3]}', '{"info":["hi"]}');
    for (let length = 0; length < value.length; length++) {
      expect({ length, record: decodeRecord(value.slice(0, length)) }).toEqual({ length });
    }
    expect(decodeRecord(`${value} `)).toBeUndefined();
  });

  it.each([
    ['no record at all', 'garbage'],
    ['an empty header', '\n\n{}'],
    ['a header that is null', 'null\n\n'],
    ['a header that is a list', '[2]\n\n{}'],
    ['a header without times', '{"n":2}\n\n{}'],
    ['times that are no numbers', '{"n":2,"c":"1","e":2,"s":3}\n\n{}'],
    ['an end that JSON cannot hold', '{"n":2,"c":1,"e":null,"s":3}\n\n{}'],
    ['a principal that is no text', '{"n":2,"c":1,"e":2,"s":3,"p":{"a":1}}\n\n{}'],
  ])('counts as absent if it is damaged: %s', (_, rest) => {
    expect(decodeRecord(`${nextVersion()}1${rest}`)).toBeUndefined();
  });

  it('ignores what the next version may add to the header', () => {
    const text = '{"n":2,"c":1,"e":2,"s":3,"p":"alice","zz":{"later":true},"__proto__":{"x":1}}';
    const record = decodeRecord(`${nextVersion()}1${text}\n\n{}`);
    expect(record).toMatchObject({ kind: 'live', header: { identity: { principal: 'alice' } } });
    expect(record).not.toHaveProperty('header.x');
  });
});

describe('what is left of a renewed id', () => {
  const successor = handleOf(newSessionId());

  it.each([
    { privileged: false, ofPrincipal: false },
    { privileged: true, ofPrincipal: false },
    { privileged: true, ofPrincipal: true },
  ])('comes back as it was written: %j', (traits) => {
    const version = nextVersion();
    const record = { version, until: 1_700_000_000_000, successor, sealed: 'a_b-C', ...traits };
    expect(decodeRecord(encodeRetired(record))).toEqual({ kind: 'retired', ...record });
  });

  it.each([
    ['nothing', ''],
    ['no successor', '1700000000000'],
    ['a successor that is no handle', '1700000000000.../../x.sealed'],
    ['nothing sealed', `1700000000000.${successor}.`],
    ['a time that is none', `soon.${successor}.sealed`],
    ['an end without limit', `Infinity.${successor}.sealed`],
  ])('counts as absent if it is damaged: %s', (_, rest) => {
    expect(decodeRecord(`${nextVersion()}>${rest}`)).toBeUndefined();
    expect(decodeRecord(`${nextVersion()}!${rest}`)).toBeUndefined();
    expect(decodeRecord(`${nextVersion()}?${rest}`)).toBeUndefined();
  });
});

describe('a value of another kind', () => {
  it.each(['2', '9', 'A', 'Z'])(
    'that a newer format writes (%s) is an error, never absent',
    (kind) => {
      expect(() => decodeRecord(`${nextVersion()}${kind}whatever`)).toThrow(SessionFormatError);
    },
  );

  it.each(['', 'x', '{"json":"of something else"}', '\0'.repeat(40), 'ÿ'.repeat(20)])(
    'that nobody of us wrote counts as absent: %j',
    (value) => {
      expect(decodeRecord(value)).toBeUndefined();
    },
  );
});
