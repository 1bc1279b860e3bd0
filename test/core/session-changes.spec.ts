import { describe, expect, it } from '@jest/globals';
import { jsonSessionCodec } from '../../lib/core/json-session.codec.js';
import { SessionChanges, type EncodedContents } from '../../lib/core/session-changes.js';
import { SessionDamagedError } from '../../lib/core/session.errors.js';

/** Contents as the store has them. */
const stored = (data: object, flash?: object): EncodedContents => ({
  dataText: JSON.stringify(data),
  flashText: flash ? JSON.stringify(flash) : '',
});

function changesOn(data?: object, flash?: object): SessionChanges {
  const changes = new SessionChanges(jsonSessionCodec);
  if (data) changes.rebase(stored(data, flash));
  return changes;
}

/** What would be written, `undefined` if nothing would. */
function written(changes: SessionChanges): { data: unknown; flash: unknown } | undefined {
  const encoded = changes.encode();
  if (!encoded) return undefined;
  const { dataText, flashText } = encoded;
  return { data: JSON.parse(dataText), flash: flashText ? JSON.parse(flashText) : {} };
}

describe('what counts as a change', () => {
  it('is nothing for a new session that was only looked at, or emptied again', () => {
    const changes = changesOn();
    expect(changes.get('cart')).toBeUndefined();
    expect(changes.data).toEqual({});
    expect(changes.takeFlash('info')).toEqual([]);
    expect(changes.encode()).toBeUndefined();
    changes.set('cart', [1]);
    changes.set('cart', undefined);
    changes.clear();
    expect(changes.encode()).toBeUndefined();
    expect(changes.isEmpty).toBe(true);
  });

  it('is nothing for a stored session that was read, or given the values it has', () => {
    const changes = changesOn({ cart: [{ sku: 'a' }], n: 1 });
    expect(changes.get('n')).toBe(1);
    expect(changes.mayDiffer).toBe(false);
    expect(changes.get('cart')).toEqual([{ sku: 'a' }]);
    changes.set('n', 1);
    expect(changes.encode()).toBeUndefined();
  });

  it('is every operation, each as it reads', () => {
    const changes = changesOn({ a: 1, b: 2, c: 3 });
    changes.set('a', { x: null });
    changes.set('b', undefined);
    expect(changes.update('c', (c) => (c as number) + 1)).toBe(4);
    expect(changes.update('d', (d) => d ?? 'new')).toBe('new');
    expect(written(changes)).toEqual({ data: { a: { x: null }, c: 4, d: 'new' }, flash: {} });
  });

  it('is clearing a stored session, which is then written as an empty one', () => {
    const changes = changesOn({ a: 1 }, { info: ['hi'] });
    changes.clear();
    expect(written(changes)).toEqual({ data: {}, flash: {} });
  });

  it.each<[string, (changes: SessionChanges) => void]>([
    ['through get', (changes) => (changes.get('cart') as { items: number[] }).items.push(3)],
    ['through data', (changes) => (changes.data.cart as { items: number[] }).items.push(3)],
    ['as an attribute of data', (changes) => (changes.data.cart = { items: [1, 2, 3] })],
  ])('is a nested mutation %s', (_, mutate) => {
    const changes = changesOn({ cart: { items: [1, 2] } });
    mutate(changes);
    expect(written(changes)).toEqual({ data: { cart: { items: [1, 2, 3] } }, flash: {} });
  });

  it('is a mutation of a value after it was set', () => {
    const changes = changesOn({});
    const cart = { items: [1] };
    changes.set('cart', cart);
    cart.items.push(2);
    expect(written(changes)).toEqual({ data: { cart: { items: [1, 2] } }, flash: {} });
  });

  it('is gone once it is stored, and noticed anew through references from before', () => {
    const changes = changesOn({ cart: [1] });
    const cart = changes.get('cart') as number[];
    cart.push(2);
    changes.stored(changes.encode() as EncodedContents);
    expect(changes.encode()).toBeUndefined();
    cart.push(3);
    expect(written(changes)?.data).toEqual({ cart: [1, 2, 3] });
  });
});

describe('flash messages', () => {
  it('wait in order for one reader, apart from the data', () => {
    const changes = changesOn();
    changes.leaveFlash('info', 'first');
    changes.leaveFlash('info', { second: 2 });
    expect(written(changes)).toEqual({ data: {}, flash: { info: ['first', { second: 2 }] } });
    changes.stored(changes.encode() as EncodedContents);
    expect(changes.takeFlash('info')).toEqual(['first', { second: 2 }]);
    expect(changes.takeFlash('info')).toEqual([]);
    expect(written(changes)).toEqual({ data: {}, flash: {} });
    expect(changes.data).toEqual({});
  });

  it('have keys that are keys like any other', () => {
    const changes = changesOn({}, JSON.parse('{"__proto__":["polluted"]}') as object);
    expect(changes.takeFlash('constructor')).toEqual([]);
    changes.leaveFlash('toString', 'x');
    expect(changes.takeFlash('toString')).toEqual(['x']);
    expect(changes.takeFlash('__proto__')).toEqual(['polluted']);
    expect(({} as Record<number, unknown>)[0]).toBeUndefined();
  });

  it('that were left by another request meanwhile survive a reader', () => {
    const changes = changesOn({}, { info: ['mine'] });
    expect(changes.takeFlash('info')).toEqual(['mine']);
    changes.rebase(stored({}, { info: ['mine', 'left meanwhile'] }));
    expect(written(changes)?.flash).toEqual({ info: ['left meanwhile'] });
  });
});

