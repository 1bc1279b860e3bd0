import { describe, expect, it } from '@jest/globals';
import { systemClock } from '../../lib/core/clock.js';
import { toMilliseconds } from '../../lib/core/duration.js';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { SessionLifetime } from '../../lib/core/session-lifetime.js';

describe('a duration', () => {
  it.each([
    [0, 0],
    [1_500.4, 1_500],
    ['250ms', 250],
    ['1.5s', 1_500],
    ['30m', 1_800_000],
    ['12h', 43_200_000],
    ['7d', 604_800_000],
  ])('%j is %d ms', (value, milliseconds) => {
    expect(toMilliseconds(value)).toBe(milliseconds);
  });

  it.each([
    '',
    '30',
    '30 m',
    ' 30m',
    '30m ',
    '30M',
    '-1s',
    '1e3s',
    '.5s',
    '1w',
    '30min',
    NaN,
    Infinity,
    null,
    undefined,
    {},
    ['1s'],
    10n,
  ])('%p is none', (value) => {
    expect(toMilliseconds(value)).toBeUndefined();
  });
});

describe("the machine's clock", () => {
  it('tells the time in milliseconds', () => {
    const before = Date.now();
    const now = systemClock.now();
    expect(now).toBeGreaterThanOrEqual(before);
    expect(now).toBeLessThanOrEqual(Date.now());
  });
});

describe('the lifetime of sessions', () => {
  const options = { idleTimeout: 1_000, absoluteTimeout: 5_000, touchAfter: 100 };

  it('ends at the nearer of idle and absolute end, and a record lives at least a moment', () => {
    const lifetime = new SessionLifetime(options);
    const handle = handleOf(newSessionId(0xff));
    expect(lifetime.absoluteEnd(10_000)).toBe(15_000);
    expect(lifetime.timeToLive(10_000, 15_000, handle)).toBe(1_000);
    expect(lifetime.timeToLive(14_400, 15_000, handle)).toBe(600);
    expect(lifetime.timeToLive(15_000, 15_000, handle)).toBe(1);
    expect(lifetime.timeToLive(99_000, 15_000, handle)).toBe(1);
    expect(lifetime.timeToLive(10_000, Infinity, handle)).toBe(1_000);
  });

  it('is of its own for lasting sessions, known by their handle alone', () => {
    const rememberMe = { idleTimeout: 9_000, absoluteTimeout: 50_000 };
    const lifetime = new SessionLifetime({ ...options, rememberMe });
    for (const bucket of [0x00, 0x9f, 0xff]) {
      const usual = handleOf(newSessionId(bucket));
      const lasting = handleOf(newSessionId(bucket, true));
      expect(lifetime.timeToLive(10_000, Infinity, usual)).toBe(1_000);
      expect(lifetime.timeToLive(10_000, Infinity, lasting)).toBe(9_000);
      expect(lifetime.idleTimeout(lasting)).toBe(9_000);
    }
    expect(lifetime.absoluteEnd(10_000, true)).toBe(60_000);
    expect(new SessionLifetime(options).absoluteEnd(10_000, true)).toBe(15_000);
  });

  it('is moved at most once per touchAfter, by each handle', () => {
    const lifetime = new SessionLifetime(options);
    expect(lifetime.isTouchDue('a', 1_000)).toBe(true);
    lifetime.touched('a', 1_000);
    expect(lifetime.isTouchDue('a', 1_000)).toBe(false);
    expect(lifetime.isTouchDue('a', 1_099)).toBe(false);
    expect(lifetime.isTouchDue('b', 1_099)).toBe(true);
    expect(lifetime.isTouchDue('a', 1_100)).toBe(true);
    expect(lifetime.lastTouch('a')).toBe(1_000);
    lifetime.forget('a');
    expect(lifetime.isTouchDue('a', 1_000)).toBe(true);
    expect(lifetime.lastTouch('a')).toBeUndefined();
  });

  it('is moved always with touchAfter 0, and when the clock went back', () => {
    const always = new SessionLifetime({ ...options, touchAfter: 0 });
    always.touched('a', 1_000);
    expect(always.isTouchDue('a', 1_000)).toBe(true);
    const lifetime = new SessionLifetime(options);
    lifetime.touched('a', 1_000);
    expect(lifetime.isTouchDue('a', 999)).toBe(true);
  });

  it('is remembered for the handles used last, within bounded memory', () => {
    const lifetime = new SessionLifetime(options);
    for (let i = 0; i < 250_000; i++) lifetime.touched(`handle-${i}`, 1_000);
    expect(lifetime.isTouchDue('handle-249999', 1_000)).toBe(false);
    expect(lifetime.isTouchDue('handle-210000', 1_000)).toBe(false);
    expect(lifetime.isTouchDue('handle-0', 1_000)).toBe(true);
    lifetime.forget('handle-210000');
    expect(lifetime.isTouchDue('handle-210000', 1_000)).toBe(true);
  });
});
