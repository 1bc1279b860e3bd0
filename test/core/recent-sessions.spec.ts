import { beforeEach, describe, expect, it } from '@jest/globals';
import { SessionLifetime } from '../../lib/core/session-lifetime.js';
import { SessionStoreUnavailableError } from '../../lib/core/session.errors.js';
import { RecentSessions } from '../../lib/core/store-failure.js';
import { HOUR, MINUTE, World } from '../support/session-world.js';

const value = (n: number) => `${String(n).padStart(8, '0')}random1`;

describe('what a node has seen lately', () => {
  let recent: RecentSessions;

  beforeEach(() => {
    recent = new RecentSessions(new Map(), 1_000);
  });

  it('is there for as long as it may be', () => {
    recent.seen('a', value(1), 5_000);
    expect(recent.get('a', 6_000)).toBe(value(1));
    expect(recent.get('a', 6_001)).toBeUndefined();
    expect(recent.get('b', 5_000)).toBeUndefined();
  });

  it('is not brought back by a read that was under way when it ended', () => {
    recent.seen('a', value(1), 5_000);
    recent.forget('a', 5_010);
    recent.seen('a', value(1), 5_005);
    recent.seen('a', value(1), 5_020);
    expect(recent.get('a', 5_030)).toBeUndefined();
  });

  it('nor by one that was under way when many ended', () => {
    recent.seen('a', value(1), 5_000);
    recent.clear(5_010);
    recent.seen('a', value(1), 5_005);
    expect(recent.get('a', 5_030)).toBeUndefined();
    recent.seen('b', value(1), 5_020);
    expect(recent.get('b', 5_030)).toBe(value(1));
  });

  it('is forgotten when somebody else has changed it, and known again from then on', () => {
    recent.seen('a', value(1), 5_000);
    recent.changed('a', 5_010, false);
    expect(recent.get('a', 5_010)).toBeUndefined();
    recent.seen('a', value(1), 5_010);
    expect(recent.get('a', 5_010)).toBeUndefined();
    recent.seen('a', value(2), 5_011);
    expect(recent.get('a', 5_011)).toBe(value(2));
  });

  it('is not brought back by a first read that was under way when it was changed', () => {
    recent.changed('a', 5_010, true);
    recent.seen('a', value(1), 5_005);
    expect(recent.get('a', 5_010)).toBeUndefined();
  });

  it('stays ended here, whatever is told of it', () => {
    recent.forget('a', 5_000);
    recent.changed('a', 5_010, true);
    recent.seen('a', value(1), 5_020);
    expect(recent.get('a', 5_020)).toBeUndefined();
  });

  it('takes no room for what was not known', () => {
    const kept = new Map();
    new RecentSessions(kept, 1_000).changed('a', 5_000, false);
    expect(kept.size).toBe(0);
  });

  it('is the newest, whichever answer came last', () => {
    recent.seen('a', value(2), 5_000);
    recent.seen('a', value(1), 5_010);
    expect(recent.get('a', 5_020)).toBe(value(2));
    recent.seen('a', value(3), 5_020);
    expect(recent.get('a', 5_020)).toBe(value(3));
  });

  it('is not served beyond its idle end', async () => {
    const timeouts = { idleTimeout: 5 * MINUTE, absoluteTimeout: HOUR, touchAfter: MINUTE };
    const lifetime = new SessionLifetime(timeouts, new RecentSessions(new Map(), HOUR));
    const world = new World({ onStoreFailure: 'stale', lifetime });
    const browser = world.browser();
    await browser.visit((session) => session.authenticate('alice'));
    const arriveInOutage = () => {
      for (const verb of ['load', 'load+touch']) {
        world.store.before.set(verb, () => Promise.reject(new SessionStoreUnavailableError('x')));
      }
      return browser.arrive();
    };
    world.clock.advance('4m');
    expect(await arriveInOutage()).toMatchObject({ outage: 'stale', principal: 'alice' });
    world.clock.advance('61s');
    await expect(arriveInOutage()).rejects.toBeInstanceOf(SessionStoreUnavailableError);
  });

  it('is without the grants that were taken away here', async () => {
    const recent = new RecentSessions(new Map(), HOUR);
    const timeouts = { idleTimeout: HOUR, absoluteTimeout: HOUR, touchAfter: MINUTE };
    const lifetime = new SessionLifetime(timeouts, recent);
    const world = new World({ onStoreFailure: 'stale', lifetime, indexed: true });
    const browser = world.browser();
    await browser.visit((session) => session.authenticate('alice', { roles: ['admin'] }));
    await world.manager.forPrincipal('alice', () => undefined).updateGrants({ roles: [] });
    for (const verb of ['load', 'load+touch']) {
      world.store.before.set(verb, () => Promise.reject(new SessionStoreUnavailableError('x')));
    }
    expect(await browser.arrive()).toMatchObject({ outage: 'stale', roles: [] });
  });
});
