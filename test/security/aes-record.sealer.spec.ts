import { describe, expect, it } from '@jest/globals';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { SessionRecords } from '../../lib/core/session-records.js';
import { nextVersion, type RecordHeader } from '../../lib/core/session-record.js';
import { AesRecordSealer } from '../../lib/security/aes-record.sealer.js';
import { Keyring } from '../../lib/security/keyring.js';

const OLD = 'older-Jd93kd02kdLs93kfj3kdlsk39f';
const NEW = 'newer-93kfj3kdlsk39fkslw0Jd93kd0';
const STRICT = { blind: false, acceptsPlain: false };
const sealerWith = (...secrets: string[]) => new AesRecordSealer(new Keyring(secrets), STRICT);

const CONTEXT = 'body somewhere';
const owner = handleOf(newSessionId());

describe('a sealed text', () => {
  it('is opened by every node with the secret, and is another one each time', () => {
    const [one, other] = [sealerWith(NEW), sealerWith(NEW)];
    const sealed = one.seal('a cart of grapes 🍇', owner, CONTEXT);
    expect(sealed).toMatch(/^[\w-]+$/);
    expect(one.seal('a cart of grapes 🍇', owner, CONTEXT)).not.toBe(sealed);
    expect(other.open(sealed, owner, CONTEXT)).toEqual({
      text: 'a cart of grapes 🍇',
      stale: false,
    });
  });

  it('is opened with any secret of the ring, and is stale unless that is the first', () => {
    const sealed = sealerWith(OLD).seal('grapes', owner, CONTEXT);
    expect(sealerWith(NEW, OLD).open(sealed, owner, CONTEXT)).toEqual({
      text: 'grapes',
      stale: true,
    });
    expect(sealerWith(OLD, NEW).open(sealed, owner, CONTEXT)?.stale).toBe(false);
    expect(sealerWith(NEW).open(sealed, owner, CONTEXT)).toBeUndefined();
  });

  it('is opened for its owner and in its place only', () => {
    const sealer = sealerWith(NEW);
    const sealed = sealer.seal('grapes', owner, CONTEXT);
    expect(sealer.open(sealed, handleOf(newSessionId()), CONTEXT)).toBeUndefined();
    expect(sealer.open(sealed, owner, 'head somewhere')).toBeUndefined();
  });

  it('is not opened if any one character was altered, or if some are missing', () => {
    const sealer = sealerWith(NEW);
    const sealed = sealer.seal('grapes', owner, CONTEXT);
    for (let at = 0; at < sealed.length; at++) {
      const other = sealed[at] === 'A' ? 'B' : 'A';
      const altered = sealed.slice(0, at) + other + sealed.slice(at + 1);
      // The last character may carry spare bits only.
      const [one, other64] = [altered, sealed].map((text) =>
        Buffer.from(text.slice(6), 'base64url'),
      );
      if (at >= 6 && one!.equals(other64!)) continue;
      expect(sealer.open(altered, owner, CONTEXT)).toBeUndefined();
      expect(sealer.open(sealed.slice(0, at), owner, CONTEXT)).toBeUndefined();
    }
    expect(sealer.open('', owner, CONTEXT)).toBeUndefined();
  });

  it('tells nothing of the secret by the name of its key', () => {
    const names = [OLD, NEW].map((secret) => sealerWith(secret).seal('', owner, '').slice(0, 6));
    expect(new Set(names).size).toBe(2);
    for (const secret of [OLD, NEW]) {
      const [key] = new Keyring([secret]).keysFor('record') as [Buffer];
      expect(names.some((name) => key.toString('base64url').includes(name))).toBe(false);
    }
  });
});

describe('records', () => {
  const header: RecordHeader = { createdAt: 1, absoluteEnd: 9e12, savedAt: 2 };
  const contents = { flashText: '', dataText: '{"cart":["grapes"]}' };

  it.each([true, false])('are read as they were written (blind: %s)', (blind) => {
    const records = new SessionRecords(
      new AesRecordSealer(new Keyring([NEW]), { blind, acceptsPlain: false }),
    );
    const id = newSessionId();
    const place = { handle: handleOf(id), id };
    const version = nextVersion();
    const value = records.encode(place, version, header, contents);
    expect(value.slice(0, 16)).toBe(`${version}1*`);
    expect(records.decode(value, place)).toMatchObject({
      kind: 'live',
      version,
      header,
      ...contents,
    });
    expect(records.headerOf(value.split('\n')[0] as string, place.handle)).toMatchObject(header);

    const seen = records.decode(value, { handle: place.handle });
    expect(seen).toMatchObject(blind ? { locked: true, dataText: '' } : contents);
    // Whoever can read the header only changes nothing else.
    const next = nextVersion(version);
    const amended = records.amend({ handle: place.handle }, seen as never, next, {
      ...header,
      savedAt: 3,
    });
    expect(amended.split('\n')[1]).toBe(value.split('\n')[1]);
    expect(records.decode(amended, place)).toMatchObject({
      version: next,
      header: { savedAt: 3 },
      ...contents,
    });
    // Contents of another time do not fit a header, nor a header of another time its version.
    const rewritten = records.encode(place, next, header, { ...contents, dataText: '{}' });
    const [head, body] = rewritten.split('\n') as [string, string];
    expect(records.decode(`${head}\n${value.split('\n')[1]}`, place)).toBeUndefined();
    expect(records.decode(`${amended.split('\n')[0]}\n${body}`, place)).toBeUndefined();
    expect(records.decode(version + rewritten.slice(14), place)).toBeUndefined();
  });

  it('that were sealed otherwise are written again: plain ones, blind ones and those that are not', () => {
    const id = newSessionId();
    const place = { handle: handleOf(id), id };
    const by = (blind: boolean) =>
      new SessionRecords(new AesRecordSealer(new Keyring([NEW]), { blind, acceptsPlain: true }));
    const version = nextVersion();
    const stale = (from: SessionRecords, to: SessionRecords) =>
      (to.decode(from.encode(place, version, header, contents), place) as { stale?: true }).stale;
    expect(stale(new SessionRecords(), by(false))).toBe(true);
    expect(stale(by(true), by(false))).toBe(true);
    expect(stale(by(false), by(true))).toBe(true);
    expect(stale(by(true), by(true))).toBeUndefined();
  });
});
