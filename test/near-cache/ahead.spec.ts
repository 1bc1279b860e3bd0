import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { HmacSessionIdSigner } from '../../lib/security/session-id.signer.js';
import { Keyring } from '../../lib/security/keyring.js';
import { chosenToken } from '../../lib/core/token-choice.js';
import { ADAPTERS, SECRET, type TestApp } from '../support/app.js';
import type { HttpClient } from '../support/http-client.js';
import { areLive, figuresOf, nearApp } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { RedisProbe } from '../support/redis-probe.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

const signer = new HmacSessionIdSigner(new Keyring([SECRET]));

describe.each(ADAPTERS)('a client that has seen more than its store has, on %s', (adapter) => {
  const opened = new Opened();
  let redis: RedisUnderTest;
  let probe: RedisProbe;
  let nodes: TestApp[];
  let alice: HttpClient;
  let id: string;

  beforeAll(async () => {
    redis = await startRedis();
    probe = await RedisProbe.start(redis);
    await probe.watch();
    const app = { ...nearApp(redis.connection(), { cookie: { secure: false } }), adapter };
    nodes = [await opened.app(app), await opened.app(app)];
    await areLive(nodes);
  }, 60_000);

  afterAll(async () => {
    await opened.close();
    await probe.stop();
    await redis.stop();
  });

  beforeEach(async () => {
    alice = opened.browser(nodes[0]!);
    await alice.post('/login/alice');
    await alice.post('/note');
    id = decodeURIComponent(alice.jar.get('session')!).slice(0, 44);
  });

  /** Browsers whose token tells of a version that a failover or a backup has lost. */
  const ahead = (node: TestApp, seen: number, count = 1): HttpClient[] =>
    Array.from({ length: count }, () =>
      opened.browser(node, [['session', encodeURIComponent(signer.sign(id, seen))]]),
    );
  const commandsOf = async (work: () => Promise<unknown>) => {
    const seen = await probe.commandsDuring(work);
    return seen.map(({ name }) => name).filter((name) => name !== 'ping');
  };

  it('costs one read, and is served from copies as anybody else', async () => {
    const [one] = ahead(nodes[1]!, 90);
    await one!.get('/me');
    const { hits } = figuresOf(nodes[1]!);
    const commands = await commandsOf(async () => {
      for (let i = 0; i < 100; i++) expect((await one!.get('/me')).json.note).toBe(1);
    });
    expect(commands).toEqual([]);
    expect(figuresOf(nodes[1]!).hits).toBe(hits + 100);
  });

  it('shares that read with others who are as far ahead', async () => {
    await ahead(nodes[1]!, 2)[0]!.get('/me');
    const before = figuresOf(nodes[1]!);
    expect(before.entries).toBeGreaterThan(0);
    const clients = ahead(nodes[1]!, 91, 50);
    const commands = await commandsOf(async () => {
      const answers = await Promise.all(clients.map((client) => client.get('/me')));
      expect(answers.map(({ json }) => json.note)).toEqual(clients.map(() => 1));
    });
    expect(commands).toHaveLength(1);
    expect(figuresOf(nodes[1]!).behind).toBeGreaterThan(before.behind);
  });

  it('reads what it writes from then on, although that counts less', async () => {
    const [writer] = ahead(nodes[0]!, 92);
    const reader = opened.browser(nodes[1]!);
    Object.defineProperty(reader, 'jar', { value: writer!.jar });
    for (let note = 2; note <= 60; note++) {
      await reader.get('/me');
      await writer!.post('/note');
      expect((await reader.get('/me')).json).toEqual({ note, outage: null });
    }
  });

  it('is behind where it has seen less than the one that asked, and more than there is', async () => {
    const [first, other] = [ahead(nodes[1]!, 93)[0]!, ahead(nodes[1]!, 50)[0]!];
    await first.get('/me');
    const { behind } = figuresOf(nodes[1]!);
    await other.get('/me');
    expect(figuresOf(nodes[1]!).behind).toBe(behind + 1);
  });

  it('that sends its cookie twice has seen the most of both', async () => {
    const tokens = [3, 9, 5].map((seen) => signer.sign(id, seen));
    for (const some of [tokens, tokens.toReversed(), tokens.slice(0, 2), tokens.slice(1)]) {
      expect(chosenToken(some, signer, undefined)).toMatchObject({ id, seen: 9 });
    }
    expect(chosenToken([signer.sign(id, 4), signer.sign(id)], signer, undefined)?.seen).toBe(4);

    // A copy that is as old as the cookie that comes last will not do.
    const [reader] = ahead(nodes[1]!, 2);
    await reader!.get('/me');
    const twice = [95, 2].map((seen) => `session=${encodeURIComponent(signer.sign(id, seen))}`);
    const { behind } = figuresOf(nodes[1]!);
    const client = opened.browser(nodes[1]!);
    const answer = await client.send('GET', '/me', { headers: { cookie: twice.join('; ') } });
    expect(answer.status).toBe(200);
    expect(figuresOf(nodes[1]!).behind).toBe(behind + 1);
  });
});