describe('a replay on what another request has stored', () => {
  it('keeps both: attributes of others stay, ours are set, deleted, counted and computed anew', () => {
    const changes = changesOn({ mine: 1, theirs: 1, gone: 1, n: 10, cart: ['a'] });
    changes.set('mine', 2);
    changes.set('gone', undefined);
    changes.update('n', (n) => (n as number) + 5);
    changes.update('cart', (cart) => [...(cart as string[]), 'b']);
    changes.leaveFlash('info', 'ours');
    changes.rebase(
      stored({ mine: 1, theirs: 2, added: 3, gone: 1, n: 100, cart: ['a', 'x'] }, { info: ['x'] }),
    );
    expect(written(changes)).toEqual({
      data: { mine: 2, theirs: 2, added: 3, n: 105, cart: ['a', 'x', 'b'] },
      flash: { info: ['x', 'ours'] },
    });
  });

  it('does operations in the order in which they were done', () => {
    const changes = changesOn({ a: 1 });
    changes.set('a', 2);
    changes.clear();
    changes.set('b', 1);
    changes.update('b', (b) => (b as number) + 1);
    changes.rebase(stored({ a: 9, b: 40, c: 9 }));
    expect(written(changes)?.data).toEqual({ b: 2 });
  });

  it('keeps attributes that were changed through references, and only those', () => {
    const changes = changesOn({ cart: { items: [1] }, profile: { name: 'a' }, old: 1 });
    const data = changes.data as Record<string, { items: number[]; name: string }>;
    data.cart!.items.push(2);
    delete data.old;
    data.fresh = { items: [], name: 'f' };
    changes.rebase(stored({ cart: { items: [1, 9] }, profile: { name: 'b' }, old: 1 }));
    expect(written(changes)?.data).toEqual({
      cart: { items: [1, 2] },
      profile: { name: 'b' },
      fresh: { items: [], name: 'f' },
    });
  });

  it('does not mistake attributes that were merely read for ours', () => {
    const changes = changesOn({ cart: { items: [1] } });
    changes.get('cart');
    changes.set('n', 1);
    changes.rebase(stored({ cart: { items: [1, 2] } }));
    expect(written(changes)?.data).toEqual({ cart: { items: [1, 2] }, n: 1 });
  });

  it('keeps what was changed in a value after it was set or computed', () => {
    const changes = changesOn({ log: ['a'] });
    const cart = ['x'];
    changes.set('cart', cart);
    cart.push('y');
    const log = changes.update('log', (all) => [...(all as string[]), 'b']) as string[];
    log.push('c');
    changes.rebase(stored({ log: ['a', 'theirs'] }));
    expect(changes.get('cart')).toEqual(['x', 'y']);
    expect(changes.get('log')).toContain('c');
  });

  it('leaves the data object in place, so that who holds it sees what is there now', () => {
    const changes = changesOn({ a: 1 });
    const { data } = changes;
    changes.set('b', 2);
    changes.rebase(stored({ a: 10 }));
    expect(data).toBe(changes.data);
    expect(data).toEqual({ a: 10, b: 2 });
  });

  it('can be done again and again, and counts each operation once', () => {
    const changes = changesOn({ n: 0 });
    changes.update('n', (n) => (n as number) + 1);
    for (let n = 1; n <= 5; n++) changes.rebase(stored({ n }));
    expect(written(changes)?.data).toEqual({ n: 6 });
    changes.stored(changes.encode() as EncodedContents);
    changes.rebase(stored({ n: 50 }));
    expect(changes.encode()).toBeUndefined();
    expect(changes.get('n')).toBe(50);
  });

  it('on nothing begins with an empty session', () => {
    const changes = changesOn({ theirs: 1, n: 5 });
    changes.update('n', (n = 0) => (n as number) + 1);
    changes.set('mine', 1);
    changes.rebase(undefined);
    expect(written(changes)?.data).toEqual({ n: 1, mine: 1 });
  });

  it('costs nothing where nothing was decoded', () => {
    const changes = changesOn({ a: 1 });
    changes.rebase({ dataText: 'not JSON', flashText: '' });
    expect(changes.mayDiffer).toBe(false);
    expect(changes.encodeAll().dataText).toBe('not JSON');
  });
});

describe('damaged contents', () => {
  it.each([
    ['data that is no JSON', { dataText: '{"a":', flashText: '' }],
    ['data that is a list', { dataText: '[1]', flashText: '' }],
    ['data that is null', { dataText: 'null', flashText: '' }],
    ['flash that is no JSON', { dataText: '{}', flashText: '{' }],
  ])('are a typed error when they are asked for: %s', (_, contents) => {
    const changes = new SessionChanges(jsonSessionCodec);
    changes.rebase(contents);
    expect(changes.damaged).toBe(false);
    expect(() => changes.data).toThrow(SessionDamagedError);
    expect(changes.damaged).toBe(true);
    expect(changes.mayDiffer).toBe(true);
    expect(() => changes.set('a', 1)).toThrow(SessionDamagedError);
  });
});
