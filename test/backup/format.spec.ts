import { beforeAll, describe, expect, it } from '@jest/globals';
import { createHash } from 'node:crypto';
import { DIGEST, FORMAT, FRAME_HEAD, MAGIC, PRELUDE } from '../../lib/backup/backup-format.js';
import type { BackupEntry } from '../../lib/backup/backup-format.js';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { BackupKey } from '../../lib/backup/backup-key.js';
import { HEADER, inPieces, read, written } from './bytes.js';

const SECRET = 'a key of a backup that has enough characters';

const entryOf = (i: number): BackupEntry => ({
  handle: handleOf(newSessionId()),
  value: `${String(i).padStart(8, '0')}abcdef1{"n":2,"c":1,"e":2,"s":1}\n\n{"ünïcödé":"\u0000 \ud800 😀 ${'x'.repeat(700)}"}`,
  end: 1_700_000_000_000 + i,
  places: i % 2 ? ['p:aaaaaaaaaaaaaaaaaaaaaa', 'i.tenant:bbbbbbbbbbbbbbbbbbbbbb'] : [],
  since: 5 - i,
  placesEnd: 1_800_000_000_000,
  notice: i % 3 ? `{"c":${i}}` : undefined,
});

/** More than one frame. */
const ENTRIES = Array.from({ length: 560 }, (_, i) => entryOf(i));

/** Where a backup's parts begin. */
function boundariesOf(bytes: Buffer): { name: string; at: number }[] {
  const found = [
    { name: 'magic', at: 0 },
    { name: 'format', at: MAGIC.length },
    { name: 'length of the header', at: MAGIC.length + 2 },
    { name: 'header', at: PRELUDE },
  ];
  let at = PRELUDE + bytes.readUInt32BE(MAGIC.length + 2);
  found.push({ name: 'digest of the header', at });
  at += DIGEST;
  for (let i = 1; at < bytes.length; i++) {
    const kind = bytes.toString('latin1', at, at + 1) === 'F' ? 'footer' : `frame ${i}`;
    const length = bytes.readUInt32BE(at + 1);
    found.push({ name: `type of ${kind}`, at });
    found.push({ name: `length of ${kind}`, at: at + 1 });
    found.push({ name: `checksum of ${kind}`, at: at + 5 });
    found.push({ name: `payload of ${kind}`, at: at + FRAME_HEAD });
    found.push({ name: `digest of ${kind}`, at: at + FRAME_HEAD + length });
    at += FRAME_HEAD + length + DIGEST;
  }
  expect(at).toBe(bytes.length);
  return found;
}

const failureOf = (
  bytes: Buffer,
  secret?: string | BackupKey,
): Promise<{ code?: string; message?: string }> =>
  read(bytes, secret).then(
    () => ({}),
    (error: { code?: string; message?: string }) => error,
  );

describe.each([
  ['plain', { compressed: false }],
  ['compressed', {}],
  ['encrypted', { secret: SECRET }],
  ['encrypted and not compressed', { secret: SECRET, compressed: false }],
])('a backup, %s', (_, options: { secret?: string; compressed?: boolean }) => {
  let secret: BackupKey | undefined;

  beforeAll(async () => {
    // To derive it takes a while, for good reason.
    if (options.secret) secret = await BackupKey.from(options.secret, HEADER.id);
  });

  it('gives back what was written, to the letter', async () => {
    const bytes = await written(ENTRIES, options);
    expect(await read(bytes, secret)).toEqual(ENTRIES);
    expect(
      boundariesOf(bytes).filter(({ name }) => name.startsWith('payload')).length,
    ).toBeGreaterThan(2);
  });

  it('may be empty', async () => {
    expect(await read(await written([], options), secret)).toEqual([]);
  });

  it('is refused whatever byte of whatever part is altered', async () => {
    const bytes = await written(ENTRIES, options);
    const boundaries = boundariesOf(bytes);
    for (const [i, { name, at }] of boundaries.entries()) {
      const next = boundaries[i + 1]?.at ?? bytes.length;
      for (const place of new Set([at, Math.floor((at + next) / 2), next - 1])) {
        for (const mask of [0x01, 0xff]) {
          const altered = Buffer.from(bytes);
          altered[place]! ^= mask;
          const { code } = await failureOf(altered, secret);
          const expected = name === 'magic' ? 'FOREIGN' : name === 'format' ? 'FORMAT' : 'DAMAGED';
          expect(`${name}: ${code}`).toBe(`${name}: SESSION_BACKUP_${expected}`);
        }
      }
    }
  });

  it('is refused wherever it is cut off', async () => {
    const bytes = await written(ENTRIES, options);
    for (const { name, at } of boundariesOf(bytes)) {
      for (const length of [at, at + 1]) {
        const { code } = await failureOf(bytes.subarray(0, length), secret);
        const expected = length < PRELUDE ? 'FOREIGN' : 'DAMAGED';
        expect(`${name}: ${code}`).toBe(`${name}: SESSION_BACKUP_${expected}`);
      }
    }
    expect(await failureOf(bytes.subarray(0, -1), secret)).toMatchObject({
      code: 'SESSION_BACKUP_DAMAGED',
    });
  });

  it('is refused if parts of it are missing, doubled, exchanged, or come from another one', async () => {
    const bytes = await written(ENTRIES, options);
    const starts = boundariesOf(bytes).filter(({ name }) => name.startsWith('type of'));
    const part = (of: Buffer, i: number) =>
      of.subarray(starts[i]!.at, starts[i + 1]?.at ?? of.length);
    const rest = bytes.subarray(starts[2]!.at);
    const head = bytes.subarray(0, starts[0]!.at);
    const [one, two] = [part(bytes, 0), part(bytes, 1)];
    const mixtures = [
      [head, two, rest],
      [head, one, one, two, rest],
      [head, two, one, rest],
      [head, rest],
      [bytes, rest],
      [bytes, Buffer.from([0])],
      [bytes, bytes],
    ];
    for (const [i, mixture] of mixtures.entries()) {
      const { code } = await failureOf(Buffer.concat(mixture), secret);
      expect(`${i}: ${code}`).toBe(`${i}: SESSION_BACKUP_DAMAGED`);
    }
  });
});

