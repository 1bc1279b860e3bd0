import { describe, expect, it } from '@jest/globals';
import { Type } from 'class-transformer';
import { IsInt, IsOptional, IsString, Min, ValidateNested } from 'class-validator';
import * as v from 'valibot';
import { newSessionId } from '../../lib/core/session-id.js';
import { encodeLive, nextVersion, versionOf } from '../../lib/core/session-record.js';
import {
  SessionConflictError,
  SessionStoreUnavailableError,
} from '../../lib/core/session.errors.js';
import { validatorOf } from '../../lib/options/schema-validation.js';
import { HOUR, MINUTE, stateOf, World } from '../support/session-world.js';

const down = () => {
  throw new SessionStoreUnavailableError('down');
};

describe('the idle timeout', () => {
  it('ends a session that was not used for so long, not a moment before', async () => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('basket', [1]));
    world.clock.advance(30 * MINUTE - 1);
    expect((await browser.visit()).get('basket')).toEqual([1]);
    world.clock.advance(30 * MINUTE);
    const ended = await browser.visit();
    expect(ended.get('basket')).toBeUndefined();
    expect(ended.isNew).toBe(true);
    expect(browser.token).toBeUndefined();
    expect(await world.live()).toBe(0);
  });

  it('begins anew with each use, on whichever node, and the session tells its end', async () => {
    const world = new World();
    const nodes = [world.node(), world.node(), world.node()];
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 0));
    for (let i = 0; i < 9; i++) {
      world.clock.advance(29 * MINUTE);
      const session = await browser.visit((s) => s.get('n'), { on: nodes[i % 3] });
      expect(session.isNew).toBe(false);
      expect(session.lastAccessedAt).toBe(world.clock.now());
      expect(session.expiresAt).toBe(world.clock.now() + 30 * MINUTE);
    }
  });

  it('is moved by the load itself, at most once per touchAfter on each node', async () => {
    const world = new World();
    const other = world.node();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 0));
    world.store.take();
    for (let second = 0; second < 120; second += 10) {
      world.clock.advance(10_000);
      await browser.visit();
    }
    const here = world.store.take();
    expect(here).toHaveLength(12);
    expect(here.filter((call) => call === 'load+touch')).toHaveLength(2);
    expect(here.filter((call) => call === 'load')).toHaveLength(10);
    await browser.visit(undefined, { on: other });
    await browser.visit(undefined, { on: other });
    expect(world.store.take()).toEqual(['load+touch', 'load']);
  });

  it('is moved by touch() only if that is due', async () => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 0));
    const session = await browser.arrive();
    world.store.take();
    await session.touch();
    expect(world.store.take()).toEqual([]);
    world.clock.advance(5 * MINUTE);
    await session.touch();
    expect(session.expiresAt).toBe(world.clock.now() + 30 * MINUTE);
    await session.touch();
    expect(world.store.take()).toEqual(['touch']);
  });

  it('is not moved by passive requests, not even by what they write', async () => {
    const world = new World();
    const browser = world.browser();
    const { expiresAt } = await browser.visit((session) => session.set('n', 0));
    for (let i = 0; i < 5; i++) {
      world.clock.advance(5 * MINUTE);
      const session = await browser.visit((s) => s.increment('n'), { passive: true });
      expect(session.get('n')).toBe(i + 1);
      expect(session.expiresAt).toBe(expiresAt);
    }
    world.clock.advance(5 * MINUTE);
    expect((await browser.visit(undefined, { passive: true })).isNew).toBe(true);
  });

  it('is not moved by looking a session up', async () => {
    const world = new World();
    const browser = world.browser();
    const { handle, id } = await browser.visit((session) => session.set('n', 0));
    const start = world.clock.now();
    const elsewhere = world.node();
    for (let i = 0; i < 29; i++) {
      world.clock.advance(MINUTE);
      for (const found of [
        await world.manager.openByHandle(handle),
        await elsewhere.openByHandle(handle),
        await elsewhere.openById(id),
      ]) {
        expect(found?.get('n')).toBe(0);
        expect(found?.lastAccessedAt).toBe(start);
        expect(found?.expiresAt).toBe(start + 30 * MINUTE);
      }
    }
    world.clock.advance(MINUTE);
    expect(await world.manager.openByHandle(handle)).toBeUndefined();
    expect(await world.manager.openById(id)).toBeUndefined();
  });

  it('is moved from outside for a session that exists, by its handle', async () => {
    const world = new World();
    const { handle } = await world.browser().visit((session) => session.set('n', 0));
    world.clock.advance(29 * MINUTE);
    expect(await world.manager.touchHandle(handle)).toBe(true);
    world.clock.advance(29 * MINUTE);
    expect(await world.live()).toBe(1);
    world.clock.advance(MINUTE);
    expect(await world.manager.touchHandle(handle)).toBe(false);
    expect(await world.manager.touchHandle('../../x')).toBe(false);
    expect(await world.live()).toBe(0);
  });
});

