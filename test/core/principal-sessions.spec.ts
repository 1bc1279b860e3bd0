import { describe, expect, it } from '@jest/globals';
import type { LiveSession } from '../../lib/core/live-session.js';
import type { SessionGrantOptions } from '../../lib/core/session.js';
import { World, type Browser } from '../support/session-world.js';

const nobody = () => undefined;

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

  it.each([['bob'], ['bob', 'carol'], ['bob', 'carol', 'dave']])(
    'ends with all sessions of who acts, over %j',
    async (...others) => {
      const world = indexed();
      const browser = await acting(world, ...others);
      expect(await whoIs(browser)).toMatchObject({ principal: others.at(-1), actor: 'alice' });
      expect(await of(world, 'alice').revokeAll()).toBe(1);
      expect((await whoIs(browser)).principal).toBeUndefined();
      expect(await world.live()).toBe(0);
    },
  );

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

describe('the sessions of a principal', () => {
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
