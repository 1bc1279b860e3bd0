import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Body, Controller, Get, HttpCode, Post } from '@nestjs/common';
import {
  PassiveSession,
  RequireSession,
  Session,
  SessionService,
  type SessionModuleOptions,
  type SessionRejection,
} from 'nestjs-distributed-session';
import { FakeClock } from 'nestjs-distributed-session/testing';
import type { Redis } from 'ioredis';
import { handleOf } from '../../lib/core/session-id.js';
import { AesRecordSealer } from '../../lib/security/aes-record.sealer.js';
import { Keyring } from '../../lib/security/keyring.js';
import { openWithId } from '../../lib/security/successor.sealer.js';
import { ADAPTERS, NEAR_CACHE, SECRET, type TestApp } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';
import { idIn } from '../support/tokens.js';

const COOKIE = '__Host-session';
const NEW_KEY = 'ujf83hrfbwe8923hfbnsdk02hr8vbq7w';
const OTHER_KEY = 'p0q9w8e7r6t5y4u3i2o1a9s8d7f6g5h4';
const MODES = ['keys', 'store-blind'] as const;
/** All that a session can hold, in words that stand nowhere else. */
const KNOWN = {
  principal: 'philomena',
  roles: ['quartermaster'],
  permissions: ['requisition'],
  claims: { ward: 'infirmary' },
  label: 'bedside-tablet',
};
const WORDS = [
  'philomena',
  'quartermaster',
  'requisition',
  'infirmary',
  'bedside-tablet',
  'appendectomy',
  'discharged',
  'totp',
];

@Controller()
class Ward {
  constructor(private readonly sessions: SessionService) {}

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    const { principal, ...options } = KNOWN;
    await session.authenticate(principal, { ...options, factors: ['totp'] });
    session.set('note', 'appendectomy');
    session.flash('news', 'discharged');
  }

  @RequireSession() @Post('note') @HttpCode(200) write(
    @Session() session: Session,
    @Body() { note }: { note: string },
  ) {
    session.set('note', note);
  }

  @RequireSession() @Post('fill') @HttpCode(200) fill(@Session() session: Session) {
    session.set('note', 'x'.repeat(52_000));
  }

  @RequireSession() @Post('renew') @HttpCode(200) async renew(@Session() session: Session) {
    await session.regenerate();
  }

  @RequireSession() @Get('note') read(@Session() session: Session) {
    const { principal, roles, claims, label, handle } = session;
    return { note: session.get('note'), principal, roles, claims, label, handle };
  }

  @RequireSession() @PassiveSession() @Get('glance') glance(@Session() session: Session) {
    return { note: session.get('note') };
  }

  @RequireSession() @Get('devices') devices() {
    return this.sessions.forPrincipal(KNOWN.principal).list();
  }
}

