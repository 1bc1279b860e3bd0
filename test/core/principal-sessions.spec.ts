import { describe, expect, it } from '@jest/globals';
import type { LiveSession } from '../../lib/core/live-session.js';
import { SessionLifetime } from '../../lib/core/session-lifetime.js';
import { SessionLimit } from '../../lib/core/session-limit.js';
import type { OnLimit } from '../../lib/core/session-store.interface.js';
import type { SessionGrantOptions } from '../../lib/core/session.js';
import { HOUR, MINUTE, World, type Browser } from '../support/session-world.js';

const nobody = () => undefined;

const limited = (max: number, onLimit: OnLimit) => {
  const times = { idleTimeout: HOUR, absoluteTimeout: 24 * HOUR, touchAfter: MINUTE };
  return new SessionLimit(max, onLimit, new SessionLifetime(times));
};

const indexed = () => new World({ indexed: true });

const of = (world: World, principal: string) => world.manager.forPrincipal(principal, nobody);

async function loggedIn(world: World, principal: string, grants: SessionGrantOptions = {}) {
  const browser = world.browser();
  await browser.visit((session) => session.authenticate(principal, grants));
  return browser;
}

const whoIs = async (browser: Browser) => {
  const { principal, actor, roles } = await browser.visit();
  return { principal, actor, roles };
};

describe('a session in which somebody acts as another', () => {
  const acting = async (world: World, ...others: string[]) => {
    const browser = await loggedIn(world, 'alice', { roles: ['admin'] });
    for (const other of others) {
      await browser.visit((session) => session.switchPrincipal(other, { roles: ['viewer'] }));
    }
    return browser;
  };

  it.each([
    { others: ['bob'] },
    { others: ['bob', 'carol'] },
    { others: ['bob', 'carol', 'dave'] },
  ])('ends with all sessions of who acts: $others', async ({ others }) => {
    const world = indexed();
    const browser = await acting(world, ...others);
    expect(await whoIs(browser)).toMatchObject({ principal: others.at(-1), actor: 'alice' });
    expect(await of(world, 'alice').revokeAll()).toBe(1);
    expect((await whoIs(browser)).principal).toBeUndefined();
    expect(await world.live()).toBe(0);
  });

  it('ends with all sessions of whom they act as', async () => {
    const world = indexed();
    const browser = await acting(world, 'bob');
    expect(await of(world, 'bob').revokeAll()).toBe(1);
    expect((await whoIs(browser)).principal).toBeUndefined();
    expect(await of(world, 'alice').revokeAll()).toBe(0);
  });

  it.each(['list', 'endIn'] as const)(
    'does not escape by coming back while all are ended, before a %s',
    async (verb) => {
      for (const skipped of [0, 1, 2, 3]) {
        const world = indexed();
        const browser = await acting(world, 'bob');
        const comeBack = () => browser.visit((session) => session.switchBack());
        stepIn(world, verb, skipped, comeBack);
        await of(world, 'alice').revokeAll();
        expect((await whoIs(browser)).principal).toBeUndefined();
        expect(await world.live()).toBe(0);
      }
    },
  );

  it.each(['list', 'endIn'] as const)(
    'does not escape by going there while all are ended, before a %s',
    async (verb) => {
      for (const skipped of [0, 1, 2, 3]) {
        const world = indexed();
        const browser = await loggedIn(world, 'alice');
        const go = () =>
          browser.visit((session) => session.principal && session.switchPrincipal('bob'));
        stepIn(world, verb, skipped, go);
        await of(world, 'alice').revokeAll();
        expect((await whoIs(browser)).principal).toBeUndefined();
        expect(await world.live()).toBe(0);
      }
    },
  );

  it('is found again after the others of who acts were ended from it', async () => {
    const world = indexed();
    const browser = await acting(world, 'bob');
    const other = await loggedIn(world, 'alice');
    await browser.visit(async (session) => {
      expect(await of(world, 'alice').revokeOthers(session)).toBe(1);
    });
    expect((await whoIs(other)).principal).toBeUndefined();
    expect(await whoIs(browser)).toMatchObject({ principal: 'bob', actor: 'alice' });
    expect(await of(world, 'alice').revokeAll()).toBe(1);
    expect((await whoIs(browser)).principal).toBeUndefined();
  });

  it('returns to what an administrator has changed meanwhile, and is not raised by it', async () => {
    const world = indexed();
    const browser = await acting(world, 'bob');
    expect(await of(world, 'alice').updateGrants({ roles: [] })).toBe(1);
    expect(await of(world, 'bob').updateGrants({ roles: ['owner'] })).toBe(0);
    expect(await whoIs(browser)).toEqual({ principal: 'bob', actor: 'alice', roles: ['viewer'] });
    await browser.visit((session) => session.switchBack());
    expect(await whoIs(browser)).toEqual({ principal: 'alice', actor: undefined, roles: [] });
  });
});