describe('the absolute timeout', () => {
  it('ends a session however active it is', async () => {
    const world = new World({ absoluteTimeout: HOUR });
    const browser = world.browser();
    const { createdAt } = await browser.visit((session) => session.set('n', 0));
    for (let i = 0; i < 5; i++) {
      world.clock.advance(10 * MINUTE);
      const session = await browser.visit((s) => s.increment('n'));
      expect(session.expiresAt).toBe(Math.min(world.clock.now() + 30 * MINUTE, createdAt + HOUR));
    }
    world.clock.advance(10 * MINUTE - 1);
    expect((await browser.visit()).isNew).toBe(false);
    world.clock.advance(1);
    expect((await browser.visit()).isNew).toBe(true);
    expect(await world.live()).toBe(0);
  });

  it('begins anew when the principal authenticates, and by nothing else', async () => {
    const world = new World({ absoluteTimeout: HOUR });
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 0));
    world.clock.advance(25 * MINUTE);
    await browser.visit((session) => session.regenerate());
    world.clock.advance(25 * MINUTE);
    const started = world.clock.now();
    const login = await browser.visit((session) => session.authenticate('alice'));
    expect(login.authenticatedAt).toBe(started);
    for (let i = 0; i < 2; i++) {
      world.clock.advance(25 * MINUTE);
      const session = await browser.visit((s) => s.increment('n'));
      expect(session.principal).toBe('alice');
      expect(session.authenticatedAt).toBe(started);
    }
    world.clock.advance(10 * MINUTE);
    expect((await browser.visit()).principal).toBeUndefined();
  });

  it('holds for a session that is looked up, too', async () => {
    const world = new World({ idleTimeout: HOUR, absoluteTimeout: HOUR });
    const browser = world.browser();
    const { handle } = await browser.visit((session) => session.set('n', 0));
    world.clock.advance(59 * MINUTE);
    await browser.visit();
    world.clock.advance(MINUTE);
    expect(await world.manager.openByHandle(handle)).toBeUndefined();
  });
});

