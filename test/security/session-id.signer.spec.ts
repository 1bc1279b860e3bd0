import { describe, expect, it } from '@jest/globals';
import { newSessionId } from '../../lib/core/session-id.js';
import { Hmac } from '../../lib/security/hmac.js';
import { Keyring } from '../../lib/security/keyring.js';
import { openWithId, sealWithId } from '../../lib/security/successor.sealer.js';
import { HmacSessionIdSigner } from '../../lib/security/session-id.signer.js';

const OLD = 'older-Jd93kd02kdLs93kfj3kdlsk39f';
const NEW = 'newer-93kfj3kdlsk39fkslw0Jd93kd0';
const signerWith = (...secrets: string[]) => new HmacSessionIdSigner(new Keyring(secrets));

const BASE64URL = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

/** Another spelling of the same bytes: the spare bits of the last character set. */
function otherSpelling(base64url: string): string {
  const last = BASE64URL.indexOf(base64url.at(-1) as string);
  return base64url.slice(0, -1) + BASE64URL[last | 1];
}

/** All strings that differ from the given one in one character. */
const alterations = (text: string): string[] =>
  Array.from(
    text,
    (char, at) => text.slice(0, at) + (char === 'A' ? 'B' : 'A') + text.slice(at + 1),
  );

describe('a signed token', () => {
  const id = newSessionId();

  it('proves its id, and is the same each time', () => {
    const signer = signerWith(NEW);
    const token = signer.sign(id);
    expect(token).toMatch(/^[A-Za-z0-9_-]{44}\.[A-Za-z0-9_-]{43}$/);
    expect(signer.sign(id)).toBe(token);
    expect(signer.verify(token)).toEqual({ id, stale: false });
    expect(signerWith(NEW).verify(token)).toEqual({ id, stale: false });
  });

  it('proves nothing if any one character was altered', () => {
    const signer = signerWith(NEW);
    const token = signer.sign(id);
    const accepted = alterations(token).filter((altered) => signer.verify(altered));
    expect(accepted).toEqual([]);
  });

  it('counts in its canonical spelling only', () => {
    const signer = signerWith(NEW);
    const token = signer.sign(id);
    const other = otherSpelling(token);
    expect(other).not.toBe(token);
    expect(Buffer.from(other.slice(45), 'base64url')).toEqual(
      Buffer.from(token.slice(45), 'base64url'),
    );
    expect(signer.verify(other)).toBeUndefined();
    for (const spelling of [
      `${token}=`,
      `${token} `,
      ` ${token}`,
      `${token}\n`,
      token.replace('.', '..'),
    ]) {
      expect(signer.verify(spelling)).toBeUndefined();
    }
  });

  it('is not proven by the id alone, by another id, or with the signature of another', () => {
    const signer = signerWith(NEW);
    const [one, other] = [signer.sign(id), signer.sign(newSessionId())];
    expect(signer.verify(id)).toBeUndefined();
    expect(signer.verify(`${id}.`)).toBeUndefined();
    expect(signer.verify(one.slice(0, 45) + other.slice(45))).toBeUndefined();
    expect(signer.verify('')).toBeUndefined();
    expect(signer.verify('x'.repeat(8_192))).toBeUndefined();
    expect(signer.verify(`${'🦊'.repeat(22)}.${'x'.repeat(43)}`)).toBeUndefined();
  });

  it('survives a rotation as a stale one, until its secret is dropped', () => {
    const old = signerWith(OLD).sign(id);
    const rotating = signerWith(NEW, OLD);
    expect(rotating.verify(old)).toEqual({ id, stale: true });
    expect(rotating.sign(id)).toBe(signerWith(NEW).sign(id));
    expect(rotating.verify(rotating.sign(id))).toEqual({ id, stale: false });
    expect(signerWith(NEW).verify(old)).toBeUndefined();
  });
});