describe.each(ADAPTERS)('encryption at rest, on %s', (adapter) => {
  const opened = new Opened();
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  let rejected: SessionRejection[];

  beforeAll(async () => {
    redis = await startRedis();
    probe = await RedisProbe.start(redis);
    await probe.watch();
  });

  beforeEach(() => {
    rejected = [];
  });

  afterEach(async () => {
    await opened.close();
    await probe.flush();
  });

  afterAll(async () => {
    await probe?.stop();
    await redis?.stop();
  });

  const node = (session: SessionModuleOptions): Promise<TestApp> =>
    opened.app({
      adapter,
      controllers: [Ward],
      session: {
        encryption: false,
        onRejected: (one) => rejected.push(one),
        ...session,
        redis: redis.connection(),
      },
    });

  const each = (task: (client: Redis) => Promise<unknown>) => Promise.all(probe.nodes.map(task));
  const loggedIn = async (app: TestApp): Promise<HttpClient> => {
    const browser = opened.browser(app);
    expect((await browser.post('/login')).status).toBe(200);
    return browser;
  };
  const at = (app: TestApp, browser: HttpClient) => opened.browser(app, browser.jar);
  const idOf = (browser: HttpClient) => idIn(browser.jar.get(COOKIE)!);
  const keyOf = async (browser: HttpClient) =>
    (await probe.keys(`*${handleOf(idOf(browser))}`)).find((key) => key.includes(':s:'))!;
  const note = async (browser: HttpClient) => (await browser.get('/note')).json.note;

  describe.each(MODES)('mode %s', (mode) => {
    const encryption = { keys: SECRET, mode };

    it('leaves nothing of a session in Redis that can be read, and nothing that is sent to it', async () => {
      const before = (await probe.everythingSent()).length;
      const app = await node({ encryption });
      const browser = await loggedIn(app);
      await browser.post('/note', { json: { note: 'appendectomy, discharged' } });
      await browser.post('/renew');
      const sessions = app.app.get(SessionService);
      await sessions.forPrincipal(KNOWN.principal).updateGrants({ roles: ['quartermaster'] });
      expect(await note(browser)).toBe('appendectomy, discharged');

      const stored = [...(await probe.dump())].flat().join('\n');
      const sent = (await probe.everythingSent()).slice(before).join('\n');
      expect((await probe.liveRecords()).size).toBe(1);
      for (const word of WORDS) {
        expect(stored).not.toContain(word);
        expect(sent).not.toContain(word);
        // Nor as what somebody might take for encryption.
        expect(stored).not.toContain(Buffer.from(word).toString('base64').slice(0, 8));
      }
      expect(stored).not.toContain(idOf(browser));
    });

    it('says the same as without', async () => {
      const app = await node({ encryption });
      const browser = await loggedIn(app);
      const { principal, roles, claims, label } = KNOWN;
      const seen = (await browser.get('/note')).json;
      expect(seen).toMatchObject({ note: 'appendectomy', principal, roles, claims, label });
      const [device] = (await browser.get('/devices')).json as never as [Record<string, unknown>];
      expect(device).toMatchObject({ handle: seen.handle, principal, label, current: true });
      // On any other node, too.
      expect(await note(at(await node({ encryption }), browser))).toBe('appendectomy');
    });

    it('refuses a record in which a single character was changed', async () => {
      const app = await node({ encryption });
      const browser = await loggedIn(app);
      const key = await keyOf(browser);
      const value = (await probe.client.get(key))!;
      const lineEnd = value.indexOf('\n');
      const places = [0, 8, 16, 24, 30, lineEnd - 9, lineEnd + 9, lineEnd + 30, value.length - 2];
      for (const place of places) {
        const other = value[place] === 'A' ? 'B' : 'A';
        await probe.client.set(key, value.slice(0, place) + other + value.slice(place + 1));
        rejected = [];
        const answer = await at(app, browser).get('/note');
        expect([place, answer.status]).toEqual([place, 401]);
        expect(rejected).toEqual([{ reason: 'undecryptable', handle: handleOf(idOf(browser)) }]);
      }
      await probe.client.set(key, value);
      expect(await note(at(app, browser))).toBe('appendectomy');
    });

    it('refuses the record of another session, and the contents of another time', async () => {
      const app = await node({ encryption });
      const [victim, thief] = [await loggedIn(app), await loggedIn(app)];
      const before = (await probe.client.get(await keyOf(thief)))!;
      await probe.client.set(await keyOf(thief), (await probe.client.get(await keyOf(victim)))!);
      expect((await at(app, thief).get('/note')).status).toBe(401);

      await probe.client.set(await keyOf(thief), before);
      await thief.post('/note', { json: { note: 'healed' } });
      const after = (await probe.client.get(await keyOf(thief)))!;
      const [head] = after.split('\n') as [string];
      await probe.client.set(await keyOf(thief), `${head}\n${before.split('\n')[1]}`);
      expect((await at(app, thief).get('/note')).status).toBe(401);
      expect(rejected.map(({ reason }) => reason)).toEqual(['undecryptable', 'undecryptable']);
    });

    it('takes no record that somebody has planted in plain text', async () => {
      const plain = await node({});
      const browser = await loggedIn(plain);
      const app = await node({ encryption });
      expect((await at(app, browser).get('/note')).status).toBe(401);
      expect(rejected).toEqual([{ reason: 'undecryptable', handle: handleOf(idOf(browser)) }]);
      // Those who had sessions before keep them where the application says so, and are sealed when they are used.
      const lenient = await node({ encryption: { ...encryption, acceptPlain: true } });
      expect(await note(at(lenient, browser))).toBe('appendectomy');
      expect(await probe.client.get(await keyOf(browser))).not.toContain('appendectomy');
      expect(await note(at(app, browser))).toBe('appendectomy');
    });

    it('is no reason to log anybody out on a node that has no keys', async () => {
      const browser = await loggedIn(await node({ encryption }));
      const before = await probe.dump();
      const answer = await at(await node({}), browser).get('/note');
      expect(answer.status).toBe(503);
      expect(answer.json.code).toBe('SESSION_FORMAT_UNSUPPORTED');
      expect(answer.text).toContain('encryption');
      expect(answer.setCookie).toEqual([]);
      expect(await probe.dump()).toEqual(before);
    });

    it('seals a session anew under the first key when it is used; a retired key opens nothing', async () => {
      const browsers = [await loggedIn(await node({ encryption }))];
      browsers.push(await loggedIn(await node({ encryption })));
      const both = await node({ encryption: { keys: [NEW_KEY, SECRET], mode } });
      const [used, idle] = browsers as [HttpClient, HttpClient];
      const before = await probe.client.get(await keyOf(used));
      const commands = await probe.commandsDuring(async () => {
        expect(await note(at(both, used))).toBe('appendectomy');
      });
      const load = NEAR_CACHE ? 'evalsha' : 'getex';
      expect(commands.map(({ name }) => name)).toEqual([load, 'evalsha']);
      expect(await probe.client.get(await keyOf(used))).not.toBe(before);
      // Once.
      const again = await probe.commandsDuring(() => at(both, used).get('/note'));
      expect(again.map(({ name }) => name)).toEqual(NEAR_CACHE ? [] : ['get']);

      const retired = await node({ encryption: { keys: NEW_KEY, mode } });
      expect(await note(at(retired, used))).toBe('appendectomy');
      expect((await at(retired, idle).get('/note')).status).toBe(401);
      expect(rejected).toEqual([{ reason: 'undecryptable', handle: handleOf(idOf(idle)) }]);
    });
  });

  it('leads nobody on by a pointer that was altered, and tells no id in force by an old one', async () => {
    const clock = new FakeClock();
    const encryption = { keys: SECRET, mode: 'store-blind' } as const;
    const app = await node({ clock, encryption });
    const browser = await loggedIn(app);
    const early = at(app, browser);
    const old = idOf(browser);
    await browser.post('/renew');
    const key = await keyOf(early);
    const pointer = (await probe.client.get(key))!;
    expect(openWithId(old, pointer.split('.')[2]!)).toBeUndefined();
    clock.advance(60_000);
    expect((await at(app, early).get('/note')).status).toBe(401);
    await probe.client.set(key, pointer.replace(/\d{13}/, String(clock.now() + 1e9)));
    expect((await at(app, early).get('/note')).status).toBe(401);
    expect(await note(browser)).toBe('appendectomy');
  });

  it('locks nobody out who only reads: what cannot be sealed anew stays as it is', async () => {
    const browser = await loggedIn(await node({}));
    await browser.post('/fill');
    // Sealed it would be larger than maxBytes.
    const app = await node({ encryption: { keys: SECRET, acceptPlain: true } });
    expect((await at(app, browser).get('/note')).status).toBe(200);
    const sessions = app.app.get(SessionService).forPrincipal(KNOWN.principal);
    expect(await sessions.updateGrants({ roles: [] })).toBe(1);
    expect((await at(app, browser).get('/note')).json.roles).toEqual([]);
  });

  it('serves reads while Redis takes no writes and keys are rotated', async () => {
    const browser = await loggedIn(await node({ encryption: { keys: SECRET } }));
    const app = await node({ encryption: { keys: [NEW_KEY, SECRET] } });
    await each((client) => client.config('SET', 'maxmemory', '1'));
    try {
      expect(await note(at(app, browser))).toBe('appendectomy');
      expect((await at(app, browser).post('/note', { json: { note: 'x' } })).status).toBe(503);
    } finally {
      await each((client) => client.config('SET', 'maxmemory', '0'));
    }
    expect(await note(at(app, browser))).toBe('appendectomy');
  });

  it('loses no session when secrets and keys are rotated under traffic', async () => {
    const states = [
      [SECRET],
      [SECRET, NEW_KEY],
      [NEW_KEY, SECRET],
      [NEW_KEY],
      [NEW_KEY, OTHER_KEY],
      [OTHER_KEY, NEW_KEY],
      [OTHER_KEY],
    ];
    const nodes: TestApp[] = [];
    for (const keys of states) nodes.push(await node({ secret: keys, encryption: true }));
    const first = nodes[0] as TestApp;
    const visitors = await Promise.all(Array.from({ length: 24 }, () => loggedIn(first)));
    const counts = visitors.map(() => 0);
    const answers: number[] = [];
    // Deployed node by node: for a while a visitor meets the old and the new in turn.
    for (let state = 1; state < nodes.length; state++) {
      await Promise.all(
        visitors.map(async (visitor, i) => {
          for (let round = 0; round < 6; round++) {
            const met = nodes[round < 5 ? state - (round % 2) : state] as TestApp;
            const browser = at(met, visitor);
            const json = { note: `${i}-${++counts[i]!}` };
            answers.push((await browser.post('/note', { json })).status);
            answers.push((await browser.get('/note')).status);
            for (const [name, value] of browser.jar) visitor.jar.set(name, value);
          }
        }),
      );
    }
    expect(answers.filter((status) => status !== 200)).toEqual([]);
    expect(rejected).toEqual([]);
    const last = nodes.at(-1) as TestApp;
    const notes = await Promise.all(visitors.map((visitor) => note(at(last, visitor))));
    expect(notes).toEqual(counts.map((count, i) => `${i}-${count}`));
    // All tokens are signed, and all records sealed, with the newest alone.
    const newest = new AesRecordSealer(new Keyring([OTHER_KEY]), {
      blind: false,
      acceptsPlain: false,
    });
    for (const [key, value] of await probe.liveRecords()) {
      const handle = key.slice(key.lastIndexOf(':') + 1);
      const head = value.split('\n')[0]!;
      const sealed = newest.open(head.slice(16), handle, `head ${handle} ${head.slice(0, 14)}`);
      expect(sealed?.stale).toBe(false);
    }
    // The cookies of the beginning are refused by a node that has dropped the secret.
    const old = await loggedIn(first);
    expect((await at(last, old).get('/note')).status).toBe(401);
  }, 120_000);

  it('store-blind: who has the dump and all keys cannot read what is in a session', async () => {
    const keyring = new Keyring([SECRET]);
    const dumpOf = async (mode: 'keys' | 'store-blind') => {
      await probe.flush();
      const browser = await loggedIn(await node({ encryption: { keys: SECRET, mode } }));
      const id = idOf(browser);
      const handle = handleOf(id);
      const value = (await probe.client.get(await keyOf(browser)))!;
      const [head, body] = value.split('\n') as [string, string];
      const sealer = new AesRecordSealer(keyring, { blind: true, acceptsPlain: false });
      const context = `body ${handle} ${head.slice(0, 14)}`;
      const sealed = body.replace('+', '');
      return [handle, id].map((owner) => sealer.open(sealed, owner, context)?.text);
    };
    expect((await dumpOf('keys'))[0]).toContain('appendectomy');
    const [byHandle, byId] = await dumpOf('store-blind');
    expect(byHandle).toBeUndefined();
    expect(byId).toContain('appendectomy');
  });

  it('store-blind: what needs no contents works from outside; what does says why not', async () => {
    const app = await node({ encryption: { keys: SECRET, mode: 'store-blind' } });
    const browser = await loggedIn(app);
    const sessions = app.app.get(SessionService);
    const alices = sessions.forPrincipal(KNOWN.principal);
    const [listed] = await alices.list();
    const handle = listed!.handle;
    expect(await alices.setLabel(handle, 'kiosk')).toBe(true);
    expect(await alices.updateGrants({ roles: ['porter'] })).toBe(1);

    const found = await sessions.find(handle);
    expect(found).toMatchObject({ principal: KNOWN.principal, roles: ['porter'], label: 'kiosk' });
    const sealed = expect.objectContaining({ code: 'SESSION_UNAVAILABLE' });
    expect(() => found!.get('note')).toThrow(sealed);
    expect(() => found!.set('note', 'x')).toThrow(sealed);
    expect(() => found!.data).toThrow(sealed);
    expect(await found!.save()).toBe(true);

    // Its client has lost nothing, and gets a new id with its new grants.
    const seen = (await browser.get('/note')).json;
    expect(seen).toMatchObject({ note: 'appendectomy', roles: ['porter'], label: 'kiosk' });
    // By its id, which its client may have given to a job, everything can be read.
    expect((await sessions.get(idOf(browser)))?.get('note')).toBe('appendectomy');
    expect(await alices.revokeAll()).toBe(1);
    expect((await browser.get('/note')).status).toBe(401);
  });

  it('renews ids, leads requests in flight on and keeps lists with sealed records', async () => {
    const app = await node({ encryption: { keys: SECRET, mode: 'store-blind' } });
    const browser = await loggedIn(app);
    const late = at(app, browser);
    await browser.post('/renew');
    expect(await note(late)).toBe('appendectomy');
    expect(late.jar.get(COOKIE)).toBe(browser.jar.get(COOKIE));
    expect((await browser.get('/glance')).json.note).toBe('appendectomy');
    expect((await browser.get('/devices')).json).toHaveLength(1);
  });
});