describe('what a request asks of the store', () => {
  it.each<[string, string[], Parameters<ReturnType<World['browser']>['visit']>[0]]>([
    ['reading', ['load'], (session) => session.get('n')],
    ['reading everything', ['load'], (session) => session.data],
    ['changing', ['load', 'save'], (session) => session.increment('n')],
    ['changing back', ['load'], (session) => (session.increment('n'), session.increment('n', -1))],
    ['a new id', ['load', 'create', 'save'], (session) => session.regenerate()],
    ['a login', ['load', 'create', 'save'], (session) => session.authenticate('alice')],
    ['a logout', ['load', 'delete'], (session) => session.destroy()],
  ])('by %s is %j', async (_, calls, handle) => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 0));
    world.store.take();
    await browser.visit(handle);
    expect(world.store.take()).toEqual(calls);
  });

  it('without a session is nothing, until something is stored', async () => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => {
      expect(session.data).toEqual({});
      expect(session.isNew).toBe(true);
      expect(session.handle).toHaveLength(45);
    });
    await browser.visit((session) => session.regenerate());
    await browser.visit((session) => session.destroy());
    await browser.visit((session) => (session.set('a', 1), session.delete('a')));
    expect(world.store.take()).toEqual([]);
    expect(browser.token).toBeUndefined();
    const session = await browser.visit((s) => s.set('a', 1));
    expect(world.store.take()).toEqual(['create']);
    expect(session.isNew).toBe(false);
    expect(browser.token).toBe(session.id);
  });

  it('with a session that nobody asks for is nothing', async () => {
    const world = new World();
    world.manager.open([newSessionId()]);
    await new Promise(setImmediate);
    expect(world.store.take()).toEqual([]);
  });

  it('with malformed, forged or contradicting tokens is nothing', async () => {
    const world = new World({ secrets: ['a-secret-of-sufficient-length-0123'] });
    const token = () => world.manager.tokenOf(newSessionId());
    const forged = `${token().slice(0, -1)}!`;
    for (const tokens of [['x'], ['../../x'], [forged], [newSessionId()], [token(), token()]]) {
      const session = await world.manager.open(tokens).load();
      expect(session.isNew).toBe(true);
    }
    expect(world.store.take()).toEqual([]);
    expect(world.rejected).toEqual([...Array.from({ length: 4 }, () => 'malformed'), 'ambiguous']);
    const once = token();
    await world.manager.open([forged, once, 'x', once]).load();
    expect(world.store.take()).toEqual(['load+touch']);
  });

  it('is one load, whoever waits for it', async () => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 0));
    world.store.take();
    const session = world.manager.open([browser.token as string]);
    await Promise.all([session.load(), session.load(), session.authenticate('alice')]);
    expect(world.store.take()).toEqual(['load']);
  });
});

