import { describe, expect, it } from '@jest/globals';
import { bucketOf, bucketOfHandle, handleOf } from '../../lib/core/session-id.js';
import { START_OVER } from '../../lib/core/session-renewal.js';
import { MINUTE, stateOf, World, type Browser } from '../support/session-world.js';

/** What express-session means by `regenerate`: nothing is kept. */
const startOver = (session: Awaited<ReturnType<Browser['arrive']>>) =>
  stateOf(session).renew(START_OVER);

async function anonymousVisitor() {
  const world = new World();
  const browser = world.browser();
  const { id, handle } = await browser.visit((session) => session.set('n', 1));
  return { world, browser, id, handle, token: browser.token as string };
}

describe('a regenerated session', () => {
  it('has a new id and keeps its data, its times and its flash messages', async () => {
    const { world, browser, id, token } = await anonymousVisitor();
    const before = await browser.visit((session) => session.flash('info', 'hi'));
    world.clock.advance(5 * MINUTE);
    const session = await browser.visit(async (s) => {
      await s.regenerate();
      await s.regenerate();
      expect(s.id).not.toBe(id);
      s.set('m', 2);
    });
    expect(session.createdAt).toBe(before.createdAt);
    expect(browser.token).not.toBe(token);
    expect(browser.token).toBe(session.id);
    expect(session.handle).toBe(handleOf(session.id));
    const { data } = await browser.visit((s) => expect(s.flash('info')).toEqual(['hi']));
    expect({ ...data }).toEqual({ n: 1, m: 2 });
    expect(await world.live()).toBe(1);
  });

  it('is reached by the old id within the grace, which gets the same new token', async () => {
    const { world, browser, token } = await anonymousVisitor();
    await browser.visit((session) => session.regenerate());
    world.clock.advance(29_999);
    const late = world.browser(token);
    const session = await late.visit((s) => s.increment('n'));
    expect(late.token).toBe(browser.token);
    expect(session.get('n')).toBe(2);
    expect((await browser.visit()).get('n')).toBe(2);
    expect(await world.live()).toBe(1);
  });

  it('is out of reach for the old id after the grace, and the attempt is reported', async () => {
    const { world, browser, token } = await anonymousVisitor();
    await browser.visit((session) => session.regenerate());
    // A store may keep what is left of the old id for longer than asked.
    await world.inner.touch(handleOf(token), 60 * MINUTE);
    world.clock.advance(30_000);
    const late = world.browser(token);
    const session = await late.visit((s) => s.get('n'));
    expect(session.isNew).toBe(true);
    expect(session.get('n')).toBeUndefined();
    expect(late.token).toBeUndefined();
    expect(world.rejected).toEqual(['replayed']);
    expect((await browser.visit()).get('n')).toBe(1);
  });

  it('is reached over several renewals', async () => {
    const { world, browser, token } = await anonymousVisitor();
    for (let i = 0; i < 3; i++) await browser.visit((session) => session.regenerate());
    const late = world.browser(token);
    expect((await late.visit()).get('n')).toBe(1);
    expect(late.token).toBe(browser.token);
  });

  it('is one session, however many requests regenerate it at once, and loses no change', async () => {
    const { world, browser, token } = await anonymousVisitor();
    const nodes = [world.node(), world.node()];
    const browsers = Array.from({ length: 10 }, () => world.browser(token));
    const sessions = await Promise.all(browsers.map((b, i) => b.arrive({ on: nodes[i % 2] })));
    await Promise.all(
      sessions.map(async (session, i) => {
        session.increment('n');
        await session.regenerate();
        await browsers[i]!.finish(session);
      }),
    );
    expect(await world.live()).toBe(1);
    expect(new Set(browsers.map((b) => b.token)).size).toBe(1);
    expect((await browsers[0]!.visit()).get('n')).toBe(11);
    expect((await browser.visit()).get('n')).toBe(11);
  });

  it('takes over what a request with the old id saves while it is on its way', async () => {
    const { world, browser, token } = await anonymousVisitor();
    const slow = world.browser(token);
    const session = await slow.arrive();
    await browser.visit((s) => s.regenerate());
    session.set('slow', true);
    await slow.finish(session);
    expect(slow.token).toBe(browser.token);
    expect((await browser.visit()).get('slow')).toBe(true);
    expect(await world.live()).toBe(1);
  });

  it('is not begun if another request has ended it', async () => {
    const { world, browser, handle } = await anonymousVisitor();
    const session = await browser.arrive();
    await world.manager.revoke(handle);
    await session.regenerate();
    expect(await session.save()).toBe(false);
    expect(await world.live()).toBe(0);
    expect(stateOf(session).tokenChange).toBe('keep');
  });

  it('leaves nothing usable in the store: no id, neither old nor new', async () => {
    const { world, browser, id, handle } = await anonymousVisitor();
    const session = await browser.visit((s) => s.regenerate());
    const left = (await world.inner.load(handle))?.value ?? '';
    expect(left).toContain(session.handle);
    for (const secret of [id, session.id]) expect(left).not.toContain(secret);
  });

  it('goes on if the store fails before the old id was retired', async () => {
    const { world, browser, token } = await anonymousVisitor();
    world.store.before.set('save', () => Promise.reject(new Error('cut')));
    await expect(browser.visit((session) => session.regenerate())).rejects.toThrow('cut');
    expect(browser.token).toBe(token);
    expect((await browser.visit()).get('n')).toBe(1);
  });
});

