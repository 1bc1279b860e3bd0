import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Type } from '@nestjs/common';
import { transform } from '@swc/core';
import { SessionService, type Session } from 'nestjs-distributed-session';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { readPages } from '../docs/pages.js';
import { inParallel, until, type TestApp } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';
import { BuiltCli, runProcess, SWC, type Ended } from './built-cli.js';
import { cookieOf, openShop, Shopper } from './drill-shop.js';
import { endOf } from './sessions-world.js';

/** `SESSIONS=100000` is the drill of docs/disaster-recovery.md; by default a smaller one. */
const SESSIONS = Number(process.env.SESSIONS ?? 2_000);
/** With it the figures are printed. */
const IS_FULL = process.env.SESSIONS !== undefined;
const USERS = 24;
/** Milliseconds between the requests of a browser. */
const THINKS = 25;
/** Sessions of each principal. */
const EACH = 4;

const page = readPages().find(({ path }) => path === 'docs/disaster-recovery.md');
const commands = (page?.blocks ?? []).filter(({ language }) => language === 'sh');
const [KEY, BACKUP, START, LOOK, RESTORE, OPEN, COUNT] = commands.map(({ text }) => text);

const figures: Record<string, unknown> = {};

describe(`a Redis with ${SESSIONS} sessions is destroyed, and restored as docs/disaster-recovery.md says`, () => {
  const opened = new Opened();
  const folder = mkdtempSync(join(tmpdir(), 'session-drill-'));
  const redisFolder = mkdtempSync(join(tmpdir(), 'session-drill-redis-'));
  let cli: BuiltCli;
  let server: RedisServer;
  let app: TestApp;
  let shoppers: Shopper[];
  let leftLoggedOut: Shopper;
  let leftUnrecorded: Shopper;
  const bulk: { session: Session; end: number }[] = [];

  beforeAll(async () => {
    [cli, server] = await Promise.all([BuiltCli.make(), RedisServer.start()]);
    const { EndedSessions } = await recordOfThePage(dirname(cli.main), join(folder, 'ended.txt'));
    app = await openShop(opened, server.url, { events: true }, [EndedSessions]);
  }, 120_000);

  afterAll(async () => {
    await opened.close();
    const pid = join(redisFolder, 'pid');
    if (existsSync(pid)) process.kill(Number(readFileSync(pid, 'utf8')), 'SIGKILL');
    await server?.stop();
    cli?.remove();
    for (const one of [folder, redisFolder]) rmSync(one, { recursive: true, force: true });
  });

  const sh = async (block: string | undefined): Promise<Ended> => {
    const env = {
      PATH: cli.path,
      REDIS_URL: server.url,
      REDIS_PORT: String(server.port),
      REDIS_DIR: redisFolder,
      APPLICATION_PASSWORD: '',
    };
    const ended = await runProcess('bash', ['-euc', String(block)], { env, cwd: folder });
    expect(`${ended.code} ${ended.stderr}`).toMatch(/^0 (This walks|$)/);
    return ended;
  };

  const service = () => app.app.get(SessionService);
  const one = (i: number) => bulk[Math.floor((i * bulk.length) / 100)]!;

  it('users log in, fill their carts, and come from several devices', async () => {
    shoppers = await inParallel(USERS, 8, (i) =>
      Shopper.enter(opened.browser(app), `shopper-${i}`),
    );
    await inParallel(SESSIONS - USERS, 64, async (i) => {
      const principal = `user-${Math.floor(i / EACH)}`;
      const data = { basket: [`thing-${i}`, 'x'.repeat(150)] };
      const session = await service().create({ principal, data });
      bulk.push({ session, end: 0 });
    });
    expect(await service().count()).toBe(SESSIONS);
    // Somebody's second device.
    const second = await Shopper.enter(opened.browser(app), 'shopper-0');
    shoppers.push(second);
    expect(await second.devices()).toBe(2);
  }, 600_000);

  it('a backup is made while they go on', async () => {
    await sh(KEY);
    const before = await traffic(400);
    const stop = { stopped: false };
    const during = traffic(Infinity, stop);
    const start = performance.now();
    const ended = await sh(BACKUP);
    figures.backupSeconds = seconds(start);
    stop.stopped = true;
    const latencies = await during;
    const file = join(folder, 'sessions.backup');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    Object.assign(figures, {
      bytes: statSync(file).size,
      told: ended.stdout,
      memory: ended.memory,
      requests: latencies.length,
      p99: p99(latencies),
      p99Before: p99(before),
    });
    expect(ended.stdout).toMatch(new RegExp(`sessions +${SESSIONS + 1}\\n`));
  }, 600_000);

  it('somebody logs out, and then Redis is destroyed', async () => {
    for (let i = 0; i < 100; i++) one(i).end = await idleEndOf(one(i).session);
    [leftLoggedOut, leftUnrecorded] = shoppers.splice(1, 2) as [Shopper, Shopper];
    const ended = join(folder, 'ended.txt');
    const recorded = () => (existsSync(ended) ? readFileSync(ended, 'utf8') : '');
    // Of ids that were renewed while the backup was made it depends on the moment what it holds.
    writeFileSync(ended, '');
    for (const { browser } of [leftLoggedOut, leftUnrecorded]) {
      const another = browser.another(browser.jar);
      // The backup knows them under the handle from before.
      expect((await another.post('/renew')).status).toBe(200);
      expect((await another.post('/logout')).status).toBe(204);
    }
    for (const { handle } of [leftLoggedOut, leftUnrecorded]) {
      await until('it is recorded', () => recorded().includes(handle));
    }
    const forgotten = recorded().replaceAll(`${leftUnrecorded.handle}\n`, '');
    writeFileSync(ended, forgotten);
    // No look at what it holds before: that is done when it is back.
    await server.kill();
    rmSync(server.directory, { recursive: true, force: true });
    await expectUnavailable();
  });

  it('a new one is started, closed, and nobody is logged out by it', async () => {
    await sh(START);
    await until('the application has found it', async () => {
      await expectUnavailable();
      return true;
    });
  });

  it('looking at what would be restored restores nothing', async () => {
    const ended = await sh(LOOK);
    expect(ended.stdout).toMatch(new RegExp(`would restore +${SESSIONS + 1} sessions`));
    await expectUnavailable();
  });

  it('the backup is restored, and it is opened', async () => {
    const start = performance.now();
    const ended = await sh(RESTORE);
    figures.restoreSeconds = seconds(start);
    figures.restoreMemory = ended.memory;
    figures.toldByRestore = ended.stdout;
    expect(ended.stdout).toMatch(new RegExp(`restored +${SESSIONS} sessions`));
    expect(ended.stdout).toMatch(/left out +1\n/);
    await sh(OPEN);
    const isBack = async () => (await shoppers[0]!.browser.get('/cart')).status === 200;
    await until('the application goes on', isBack, { within: 10_000 });
    expect((await sh(COUNT)).stdout).toMatch(new RegExp(`sessions +${SESSIONS}\\n`));
  }, 600_000);

  it('idle windows end when they would have ended', async () => {
    for (let i = 0; i < 100; i++) {
      const { session, end } = one(i);
      expect(Math.abs((await idleEndOf(session)) - end)).toBeLessThan(1_000);
    }
  });

  it('who got new ids all the while has one session, with what was in it', async () => {
    for (const { name } of shoppers.filter(isRenewing)) {
      const listed = await service().forPrincipal(name).list();
      expect(listed).toHaveLength(1);
      const session = await service().find(listed[0]!.handle);
      expect(session?.get('basket')).toEqual(['before-login', `of-${name}`]);
    }
  });

  it('users go on with their cookies, and have what they had', async () => {
    const others = shoppers.filter((shopper) => !isRenewing(shopper));
    const goOn = await Promise.all(others.map((shopper) => shopper.isAsBefore()));
    expect(goOn).toEqual(others.map(() => true));
    expect(others.length).toBeGreaterThan(USERS / 2);
    const { browser } = shoppers[0]!;
    for (let i = 0; i < 100; i++) {
      const { session } = one(i);
      const cookies: [string, string][] = [cookieOf(app, browser, session)];
      const answer = await browser.another(cookies).get('/cart');
      const { principal } = session;
      expect(answer.json).toEqual({ principal, basket: session.get('basket') });
    }
  });

  it('lists of devices are complete, and end them all', async () => {
    const [first] = shoppers as [Shopper];
    expect(await first.devices()).toBe(2);
    for (let i = 0; i < 50; i++) {
      const principal = String(one(i).session.principal);
      const listed = await service().forPrincipal(principal).list();
      const own = bulk.filter(({ session }) => session.principal === principal);
      expect(listed.map(({ handle }) => handle).sort()).toEqual(
        own.map(({ session }) => session.handle).sort(),
      );
    }
    expect((await first.browser.post('/end-all')).json).toEqual({ ended: 2 });
    const both = shoppers.filter(({ name }) => name === first.name);
    expect(both).toHaveLength(2);
    for (const { browser } of both) expect((await browser.get('/cart')).status).toBe(401);
  });

  it('whose logout was recorded is logged out, and whose was not is logged in again, as the page says', async () => {
    expect((await leftLoggedOut.browser.get('/cart')).status).toBe(401);
    expect(await leftUnrecorded.isAsBefore()).toBe(true);
    expect(page?.text).toContain('whoever logged out is logged in');
  });

  it('restored once more it does nothing: who has logged out since stays so', async () => {
    const [gone] = shoppers.splice(2, 1) as [Shopper];
    expect((await gone.browser.another(gone.browser.jar).post('/logout')).status).toBe(204);
    writeFileSync(join(folder, 'lock'), '');
    const again = await sh(RESTORE);
    expect(again.stdout).toMatch(/restored +0 sessions/);
    expect((await gone.browser.get('/cart')).status).toBe(401);
    if (IS_FULL) process.stdout.write(`${JSON.stringify(figures, null, 2)}\n`);
  }, 120_000);

  async function idleEndOf({ handle }: Session): Promise<number> {
    const client = server.connect();
    const end = await endOf(client, `{sess:${handle.slice(0, 2)}}:s:${handle}`);
    client.disconnect();
    return end;
  }

  /** Browsers that read and write, and renew their ids; how long each request took, in milliseconds. */
  async function traffic(requests: number, until = { stopped: false }): Promise<number[]> {
    const latencies: number[] = [];
    await inParallel(12, 12, async (i) => {
      const shopper = shoppers[4 + i]!;
      const { browser } = shopper;
      while (!until.stopped && latencies.length < requests) {
        const start = performance.now();
        const turn = latencies.length % 10;
        const path = turn === 0 && isRenewing(shopper) ? '/renew' : '/count';
        const answer = turn < 5 ? await browser.post(path) : await browser.get('/cart');
        latencies.push(performance.now() - start);
        expect(answer.status).toBe(200);
        await new Promise((resolve) => setTimeout(resolve, THINKS));
      }
    });
    return latencies;
  }

  async function expectUnavailable(): Promise<void> {
    const { browser } = shoppers[0]!;
    const before = browser.cookieHeader;
    const answer = await browser.get('/cart');
    expect(answer.status).toBe(503);
    expect(answer.setCookie).toEqual([]);
    expect(browser.cookieHeader).toBe(before);
  }
});

/** The record that the page tells to keep, written to another file. In the repository: its packages are found there. */
async function recordOfThePage(folder: string, to: string): Promise<{ EndedSessions: Type }> {
  const block = (page?.blocks ?? []).find(({ text }) => text.includes('class EndedSessions'));
  const source = `${block?.given}${block?.text}`.replaceAll("'ended.txt'", JSON.stringify(to));
  const { code } = await transform(source, SWC);
  const file = join(folder, 'ended-sessions.mjs');
  writeFileSync(file, code);
  return (await import(file)) as { EndedSessions: Type };
}

/** Those of the traffic whose ids are renewed. */
const isRenewing = ({ name }: Shopper) => /-1[2-5]$/.test(name);

const seconds = (since: number) => Math.round((performance.now() - since) / 100) / 10;
const p99 = (all: readonly number[]) =>
  Math.round([...all].sort((a, b) => a - b)[Math.floor(all.length * 0.99)]! * 10) / 10;