describe('requests at the same time', () => {
  it('keep what each of them has changed, and 50 increments are 50', async () => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 0));
    const nodes = [world.node(), world.node()];
    await Promise.all(
      Array.from({ length: 50 }, async (_, i) => {
        const session = await browser.arrive({ on: nodes[i % 2] });
        session.increment('n');
        session.set(`key-${i}`, i);
        session.update('list', (list) => [...((list as number[]) ?? []), i]);
        expect(await session.save()).toBe(true);
      }),
    );
    const { data } = await browser.visit();
    expect(data.n).toBe(50);
    expect(Object.keys(data)).toHaveLength(52);
    expect(new Set(data.list as number[]).size).toBe(50);
  });

  it('see what is stored after they saved', async () => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 10));
    const [one, two] = [await browser.arrive(), await browser.arrive()];
    expect(one.increment('n')).toBe(11);
    expect(two.increment('n', 5)).toBe(15);
    await one.save();
    await two.save();
    expect(two.get('n')).toBe(16);
  });

  it('can ask for the conflict instead of the replay, and then nothing is written', async () => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 1));
    const [one, two] = [await browser.arrive(), await browser.arrive()];
    one.set('n', 2);
    two.set('n', 3);
    await one.save();
    await expect(two.save({ ifUnchanged: true })).rejects.toThrow(SessionConflictError);
    await browser.finish(two);
    expect((await browser.visit()).get('n')).toBe(2);
    two.set('n', 4);
    expect(await two.save()).toBe(true);
    expect((await browser.visit()).get('n')).toBe(4);
    const three = await browser.arrive();
    three.set('n', 5);
    expect(await three.save({ ifUnchanged: true })).toBe(true);
  });

  it('are told of a conflict that does not end, after a bounded number of attempts', async () => {
    const world = new World();
    const browser = world.browser();
    const { handle } = await browser.visit((session) => session.set('n', 1));
    const session = await browser.arrive();
    session.increment('n');
    world.store.take();
    const beFaster = async () => {
      world.store.before.set('save', beFaster);
      const { value = '' } = (await world.inner.load(handle)) ?? {};
      const version = nextVersion(versionOf(value));
      const faster = version + value.slice(version.length);
      await world.inner.save(handle, faster, { expected: versionOf(value) });
    };
    world.store.before.set('save', beFaster);
    await expect(session.save()).rejects.toThrow(SessionConflictError);
    const attempts = world.store.take();
    expect(attempts.length).toBeGreaterThan(2);
    expect(attempts.length).toBeLessThanOrEqual(100);
  });

  it('find a session that another has ended gone: nothing is written, nothing revived', async () => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 1));
    const [slow, other] = [await browser.arrive(), await browser.arrive()];
    await other.destroy();
    await other.save();
    slow.set('n', 2);
    expect(await slow.save()).toBe(false);
    // Now it is known: what cannot be kept is refused instead of dropped.
    expect(() => slow.set('n', 3)).toThrow('ended');
    expect(await slow.save()).toBe(false);
    expect(stateOf(slow).tokenChange).toBe('keep');
    expect(await world.live()).toBe(0);
    await expect(slow.regenerate()).rejects.toThrow('ended');
    expect((await browser.visit()).isNew).toBe(true);
  });

  it('that save twice without waiting lose nothing of what came in between', async () => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 0));
    const session = await browser.arrive();
    session.increment('n');
    const first = session.save();
    session.increment('n');
    session.set('late', true);
    await Promise.all([first, session.save()]);
    const { data } = await browser.visit();
    expect({ ...data }).toEqual({ n: 2, late: true });

    const fresh = world.browser();
    const created = await fresh.arrive();
    created.set('n', 1);
    const creation = created.save();
    created.set('n', 2);
    await Promise.all([creation, fresh.finish(created)]);
    expect(await world.live()).toBe(2);
    expect((await fresh.visit()).get('n')).toBe(2);
  });
});

describe('a session that was destroyed', () => {
  it('is over at once, cannot be changed, and a second logout is no error', async () => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 1));
    const old = browser.token as string;
    const session = await browser.visit((s) => s.destroy());
    expect(browser.token).toBeUndefined();
    expect(() => session.set('n', 2)).toThrow('ended');
    await expect(session.authenticate('alice')).rejects.toThrow('ended');
    await session.destroy();
    await session.save();
    expect(await world.live()).toBe(0);
    await world.browser(old).visit((s) => s.destroy());
    expect(await world.live()).toBe(0);
  });

  it('from outside is told from one that never was', async () => {
    const world = new World();
    const { handle } = await world.browser().visit((session) => session.set('n', 1));
    expect(await world.manager.revoke(handle)).toBe(true);
    expect(await world.manager.revoke(handle)).toBe(false);
    world.store.take();
    expect(await world.manager.revoke('*')).toBe(false);
    expect(world.store.take()).toEqual([]);
  });
});

describe('what came from a client and is worth nothing', () => {
  it('is never adopted: an id that we did not issue gives way to one of ours', async () => {
    const world = new World();
    const planted = newSessionId();
    const browser = world.browser(planted);
    const session = await browser.visit((s) => s.set('n', 1));
    expect(session.id).not.toBe(planted);
    expect(browser.token).toBe(session.id);
    expect(await world.manager.openById(planted)).toBeUndefined();
    const reader = world.browser(newSessionId());
    await reader.visit();
    expect(reader.token).toBeUndefined();
  });

  it('gets a token of the newest secret, if its own is of an older one', async () => {
    const [older, newer] = [
      'older-secret-of-length-0123456789',
      'newer-secret-of-length-0123456789',
    ];
    const world = new World({ secrets: [newer, older] });
    const before = world.node({ secrets: [older] });
    const session = await world.manager.open([]).load();
    session.set('n', 1);
    await session.save();
    const browser = world.browser(before.tokenOf(session.id));
    expect((await browser.visit()).get('n')).toBe(1);
    expect(browser.token).toBe(world.manager.tokenOf(session.id));
  });

  it('takes another id if the new one happens to be taken', async () => {
    const world = new World();
    const browser = world.browser();
    let first = '';
    world.store.before.set('create', () => false);
    const session = await browser.visit((s) => {
      first = s.id;
      s.set('n', 1);
    });
    expect(world.store.take()).toEqual(['create', 'create']);
    expect(session.id).not.toBe(first);
    expect((await browser.visit()).get('n')).toBe(1);
  });
});

