import { describe, expect, it } from '@jest/globals';
import { sealedCookie } from 'nestjs-distributed-session/cookie';
import { describeSessionStore, FakeClock } from 'nestjs-distributed-session/testing';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { CarriedClient, carriageOf, openCarried } from '../support/carried-client.js';
import { FORMS } from '../support/carried-forms.js';

const LISTS = [undefined, 'memory' as const];
const TOGGLES = { count: false, indexes: false, news: false };
const LISTED = FORMS.flatMap(([form, make]) => LISTS.map((list) => [form, list, make] as const));

describe.each(LISTS)('within one request, list: %s', (revocation) => {
  const clock = new FakeClock();
  describeSessionStore('Carriage', {
    runner: { describe, it },
    create: async () => carriageOf(await openCarried(sealedCookie({ revocation }), clock)),
    advance: (milliseconds) => clock.advance(milliseconds),
    toggles: TOGGLES,
  });
});

describe.each(LISTED)('%s from request to request, list: %s', (form, list, make) => {
  const clock = new FakeClock();
  // A JWT tells its end in seconds (RFC 7519, section 2).
  const unit = form === 'a JWT' ? 1_000 : 1;
  describeSessionStore('CarriedClient', {
    runner: { describe, it },
    create: async () => new CarriedClient(await openCarried(make(list), clock), unit),
    advance: (units) => clock.advance(units * unit),
    toggles: TOGGLES,
  });

  it('is opened by each request anew: without its token there is nothing', async () => {
    const store = await openCarried(make(list), clock);
    const id = newSessionId();
    const handle = handleOf(id);
    const first = carriageOf(store);
    first.serve(() => id);
    expect(await first.create(handle, '00000001abcdef1body', { ttl: 60_000 })).toBe(true);
    const token = first.tokenOf(handle) as string;
    const next = carriageOf(store, [token]);
    next.serve(() => id);
    expect(await next.load(handle)).toEqual({ value: '00000001abcdef1body' });
    // What changes nothing hands out nothing.
    expect(next.tokenOf(handle)).toBeUndefined();
    expect(await carriageOf(store).load(handle)).toBeUndefined();
    await store.close?.();
  });
});
