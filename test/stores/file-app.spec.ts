import { afterEach, describe, expect, it } from '@jest/globals';
import { Controller, Get, HttpCode, Post } from '@nestjs/common';
import { readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  RequireSession,
  Session,
  SessionService,
  type SessionModuleOptions,
} from 'nestjs-distributed-session';
import { ADAPTERS, SECRET } from '../support/app.js';
import { sessionFilesIn, TestDirectories } from '../support/file-directory.js';
import { Opened } from '../support/opened.js';

@Controller()
class Shop {
  constructor(private readonly sessions: SessionService) {}

  @Post('cart') @HttpCode(200) cart(@Session() session: Session) {
    session.increment('items');
    return { items: session.get('items') };
  }

  @Post('login') @HttpCode(200) async login(@Session() session: Session) {
    await session.authenticate('ada');
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { principal: session.principal, items: session.get('items') };
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @Get('devices') devices() {
    return this.sessions.forPrincipal('ada').list();
  }
}

describe.each(ADAPTERS)('a shop with its sessions in files, on %s', (adapter) => {
  const opened = new Opened();
  const directories = new TestDirectories();
  afterEach(async () => {
    await opened.close();
    await directories.remove();
  });

  const node = (directory: string, more: Partial<SessionModuleOptions> = {}) => {
    const store = directories.open({ directory });
    const session = { secret: SECRET, store, ...more } as SessionModuleOptions;
    return opened.app({ adapter, session, controllers: [Shop] });
  };

  it('is one shop on all nodes that share the directory', async () => {
    const directory = await directories.make();
    const [one, other] = [await node(directory), await node(directory)];
    const browser = opened.browser(one);
    await browser.post('/cart');
    await browser.post('/login');
    const before = new Map(browser.jar);
    const there = opened.browser(other, browser.jar);
    expect((await there.get('/me')).json).toEqual({ principal: 'ada', items: 1 });
    const many = Array.from({ length: 10 }, (_, i) => (i % 2 ? browser : there).post('/cart'));
    expect((await Promise.all(many)).map(({ status }) => status)).toEqual(many.map(() => 200));
    expect((await browser.get('/me')).json).toEqual({ principal: 'ada', items: 11 });
    expect((await there.post('/logout')).status).toBe(204);
    for (const app of [one, other]) {
      expect((await opened.browser(app, before).get('/me')).status).toBe(401);
    }
  });

  it('tells no id and no data by names of files', async () => {
    const directory = await directories.make();
    const browser = opened.browser(await node(directory));
    await browser.post('/cart');
    await browser.post('/login');
    const id = [...browser.jar.values()].join().split('.')[0] as string;
    const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).join('\n');
    expect(id.length).toBeGreaterThan(40);
    expect(names).not.toContain(id);
    const contents = sessionFilesIn(directory).map((path) => readFileSync(join(directory, path)));
    expect(contents.join('\n')).not.toContain(id);
  });

  it('answers 503 while the directory is away, and nobody is logged out by it', async () => {
    const directory = await directories.make();
    const browser = opened.browser(await node(directory));
    await browser.post('/login');
    renameSync(directory, `${directory}.away`);
    const answer = await browser.get('/me');
    expect([answer.status, answer.json.code]).toEqual([503, 'SESSION_STORE_UNAVAILABLE']);
    expect(answer.setCookie).toEqual([]);
    renameSync(`${directory}.away`, directory);
    expect((await browser.get('/me')).json).toEqual({ principal: 'ada' });
  });

  it('answers 503 once for a session whose file is damaged, and goes on without it', async () => {
    const directory = await directories.make();
    const browser = opened.browser(await node(directory));
    await browser.post('/cart');
    for (const path of sessionFilesIn(directory)) {
      if (path.includes('/v.')) writeFileSync(join(directory, path), 'x');
    }
    const answer = await browser.post('/cart');
    expect([answer.status, answer.json.code]).toEqual([503, 'SESSION_DAMAGED']);
    expect((await browser.post('/cart')).json).toEqual({ items: 1 });
  });

  it('refuses what needs indexes or news, at boot or by a typed error', async () => {
    const directory = await directories.make();
    const refused: [Partial<SessionModuleOptions>, RegExp][] = [
      [{ maxSessions: 3 }, /maxSessions and indexes need a store that keeps indexes/],
      [{ indexes: { tenant: () => 'x' } }, /maxSessions and indexes need a store/],
      [{ events: true }, /events need a store that tells them/],
      [{ nearCache: true }, /nearCache needs a store that tells/],
    ];
    for (const [more, message] of refused)
      await expect(node(directory, more)).rejects.toThrow(message);
    const browser = opened.browser(await node(directory));
    const answer = await browser.get('/devices');
    expect([answer.status, answer.json.code]).toEqual([501, 'SESSION_UNAVAILABLE']);
  });
});