describe('a record that cannot be read', () => {
  async function planted(value: (whole: string) => string) {
    const world = new World();
    const browser = world.browser();
    const { handle } = await browser.visit((session) => session.set('n', 1));
    const whole = (await world.inner.delete(handle)) as string;
    await world.inner.create(handle, value(whole), { ttl: HOUR });
    world.store.take();
    return { world, browser, handle };
  }

  it('counts as absent if it is damaged, and is reported', async () => {
    const { world, browser } = await planted((whole) => whole.slice(0, -3));
    const session = await browser.visit((s) => s.set('n', 2));
    expect(world.rejected).toEqual(['damaged']);
    expect(session.get('n')).toBe(2);
    expect((await browser.visit()).get('n')).toBe(2);
  });

  it('is an error and left alone if a newer version wrote it', async () => {
    const { world, browser, handle } = await planted((whole) => `${versionOf(whole)}2new`);
    await expect(browser.arrive()).rejects.toMatchObject({ code: 'SESSION_FORMAT_UNSUPPORTED' });
    expect((await world.inner.load(handle))?.value).toMatch(/2new$/);
  });

  it('ends if its data cannot be decoded: one error, then a new session', async () => {
    const grants = { roles: [], permissions: [], factors: {}, claims: {} };
    const identity = { principal: 'alice', authenticatedAt: 0, ...grants };
    const header = { createdAt: 0, absoluteEnd: 8e15, savedAt: 0, identity };
    const { world, browser } = await planted(() => encodeLive(nextVersion(), header, '', '{"a":'));
    const session = await browser.arrive();
    expect(session.principal).toBe('alice');
    expect(() => session.data).toThrow(expect.objectContaining({ code: 'SESSION_DAMAGED' }));
    await browser.finish(session);
    expect(await world.live()).toBe(0);
    expect((await browser.visit((s) => s.set('n', 1))).get('n')).toBe(1);
  });
});

describe('an outage', () => {
  it('is an error, not an answer: the next one asks again', async () => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 1));
    world.store.before.set('load', down);
    const session = world.manager.open([browser.token as string]);
    await expect(session.load()).rejects.toMatchObject({ code: 'SESSION_STORE_UNAVAILABLE' });
    expect(() => session.get('n')).toThrow(expect.objectContaining({ code: 'SESSION_NOT_LOADED' }));
    expect(stateOf(session).tokenChange).toBe('keep');
    await session.load();
    expect(session.get('n')).toBe(1);
  });

  it.each<[string, string, Parameters<ReturnType<World['browser']>['visit']>[0]]>([
    ['save', 'changing', (session) => session.set('n', 2)],
    ['create', 'a login', (session) => session.authenticate('alice')],
    ['save', 'a login', (session) => session.authenticate('alice')],
    ['delete', 'a logout', (session) => session.destroy()],
  ])('of %s while %s leaves the session and its token as they are', async (verb, _, handle) => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 1));
    const { token } = browser;
    world.store.before.set(verb, down);
    await expect(browser.visit(handle)).rejects.toMatchObject({
      code: 'SESSION_STORE_UNAVAILABLE',
    });
    expect(browser.token).toBe(token);
    const session = await browser.visit();
    expect(session.get('n')).toBe(1);
    expect(session.principal).toBeUndefined();
  });
});

