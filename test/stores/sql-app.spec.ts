import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Body, Controller, Get, HttpCode, Post } from '@nestjs/common';
import { sql, type Kysely } from 'kysely';
import { RequireSession, Session, SessionService } from 'nestjs-distributed-session';
import { ADAPTERS } from '../support/app.js';
import { Opened, pass } from '../support/opened.js';
import { expectNoIds, issuedIds } from '../support/secrets.js';
import {
  describeSql,
  SQL_DIALECTS,
  sqlStore,
  startSql,
  type SqlBackend,
  type Tables,
} from '../support/sql-backends.js';

@Controller()
class Shop {
  constructor(private readonly sessions: SessionService) {}

  @Post('cart') @HttpCode(200) add(
    @Session() session: Session,
    @Body() { item }: { item: string },
  ) {
    const basket = (session.get('basket') as string[] | undefined) ?? [];
    session.set('basket', [...basket, item]);
  }

  @Get('cart') cart(@Session() session: Session) {
    return session.get('basket') ?? [];
  }

  @Post('login') @HttpCode(200) async login(
    @Session() session: Session,
    @Body() { name }: { name: string },
  ) {
    await session.authenticate(name);
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }

  @RequireSession() @Get('devices') devices(@Session() session: Session) {
    return this.sessions.forPrincipal(session.principal as string).list();
  }

  @RequireSession() @Post('everywhere') @HttpCode(200) async everywhere(
    @Session() session: Session,
  ) {
    return { ended: await this.sessions.forPrincipal(session.principal as string).revokeAll() };
  }

  @RequireSession() @Get('me') me(@Session() session: Session) {
    return { name: session.principal };
  }
}

describeSql(SQL_DIALECTS, (dialect) => {
  let backend: SqlBackend;
  let db: Kysely<Tables>;
  const opened = new Opened();

  beforeAll(async () => {
    backend = await startSql(dialect);
    db = backend.connect();
  }, 60_000);

  afterEach(opened.close);
  afterAll(() => backend?.stop());

  /** Everything that stands in tables, as text and as bytes. */
  const contents = async (table: string): Promise<string[]> => {
    const names = [table, `${table}_places`];
    const all = await Promise.all(
      names.map((name) =>
        sql<Record<string, unknown>>`select * from ${sql.table(name)}`.execute(db),
      ),
    );
    const cells = all.flatMap(({ rows }) => rows.flatMap((row) => Object.values(row)));
    return cells.map((cell) =>
      typeof cell === 'object' && cell !== null
        ? Buffer.from(cell as Uint8Array).toString()
        : String(cell),
    );
  };

  describe.each(ADAPTERS)('an application on %s', (adapter) => {
    it('keeps carts, lists devices, ends sessions one by one and all at once, on two nodes', async () => {
      const table = await backend.tablesBy(db);
      // Ids would be readable in what is not encrypted: the tables must not have them anyway.
      const session = () => ({ store: sqlStore(db, { table }), maxSessions: 3, encryption: false });
      const [one, other] = [
        await opened.app({ adapter, controllers: [Shop], session: session() }),
        await opened.app({ adapter, controllers: [Shop], session: session() }),
      ];
      const phone = opened.browser(one);
      await phone.post('/cart', { json: { item: 'tea' } });
      await phone.post('/login', { json: { name: 'alice' } });
      await phone.post('/cart', { json: { item: 'milk' } });
      const samePhone = opened.browser(other, phone.jar);
      expect((await samePhone.get('/cart')).json).toEqual(['tea', 'milk']);

      const browsers = [];
      for (let i = 0; i < 3; i++) {
        const browser = opened.browser(i % 2 ? one : other);
        await browser.post('/login', { json: { name: 'alice' } });
        browsers.push(browser);
      }
      const bob = opened.browser(one);
      await bob.post('/login', { json: { name: 'bob' } });
      // Three are allowed: the first gave way.
      expect(await pass('/me', [phone, ...browsers, bob])).toEqual([false, true, true, true, true]);
      const devices = (await browsers[2]!.get('/devices')).json as unknown as { handle: string }[];
      expect(devices).toHaveLength(3);
      expect(issuedIds()).toBeGreaterThan(0);
      const stored = await contents(table);
      expect(stored.join()).toContain(devices[0]!.handle);
      expectNoIds('the database', stored);

      expect((await browsers[0]!.post('/logout')).status).toBe(204);
      expect(await pass('/me', [...browsers, bob])).toEqual([false, true, true, true]);
      expect((await browsers[1]!.post('/everywhere')).json).toEqual({ ended: 2 });
      expect(await pass('/me', [...browsers, bob])).toEqual([false, false, false, true]);
      expect((await bob.post('/everywhere')).json).toEqual({ ended: 1 });
      expect((await contents(`${table}`)).filter((cell) => cell.includes('alice'))).toEqual([]);
    });
  });
});