describe('what a client has seen', () => {
  const id = newSessionId();
  const COUNTS = [1, 35, 36, 1_295, 4_294_967_295];
  const signer = signerWith(NEW);
  const open = signerWith();

  it.each(COUNTS)('travels behind the id, signed and unsigned: %d', (seen) => {
    const token = signer.sign(id, seen);
    expect(token).toMatch(/^[A-Za-z0-9_-]{44}~[1-9a-z][0-9a-z]{0,6}\.[A-Za-z0-9_-]{43}$/);
    expect(signer.verify(token)).toEqual({ id, stale: false, seen });
    expect(open.sign(id, seen)).toBe(`${id}~${seen.toString(36)}`);
    expect(open.verify(open.sign(id, seen))).toEqual({ id, stale: false, seen });
  });

  it('is in no token that tells nothing of it: those are as they always were', () => {
    expect(signer.sign(id)).toMatch(/^[A-Za-z0-9_-]{44}\.[A-Za-z0-9_-]{43}$/);
    expect(signer.verify(signer.sign(id))).toEqual({ id, stale: false });
    expect(signer.verify(signer.sign(id))).not.toHaveProperty('seen');
    expect(open.verify(id)).not.toHaveProperty('seen');
  });

  it('cannot be altered, left out, added or moved to another id where there is a secret', () => {
    const token = signer.sign(id, 1_295);
    expect(alterations(token).filter((altered) => signer.verify(altered))).toEqual([]);
    const mac = token.slice(token.indexOf('.'));
    const plain = signer.sign(id);
    const forged = [
      id + mac,
      `${id}~1${mac}`,
      `${id}~zz1${mac}`,
      `${id}~zz${plain.slice(44)}`,
      `${newSessionId()}~zz${mac}`,
      `${id}~zz`,
      `${token}~1`,
      `${plain}~1`,
    ];
    for (const one of forged) expect([one, signer.verify(one)]).toEqual([one, undefined]);
    expect(signer.verify(otherSpelling(token))).toBeUndefined();
  });

  it('counts in its one spelling only, and as long as a count can be', () => {
    const spellings = [
      '~',
      '~0',
      '~01',
      '~Z',
      '~1~1',
      '~-1',
      '~1.',
      '~ 1',
      '~1 ',
      '~é',
      '1',
      '~1\n',
    ];
    const long = `~${'1'.repeat(8)}`;
    for (const spelling of [...spellings, long, `~${'z'.repeat(4_000)}`]) {
      expect([spelling, open.verify(id + spelling)]).toEqual([spelling, undefined]);
      // Not even with a signature that is right.
      const [key] = new Keyring([NEW]).keysFor('session-id') as [Buffer];
      const signed = `${id}${spelling}.${new Hmac(key).of(id + spelling).toString('base64url')}`;
      expect([spelling, signer.verify(signed)]).toEqual([spelling, undefined]);
    }
    expect(open.verify(`${id}~zzzzzzz`)).toMatchObject({ id });
  });

  it('survives a rotation of the secret with its id, until that secret is dropped', () => {
    const old = signerWith(OLD).sign(id, 7);
    expect(signerWith(NEW, OLD).verify(old)).toEqual({ id, stale: true, seen: 7 });
    expect(signerWith(NEW, OLD).sign(id, 7)).toBe(signer.sign(id, 7));
    expect(signer.verify(old)).toBeUndefined();
    expect(open.verify(old)).toBeUndefined();
  });
});

describe('a token without secrets', () => {
  it('is the id itself, and anything else is refused', () => {
    const signer = signerWith();
    const id = newSessionId();
    expect(signer.sign(id)).toBe(id);
    expect(signer.verify(id)).toEqual({ id, stale: false });
    for (const token of ['', 'x', `${id}x`, signerWith(NEW).sign(id), '*'.repeat(44)]) {
      expect(signer.verify(token)).toBeUndefined();
    }
  });
});

describe('the keyring', () => {
  it('derives a key for a purpose, never uses a secret as it is, and keeps the order', () => {
    const keys = new Keyring([NEW, OLD]).keysFor('session-id');
    expect(keys.map((key) => key.length)).toEqual([32, 32]);
    expect(keys[0]).not.toEqual(keys[1]);
    for (const key of keys) {
      expect(key.equals(Buffer.from(NEW))).toBe(false);
      expect(NEW.includes(key.toString('latin1'))).toBe(false);
    }
    expect(new Keyring([OLD, NEW]).keysFor('session-id')).toEqual([keys[1], keys[0]]);
    expect(new Keyring([]).keysFor('session-id')).toEqual([]);
  });
});

describe("a successor's id", () => {
  const [oldId, successor] = [newSessionId(), newSessionId()];

  it('is readable with the old id only', () => {
    const signer = signerWith();
    const sealed = signer.sealSuccessor(oldId, successor);
    expect(signer.openSuccessor(oldId, sealed)).toBe(successor);
    expect(signer.openSuccessor(newSessionId(), sealed)).toBeUndefined();
    expect(signer.openSuccessor(successor, sealed)).toBeUndefined();
    expect(sealed).not.toContain(successor);
    expect(Buffer.from(sealed, 'base64url').toString('latin1')).not.toContain(successor);
  });

  it('is sealed differently each time', () => {
    const sealed = new Set(Array.from({ length: 100 }, () => sealWithId(oldId, successor)));
    expect(sealed.size).toBe(100);
  });

  it('is not read from anything that was altered or cut', () => {
    const sealed = sealWithId(oldId, successor);
    const opened = alterations(sealed).filter(
      (altered) => openWithId(oldId, altered) !== undefined,
    );
    expect(opened).toEqual([]);
    for (let length = 0; length < sealed.length; length++) {
      expect(openWithId(oldId, sealed.slice(0, length))).toBeUndefined();
    }
    expect(openWithId(oldId, 'not base64url at all!')).toBeUndefined();
  });

  it('counts only if it is an id', () => {
    const signer = signerWith();
    expect(signer.openSuccessor(oldId, sealWithId(oldId, '../../x'))).toBeUndefined();
    expect(signer.openSuccessor(oldId, sealWithId(oldId, ''))).toBeUndefined();
    expect(openWithId(oldId, sealWithId(oldId, 'Grüße'))).toBe('Grüße');
  });
});