describe('a login', () => {
  it('gives the session a new id, a principal and roles, and keeps its data', async () => {
    const { browser, id } = await anonymousVisitor();
    const session = await browser.visit(async (s) => {
      await s.authenticate('alice', { roles: ['admin'] });
      expect(s.principal).toBe('alice');
      expect(s.roles).toEqual(['admin']);
    });
    expect(session.principal).toBe('alice');
    expect(session.id).not.toBe(id);
    const next = await browser.visit();
    expect(next.get('n')).toBe(1);
    expect(next.principal).toBe('alice');
    expect(next.roles).toEqual(['admin']);
  });

  it("lies beside the principal's other sessions", async () => {
    const { world, browser } = await anonymousVisitor();
    const one = await browser.visit((session) => session.authenticate('alice'));
    const two = await world.browser().visit((session) => session.authenticate('alice'));
    expect(bucketOfHandle(one.handle)).toBe(bucketOfHandle(two.handle));
    expect(parseInt(bucketOfHandle(one.handle), 16)).toBe(bucketOf('alice'));
    expect(one.handle).not.toBe(two.handle);
  });

  it('again, by whomever, makes a new id each time and takes nothing of the roles before', async () => {
    const { world, browser } = await anonymousVisitor();
    const ids = new Set<string>();
    for (const principal of ['alice', 'alice', 'bob']) {
      const roles = principal === 'alice' ? ['admin'] : [];
      const session = await browser.visit((s) => s.authenticate(principal, { roles }));
      ids.add(session.id);
    }
    expect(ids.size).toBe(3);
    const session = await browser.visit();
    expect(session.principal).toBe('bob');
    expect(session.roles).toEqual([]);
    expect(await world.live()).toBe(1);
  });

  it('refuses a principal that is none', async () => {
    const { browser } = await anonymousVisitor();
    const session = await browser.arrive();
    for (const principal of ['', undefined, null, 7, {}]) {
      await expect(session.authenticate(principal as string)).rejects.toThrow('not empty');
    }
    expect(session.principal).toBeUndefined();
  });

  it('is never reached by the old id: who planted it gets nothing (fixation)', async () => {
    const { world, browser: victim, token } = await anonymousVisitor();
    await victim.visit((session) => session.authenticate('alice'));
    for (const wait of [0, 29_000, 30 * MINUTE]) {
      world.clock.advance(wait);
      const attacker = world.browser(token);
      const session = await attacker.visit((s) => {
        expect(s.principal).toBeUndefined();
        expect({ ...s.data }).toEqual({});
      });
      expect(session.isNew).toBe(true);
      expect(attacker.token).not.toBe(victim.token);
    }
  });

  it('cannot be written to by the old id, neither late nor by a new login as somebody else', async () => {
    const { world, browser: victim, token } = await anonymousVisitor();
    const slow = await world.browser(token).arrive();
    await victim.visit((session) => session.authenticate('alice'));
    slow.set('n', 666);
    await expect(slow.save()).rejects.toMatchObject({ code: 'SESSION_CONFLICT' });
    expect(stateOf(slow).tokenChange).toBe('keep');
    const writer = world.browser(token);
    await expect(writer.visit((s) => s.set('n', 666))).rejects.toMatchObject({
      code: 'SESSION_CONFLICT',
    });
    expect(writer.token).toBe(token);

    const mallory = world.browser(token);
    const own = await mallory.visit((session) => session.authenticate('mallory'));
    expect(own.get('n')).toBeUndefined();
    expect(own.principal).toBe('mallory');
    expect(mallory.token).not.toBe(victim.token);
    const { data, principal } = await victim.visit();
    expect({ principal, ...data }).toEqual({ principal: 'alice', n: 1 });
  });

  it.each(['sent at once', 'one after the other'])(
    'twice by one browser, %s, is one session for the same principal',
    async (order) => {
      const { world, browser: one, token } = await anonymousVisitor();
      const two = world.browser(token);
      const logIn = (b: Browser) => async () => {
        const session = await b.arrive();
        session.increment('n');
        await session.authenticate('alice', { roles: ['user'] });
        return b.finish(session);
      };
      if (order === 'sent at once') await Promise.all([logIn(one)(), logIn(two)()]);
      else for (const b of [one, two]) await logIn(b)();
      expect(await world.live()).toBe(1);
      const [first, second] = [await one.visit(), await two.visit()];
      expect([first.principal, second.principal]).toEqual(['alice', 'alice']);
      expect(second.get('n')).toBe(3);
    },
  );

  it('twice at once by different principals is two sessions that know nothing of each other', async () => {
    const { world, browser: one, token } = await anonymousVisitor();
    const two = world.browser(token);
    const sessions = [await one.arrive(), await two.arrive()] as const;
    sessions[0].set('secret', 'of alice');
    await sessions[0].authenticate('alice');
    await sessions[1].authenticate('bob');
    await one.finish(sessions[0]);
    await two.finish(sessions[1]);
    expect(one.token).not.toBe(two.token);
    expect((await one.visit()).principal).toBe('alice');
    const bob = await two.visit();
    expect(bob.principal).toBe('bob');
    expect(bob.get('secret')).toBeUndefined();
    expect(await world.live()).toBe(2);
  });

  it('while another request logs out begins a session of its own', async () => {
    const { world, browser, handle } = await anonymousVisitor();
    const session = await browser.arrive();
    await world.manager.revoke(handle);
    session.set('mine', true);
    await session.authenticate('alice');
    await browser.finish(session);
    const next = await browser.visit();
    expect(next.principal).toBe('alice');
    expect({ ...next.data }).toEqual({ mine: true });
    expect(await world.live()).toBe(1);
  });
});

