import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { SessionService, type SessionModuleOptions } from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import { MemoryRevocations } from '../../lib/stores/carried/memory-revocations.js';
import { ADAPTERS, Latch, SECRET, type TestApp } from '../support/app.js';
import { Browser, CarriedShop } from '../support/carried-app.js';
import { FORMS } from '../support/carried-forms.js';
import { Opened } from '../support/opened.js';

const MINUTE = 60_000;
const BOTH = FORMS.flatMap(([form, make]) => ADAPTERS.map((on) => [form, on, make] as const));

/** As they were, and as they are after another deployment. */
const LONG = { idleTimeout: '12h', absoluteTimeout: '24h' } as const;
const SHORT = {
  idleTimeout: '30m',
  absoluteTimeout: '1h',
  rememberMe: { idleTimeout: '30m', absoluteTimeout: '1h' },
} as const;

describe.each(BOTH)('%s on %s whose timeouts became shorter', (_, adapter, make) => {
  const opened = new Opened();
  let clock: FakeClock;
  let list: MemoryRevocations;

  beforeEach(() => {
    clock = new FakeClock();
    list = new MemoryRevocations(clock);
  });

  afterEach(async () => {
    CarriedShop.latch = undefined;
    await opened.close();
  });

  /** All nodes have one list. */
  const node = (timeouts: Partial<SessionModuleOptions>): Promise<TestApp> =>
    opened.app({
      adapter,
      controllers: [CarriedShop],
      session: { secret: SECRET, clock, store: make(list), ...timeouts },
    });
  const at = ({ port }: TestApp, { jar }: Browser) => new Browser(port, [...jar]);
  const principalAt = async (app: TestApp, browser: Browser) => {
    const copy = at(app, browser);
    try {
      return await copy.principal();
    } finally {
      copy.close();
    }
  };
  const loggedIn = async (app: TestApp, body: object = {}) => {
    const browser = new Browser(app.port);
    await browser.login(body);
    browser.close();
    return browser;
  };
  const logout = async (app: TestApp, browser: Browser) => {
    const copy = at(app, browser);
    expect((await copy.post('/logout')).status).toBe(204);
    copy.close();
  };

  it('stays ended after a logout, wherever a copy comes and however late', async () => {
    const [before, after] = [await node(LONG), await node(SHORT)];
    const browser = await loggedIn(before);
    await logout(after, browser);
    for (let minutes = 0; minutes < 24 * 60; minutes += 61) {
      expect(await principalAt(after, browser)).toBeNull();
      // A node of before, as there is one in the middle of a deployment, or after one that was taken back.
      expect(await principalAt(before, browser)).toBeNull();
      clock.advance(61 * MINUTE);
    }
  });

  it('stays ended after a new id, and the id before it', async () => {
    const [before, after] = [await node(LONG), await node(SHORT)];
    const old = await loggedIn(before);
    const browser = at(after, old);
    expect((await browser.post('/regenerate')).status).toBe(204);
    browser.close();
    await logout(after, browser);
    for (const minutes of [1, 61, 120, 600]) {
      clock.advance(minutes * MINUTE);
      for (const one of [old, browser]) {
        expect(await principalAt(after, one)).toBeNull();
        expect(await principalAt(before, one)).toBeNull();
      }
    }
  });

  it.each([
    ['revokeAll', (app: TestApp) => app.app.get(SessionService).forPrincipal('alice').revokeAll()],
    ['revokeBy', (app: TestApp) => app.app.get(SessionService).revokeBy({ idpSession: 'idp' })],
  ])('stays ended after %s, when nothing is known of it any more', async (_name, end) => {
    const [before, after] = [await node(LONG), await node(SHORT)];
    const browser = await loggedIn(before, { idpSession: 'idp' });
    const lasting = await loggedIn(before, { idpSession: 'idp', rememberMe: true });
    await end(after);
    for (const minutes of [1, 58, 2, 6, 60, 600]) {
      clock.advance(minutes * MINUTE);
      expect(await principalAt(after, browser)).toBeNull();
      expect(await principalAt(after, lasting)).toBeNull();
    }
  });

  it('stays ended after revoke by its handle', async () => {
    const [before, after] = [await node(LONG), await node(SHORT)];
    const browser = await loggedIn(before);
    const copy = at(before, browser);
    const { id } = (await copy.me()) as { id: string };
    copy.close();
    expect(await after.app.get(SessionService).revoke(id)).toBe(true);
    for (const minutes of [1, 58, 2, 6, 60, 600]) {
      clock.advance(minutes * MINUTE);
      expect(await principalAt(after, browser)).toBeNull();
    }
  });

  it('lives no longer than one that had begun by then, however active it is', async () => {
    const [before, after] = [await node(LONG), await node(SHORT)];
    const browser = at(after, await loggedIn(before));
    for (const minutes of [0, 20, 20, 19]) {
      clock.advance(minutes * MINUTE);
      expect(await browser.principal()).toBe('alice');
    }
    clock.advance(MINUTE);
    expect(await browser.principal()).toBeNull();
    browser.close();
  });

  it('stays ended when a renewal was on its way', async () => {
    const app = await node(LONG);
    const browser = await loggedIn(app);
    const slow = at(app, browser);
    CarriedShop.latch = new Latch();
    const answer = slow.post('/slow-elevate');
    await CarriedShop.latch.reached;
    await logout(app, browser);
    CarriedShop.latch.open();
    expect((await answer).setCookie.filter((line) => !/Max-Age=0/i.test(line))).toEqual([]);
    expect(await slow.principal()).toBeNull();
    expect(await principalAt(app, browser)).toBeNull();
    slow.close();
  });
});
