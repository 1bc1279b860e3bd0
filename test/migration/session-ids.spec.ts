import { describe, expect, it } from '@jest/globals';
import { bucketOf, handleOf, isLasting, isSessionId } from '../../lib/core/session-id.js';
import { LegacyCookies } from '../../lib/migration/legacy-cookies.js';
import { changesBetween, merged } from '../../lib/migration/legacy-record.js';
import { idFrom } from '../../lib/migration/session-conversion.js';

const EXPRESS = {
  library: 'express-session',
  cookieName: 'connect.sid',
  before: 's:',
  endsByRecord: false,
} as const;
const PLAIN = {
  name: 'connect.sid',
  path: '/',
  sameSite: 'lax',
  secure: false,
  partitioned: false,
  persistent: false,
} as const;
const cookies = (...secrets: string[]) => new LegacyCookies(EXPRESS, secrets, PLAIN, () => 0);

describe('the id of a converted session', () => {
  const alice = { id: 'legacy', principal: 'alice', lasting: false, round: 0 };

  it('follows from the old one, for who has the secret', () => {
    const id = idFrom(cookies('secret'), alice);
    expect(isSessionId(id)).toBe(true);
    expect(idFrom(cookies('secret'), alice)).toBe(id);
    expect(idFrom(cookies('newer', 'secret'), alice)).toBe(id);
    expect(idFrom(cookies('another'), alice)).not.toBe(id);
  });

  it('is in the bucket of its principal, and says whether it is a lasting one', () => {
    const handle = handleOf(idFrom(cookies('secret'), alice));
    expect(parseInt(handle.slice(0, 2), 16)).toBe(bucketOf('alice'));
    expect(isLasting(handle)).toBe(false);
    const lasting = handleOf(idFrom(cookies('secret'), { ...alice, lasting: true }));
    expect(isLasting(lasting)).toBe(true);
  });

  it.each([
    { ...alice, principal: undefined },
    { ...alice, principal: 'bob' },
    { ...alice, id: 'other' },
    { ...alice, round: 1 },
    { ...alice, lasting: true },
  ])('is another one for %j', (origin) => {
    // Whatever the bucket: who knows one of them knows nothing of the other.
    const rest = (id: string) => id.slice(2);
    expect(rest(idFrom(cookies('secret'), origin))).not.toBe(
      rest(idFrom(cookies('secret'), alice)),
    );
  });
});

describe('what both libraries have changed', () => {
  it('is put together by attribute, and ours stands where both have changed one', () => {
    const base = { a: 1, b: 1, c: 1, d: { x: 1 } };
    const theirs = { a: 2, b: 2, d: { x: 1 }, e: 1 };
    const ours = { a: 1, b: 3, c: 1, f: 1 };
    expect({ ...merged(base, theirs, ours) }).toEqual({ a: 2, b: 3, e: 1, f: 1 });
  });

  it('is what differs as it is written', () => {
    const date = new Date(0);
    expect(changesBetween({ a: [1], b: 1, c: date }, { a: [1], c: date.toJSON(), d: 1 })).toEqual([
      ['b', undefined],
      ['d', 1],
    ]);
  });

  it('leaves what the other library cannot have', () => {
    expect(changesBetween({ cookie: 'mine' }, {})).toEqual([]);
  });
});