describe('starting over', () => {
  it('leaves data, principal and roles behind under a new id, and is not followed', async () => {
    const { world, browser } = await anonymousVisitor();
    await browser.visit((session) => session.authenticate('alice', { roles: ['admin'] }));
    const old = browser.token as string;
    await browser.visit((session) => {
      startOver(session);
      session.set('m', 2);
    });
    const session = await browser.visit();
    expect(session.principal).toBeUndefined();
    expect(session.roles).toEqual([]);
    expect({ ...session.data }).toEqual({ m: 2 });
    expect((await world.browser(old).visit()).isNew).toBe(true);
    expect(await world.live()).toBe(1);
  });

  it('with nothing in it ends the session', async () => {
    const { world, browser } = await anonymousVisitor();
    await browser.visit(startOver);
    expect(await world.live()).toBe(0);
    expect(browser.token).toBeUndefined();
  });
});

describe('ending a session whose id was renewed', () => {
  const renewals: [string, (session: Awaited<ReturnType<Browser['arrive']>>) => Promise<void>][] = [
    ['regenerated', (session) => session.regenerate()],
    ['renewed by a login', (session) => session.authenticate('alice')],
  ];

  it.each(renewals)('through a request that began before it was %s ends it', async (_, renew) => {
    const { world, browser, token } = await anonymousVisitor();
    const slow = world.browser(token);
    const session = await slow.arrive();
    await browser.visit(renew);
    await session.destroy();
    await slow.finish(session);
    expect(await world.live()).toBe(0);
    expect((await browser.visit()).isNew).toBe(true);
  });

  it.each(renewals)('through the old id after it was %s ends it', async (_, renew) => {
    const { world, browser, token } = await anonymousVisitor();
    await browser.visit(renew);
    await world.browser(token).visit((session) => session.destroy());
    expect(await world.live()).toBe(0);
  });

  it.each(renewals)('by the handle that it had before it was %s ends it', async (_, renew) => {
    const { world, browser, handle } = await anonymousVisitor();
    await browser.visit(renew);
    expect(await world.manager.revoke(handle)).toBe(true);
    expect(await world.live()).toBe(0);
    expect(await world.manager.revoke(handle)).toBe(false);
  });

  it('while the renewal is on its way leaves no session', async () => {
    for (const verb of ['create', 'save']) {
      const { world, browser, handle } = await anonymousVisitor();
      world.store.before.set(verb, async () => void (await world.inner.delete(handle)));
      await browser.visit((session) => session.regenerate());
      expect(await world.live()).toBe(0);
    }
  });
});

describe('a session that was found by its handle', () => {
  it('can be changed, saved and ended, but neither tells nor renews its id', async () => {
    const { world, browser, handle } = await anonymousVisitor();
    const found = await world.manager.openByHandle(handle);
    found!.set('n', 5);
    expect(await found!.save()).toBe(true);
    expect((await browser.visit()).get('n')).toBe(5);
    expect(() => found!.id).toThrow('does not tell its id');
    await expect(found!.regenerate()).rejects.toMatchObject({ code: 'SESSION_UNAVAILABLE' });
    await expect(found!.authenticate('x')).rejects.toMatchObject({ code: 'SESSION_UNAVAILABLE' });
    await found!.destroy();
    await found!.save();
    expect(await world.live()).toBe(0);
  });

  it('is none for an unknown handle, an id, and what is left of a renewed id', async () => {
    const { world, browser, id, handle } = await anonymousVisitor();
    await browser.visit((session) => session.regenerate());
    expect(await world.manager.openByHandle(handle)).toBeUndefined();
    expect(await world.manager.openByHandle(id)).toBeUndefined();
    expect(await world.manager.openById(handle)).toBeUndefined();
    expect(await world.manager.touchHandle(handle)).toBe(false);
  });
});