describe('a backup', () => {
  it('names no value in what it says of damage', async () => {
    const bytes = await written([{ ...entryOf(1), handle: 'SECRET-not-a-handle' }], {
      compressed: false,
    });
    const { code, message } = await failureOf(bytes);
    expect(code).toBe('SESSION_BACKUP_DAMAGED');
    expect(message).not.toContain('SECRET');
  });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('{"sessions":[]}\n'.repeat(100))],
    ['a picture', Buffer.from('89504e470d0a1a0a0000000d49484452', 'hex')],
    ['a dump of Redis', Buffer.from(`REDIS0011${'\xfa'.repeat(100)}`, 'latin1')],
    ['itself, transferred as text', undefined],
  ])('is not made of %s', async (_, bytes) => {
    const asText = async () =>
      Buffer.from((await written(ENTRIES)).toString('latin1').replaceAll('\r\n', '\n'), 'latin1');
    expect(await failureOf(bytes ?? (await asText()))).toMatchObject({
      code: 'SESSION_BACKUP_FOREIGN',
    });
  });

  it('of a later format is left to a later version', async () => {
    const bytes = await written(ENTRIES);
    bytes.writeUInt16BE(FORMAT + 1, MAGIC.length);
    const { code, message } = await failureOf(bytes);
    expect(code).toBe('SESSION_BACKUP_FORMAT');
    expect(message).toContain(`format ${FORMAT + 1}`);
  });

  it('is opened by its key only, and says which way that is wrong', async () => {
    const sealed = await written(ENTRIES, { secret: SECRET });
    const cases = [
      [sealed, `${SECRET}!`, /another key/],
      [sealed, undefined, /is encrypted/],
      [sealed, 'short', /at least 32/],
      [await written(ENTRIES), SECRET, /not encrypted/],
    ] as const;
    for (const [bytes, secret, says] of cases) {
      expect(await failureOf(bytes, secret)).toMatchObject({
        code: 'SESSION_BACKUP_KEY',
        message: expect.stringMatching(says) as unknown,
      });
    }
  });

  it('tells nothing of what is in it where it is encrypted', async () => {
    const sealed = await written(ENTRIES, { secret: SECRET, compressed: false });
    for (const { handle, places } of ENTRIES) {
      expect(sealed.includes(handle)).toBe(false);
      for (const place of places) expect(sealed.includes(place)).toBe(false);
    }
    expect(sealed.includes('xxxxxxxx')).toBe(false);
    const plain = await written(ENTRIES, { compressed: false });
    expect(plain.includes(ENTRIES[0]!.handle)).toBe(true);
  });

  it('with a key is not exchanged for one that somebody made who has it not', async () => {
    // They may copy the header, and compute every digest: those need no key.
    const sealed = await written(ENTRIES, { secret: SECRET });
    const forged = await written(ENTRIES.slice(1), { compressed: true });
    const end = PRELUDE + sealed.readUInt32BE(MAGIC.length + 2) + DIGEST;
    const start = PRELUDE + forged.readUInt32BE(MAGIC.length + 2) + DIGEST;
    let digest: Buffer = sealed.subarray(end - DIGEST, end);
    const parts = [sealed.subarray(0, end)];
    for (let at = start; at < forged.length;) {
      const to = at + FRAME_HEAD + forged.readUInt32BE(at + 1);
      digest = createHash('sha256').update(digest).update(forged.subarray(at, to)).digest();
      parts.push(forged.subarray(at, to), digest);
      at = to + DIGEST;
    }
    expect(await failureOf(Buffer.concat(parts), SECRET)).toMatchObject({
      code: 'SESSION_BACKUP_DAMAGED',
    });
  });

  it('is read in whatever pieces it comes', async () => {
    const bytes = await written(ENTRIES.slice(0, 20));
    for (const size of [1, 7, 64, 65_536]) {
      const joined: Buffer[] = [];
      for await (const piece of inPieces(bytes, size)) joined.push(piece);
      expect(Buffer.concat(joined).equals(bytes)).toBe(true);
    }
    expect(await read(bytes)).toHaveLength(20);
  });
});