class Item {
  @IsString() sku!: string;
  @IsInt() @Min(1) qty!: number;
}
class Shape {
  @IsOptional() @ValidateNested({ each: true }) @Type(() => Item) basket?: Item[];
  @IsOptional() @IsString() color?: string;
}

const shape = v.object({
  basket: v.optional(
    v.array(v.object({ sku: v.string(), qty: v.pipe(v.number(), v.minValue(1)) })),
  ),
  color: v.optional(v.string()),
});

describe('what may not be stored', () => {
  const big = 'hunter2'.repeat(20_000);

  it.each<[string, code: string, value: unknown]>([
    ['is too large', 'SESSION_TOO_LARGE', big],
    ['is too large in bytes, not in characters', 'SESSION_TOO_LARGE', '語'.repeat(30_000)],
    ['cannot be encoded', 'SESSION_NOT_SERIALIZABLE', new Map([['hunter2', 'hunter2']])],
  ])('because it %s is refused, and the stored state stays', async (_, code, value) => {
    const world = new World();
    const browser = world.browser();
    await browser.visit((session) => session.set('n', 1));
    world.store.take();
    const session = await browser.arrive();
    session.set('value', value);
    const failure: Error = await session.save().then(
      () => new Error('it was stored'),
      (error: Error) => error,
    );
    expect(failure).toMatchObject({ code });
    expect(failure.message).not.toContain('hunter2');
    await browser.finish(session);
    expect(world.store.take()).toEqual(['load']);
    expect({ ...(await browser.visit()).data }).toEqual({ n: 1 });

    session.delete('value');
    session.set('n', 2);
    expect(await session.save()).toBe(true);
    expect({ ...(await browser.visit()).data }).toEqual({ n: 2 });
  });

  it.each([
    ['a class with class-validator decorators', Shape],
    ['a Standard Schema', shape],
  ])('because it violates %s is refused by path, and nothing changes', async (_, schema) => {
    const world = new World({ validate: validatorOf(schema) });
    const browser = world.browser();
    const good = [{ sku: 'a', qty: 1 }];
    await browser.visit((session) => session.set('basket', good));
    world.store.take();

    const session = await browser.arrive();
    session.set('color', { hunter2: true });
    (session.data.basket as { qty: unknown }[])[0]!.qty = 'hunter2';
    const failure: Error & { violations?: string[] } = await session.save().then(
      () => new Error('it was stored'),
      (error: Error) => error,
    );
    expect(failure).toMatchObject({ code: 'SESSION_DATA_INVALID' });
    expect(failure.violations?.join()).toMatch(/basket\.0\.qty/);
    expect(failure.violations?.join()).toMatch(/color/);
    expect(failure.message).not.toContain('hunter2');
    expect(world.store.take()).toEqual(['load']);
    expect({ ...(await browser.visit()).data }).toEqual({ basket: good });

    const fresh = world.browser();
    await expect(fresh.visit((s) => s.set('color', 1))).rejects.toMatchObject({
      code: 'SESSION_DATA_INVALID',
    });
    expect(await world.live()).toBe(1);
    await fresh.visit((s) => s.set('color', 'red'));
    expect(await world.live()).toBe(2);
  });

  it('on a login is refused before anything is written', async () => {
    const world = new World({ validate: validatorOf(shape) });
    const browser = world.browser();
    await browser.visit((session) => session.set('color', 'red'));
    world.store.take();
    const login = browser.visit(async (session) => {
      session.set('color', 5);
      await session.authenticate('alice');
    });
    await expect(login).rejects.toMatchObject({ code: 'SESSION_DATA_INVALID' });
    expect(world.store.take()).toEqual(['load']);
    expect((await browser.visit()).get('color')).toBe('red');
  });
});