describe('acting as another, in the course of time', () => {
  it('is found by the actor although somebody still asks with the id from before', async () => {
    const world = indexed();
    const browser = await loggedIn(world, 'alice');
    const before = browser.token;
    await browser.visit((session) => session.switchPrincipal('bob'));
    await world.browser(before).visit();
    for (let i = 0; i < 4; i++) {
      world.clock.advance('20m');
      expect((await whoIs(browser)).actor).toBe('alice');
    }
    expect(await of(world, 'alice').revokeAll()).toBe(1);
    expect((await whoIs(browser)).principal).toBeUndefined();
  });

  it('takes no place of whom they act as, and needs one of their own to come back', async () => {
    const world = new World({ indexed: true, limit: limited(1, 'reject') });
    const alice = await loggedIn(world, 'alice');
    await alice.visit((session) => session.switchPrincipal('bob'));
    const bob = await loggedIn(world, 'bob');
    expect((await whoIs(alice)).principal).toBe('bob');
    await loggedIn(world, 'alice');
    await expect(alice.visit((session) => session.switchBack())).rejects.toMatchObject({
      code: 'SESSION_LIMIT_REACHED',
    });
    expect((await whoIs(bob)).principal).toBe('bob');
    expect(await of(world, 'bob').count()).toBe(2);
  });

  it.each([0, 1, 2])('brings new grants back, whenever it comes back: %i', async (skipped) => {
    for (const verb of ['list', 'load', 'save'] as const) {
      const world = indexed();
      const browser = await loggedIn(world, 'alice', { roles: ['admin'] });
      await browser.visit((session) => session.switchPrincipal('bob'));
      stepIn(world, verb, skipped, () => browser.visit((session) => session.switchBack()));
      await of(world, 'alice').updateGrants({ roles: [] });
      world.store.before.clear();
      await browser.visit((session) => session.switchBack());
      expect(await whoIs(browser)).toEqual({ principal: 'alice', actor: undefined, roles: [] });
    }
  });
});

describe('a session that came to its absolute end although it was in use', () => {
  it('does not count, neither in lists nor in limits', async () => {
    const rememberMe = { idleTimeout: 14 * 24 * HOUR, absoluteTimeout: 30 * 24 * HOUR };
    const times = { idleTimeout: HOUR, absoluteTimeout: 24 * HOUR, touchAfter: MINUTE, rememberMe };
    const lifetime = new SessionLifetime(times);
    const limit = new SessionLimit(1, 'reject', lifetime);
    const world = new World({ indexed: true, lifetime, limit });
    const browser = world.browser();
    await browser.visit((session) => session.authenticate('alice', { rememberMe: true }));
    for (let day = 1; day < 30; day++) {
      world.clock.advance('24h');
      expect((await whoIs(browser)).principal).toBe('alice');
    }
    world.store.take();
    world.clock.advance('1h');
    await browser.visit();
    // The node knows by now that the window is not a whole one.
    expect(world.store.take()).toEqual(['load+touch']);
    world.clock.advance('24h');
    expect(await of(world, 'alice').count()).toBe(0);
    await loggedIn(world, 'alice');
  });
});

describe('the sessions of a principal', () => {
  it('are not made larger than a session may be', async () => {
    const world = new World({ indexed: true, maxBytes: 1_000 });
    const browser = await loggedIn(world, 'alice');
    const claims = { text: 'x'.repeat(2_000) };
    await expect(of(world, 'alice').updateGrants({ claims })).rejects.toMatchObject({
      code: 'SESSION_TOO_LARGE',
    });
    const [{ handle } = { handle: '' }] = await of(world, 'alice').list();
    const sessions = of(world, 'alice');
    await expect(sessions.setLabel(handle, 'x'.repeat(201))).rejects.toThrow(/at most 200/);
    await browser.visit((session) => session.set('still', 'writable'));
  });

  it('lose their rights even where one of them cannot be read', async () => {
    const world = new World({ indexed: true, indexes: { role: ({ roles }) => roles } });
    const browsers = [];
    for (let i = 0; i < 3; i++) browsers.push(await loggedIn(world, 'alice', { roles: ['admin'] }));
    const [broken] = await of(world, 'alice').list();
    const value = (await world.inner.load(broken!.handle))!.value;
    const expected = value.slice(0, 14);
    const damaged = value.replace(/^.{14}/, `${'f'.repeat(8)}AAAAAA`).replace(/\{\}$/, '{[');
    await world.inner.save(broken!.handle, damaged, { expected, ttl: HOUR });
    expect(await of(world, 'alice').updateGrants({ roles: [] })).toBe(3);
    for (const { roles } of await of(world, 'alice').list()) expect(roles).toEqual([]);
  });

  it('are found by revokeBy even if they move between buckets meanwhile', async () => {
    const world = indexed();
    const browser = world.browser();
    await browser.visit((session) => session.authenticate('alice', { idpSession: 'sid' }));
    for (const skipped of [1, 60, 64, 130, 255]) {
      const name = `user-${skipped}`;
      const move = () =>
        browser.visit((session) => session.principal && session.switchPrincipal(name));
      stepIn(world, 'endIn', skipped, move);
    }
    expect(await world.manager.revokeBy({ idpSession: 'sid' })).toBe(1);
    expect((await whoIs(browser)).principal).toBeUndefined();
  });

  it('are ended and named by the handle that was listed, whatever ids they got since', async () => {
    const world = indexed();
    const browser = await loggedIn(world, 'alice');
    const [{ handle } = { handle: '' }] = await of(world, 'alice').list();
    await browser.visit((session) => session.regenerate());
    await browser.visit((session) => session.elevate('otp'));
    expect(await of(world, 'alice').setLabel(handle, 'My phone')).toBe(true);
    expect((await browser.visit()).label).toBe('My phone');
    expect(await of(world, 'bob').revoke(handle)).toBe(false);
    expect(await of(world, 'alice').revoke(handle)).toBe(true);
    expect((await whoIs(browser)).principal).toBeUndefined();
    expect(await of(world, 'alice').revoke(handle)).toBe(false);
  });

  it('have handles: what has not their shape is not asked for', async () => {
    const world = indexed();
    await loggedIn(world, 'alice');
    world.store.take();
    for (const handle of ['', '../x', 'a'.repeat(100_000), `${'0'.repeat(45)}*`, 7 as never]) {
      expect(await of(world, 'alice').revoke(handle)).toBe(false);
      expect(await of(world, 'alice').setLabel(handle, 'x')).toBe(false);
    }
    expect(world.store.take()).toEqual([]);
  });

  it.each(['', 7])('have labels that are texts: %j is none', async (label) => {
    const sessions = of(indexed(), 'alice');
    await expect(sessions.setLabel('x', label as string)).rejects.toThrow(/label must be a string/);
  });

  it('but for the one that was just elevated end, and it goes on under its new id', async () => {
    const world = indexed();
    const [browser, other] = [await loggedIn(world, 'alice'), await loggedIn(world, 'alice')];
    const before = browser.token;
    await browser.visit(async (session) => {
      await session.elevate('otp');
      expect(await of(world, 'alice').revokeOthers(session)).toBe(1);
    });
    expect(browser.token).not.toBe(before);
    expect((await whoIs(browser)).principal).toBe('alice');
    expect((await whoIs(other)).principal).toBeUndefined();
  });

  it('are changed also if one of them gets a new id in between', async () => {
    const world = indexed();
    const browser = await loggedIn(world, 'alice');
    stepIn(world, 'load', 0, () => browser.visit((session) => session.regenerate()));
    expect(await of(world, 'alice').updateGrants({ roles: ['editor'] })).toBe(1);
    expect((await whoIs(browser)).roles).toEqual(['editor']);
  });

  it('move in declared indexes when what they may do changes', async () => {
    const world = new World({ indexed: true, indexes: { role: ({ roles }) => roles } });
    await loggedIn(world, 'alice', { roles: ['viewer'] });
    await of(world, 'alice').updateGrants({ roles: ['editor', 'author'] });
    const found = (role: string) => world.manager.findBy({ role }, 10, nobody);
    expect(await found('viewer')).toEqual([]);
    expect(await found('author')).toMatchObject([{ principal: 'alice' }]);
    expect(await world.manager.revokeBy({ role: 'editor' })).toBe(1);
    expect(await found('author')).toEqual([]);
  });

  it('join of two logins at once only if both are to last, or neither', async () => {
    const world = indexed();
    const browser = world.browser();
    await browser.visit((session) => session.set('cart', []));
    const [one, other] = [await browser.arrive(), await browser.arrive()];
    await one.authenticate('alice');
    await other.authenticate('alice', { rememberMe: true });
    await browser.finish(one);
    await browser.finish(other);
    expect([one.rememberMe, other.rememberMe]).toEqual([false, true]);
    expect(await of(world, 'alice').count()).toBe(2);
  });
});

/** Before the store is asked for something, but for the first times. */
function stepIn(world: World, verb: string, skipped: number, act: () => Promise<LiveSession>) {
  const { before } = world.store;
  const wait = (left: number) => {
    before.set(verb, async () => {
      if (left > 0) return wait(left - 1);
      await act();
    });
  };
  wait(skipped);
}
