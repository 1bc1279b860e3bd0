import { afterAll, beforeAll, beforeEach, expect, it } from '@jest/globals';
import { sql, type Kysely } from 'kysely';
import type { SqlSessionStore } from 'nestjs-distributed-session/sql';
import { setImmediate } from 'node:timers/promises';
import { countOf, versionOf } from '../../lib/core/session-record.js';
import { inParallel } from '../support/app.js';
import { MariadbServer } from '../support/mariadb.js';
import { PostgresServer } from '../support/postgres.js';
import {
  describeSql,
  SQL_DIALECTS,
  sqlStore,
  startSql,
  type SqlBackend,
  type Tables,
} from '../support/sql-backends.js';
import {
  ahead,
  BUCKET,
  HOUR,
  limitOf,
  newHandle,
  newValue,
  pointer,
  standingIn,
} from '../support/sql-sessions.js';

const PLACE = 'p:someone';
const OTHER = 'i.tenant:somewhere';
/** Connections of each node, where a database has more than one. */
const CONNECTIONS = 20;

describeSql(SQL_DIALECTS, (dialect) => {
  let backend: SqlBackend;
  let db: Kysely<Tables>;
  let table: string;
  /** Two nodes, each with connections of its own. */
  let nodes: readonly [SqlSessionStore, SqlSessionStore];

  const connect = () => {
    const { server } = backend;
    if (server instanceof PostgresServer)
      return backend.connect(server.dialect({ max: CONNECTIONS }));
    if (server instanceof MariadbServer)
      return backend.connect(server.dialect({ connectionLimit: CONNECTIONS }));
    return backend.connect();
  };

  beforeAll(async () => {
    backend = await startSql(dialect);
    db = connect();
    table = await backend.tablesBy(db);
    nodes = [sqlStore(db, { table }), sqlStore(connect(), { table })];
  }, 60_000);

  beforeEach(() => backend.empty(db, table));

  afterAll(() => backend?.stop());

  const either = (i: number) => nodes[i % 2] as SqlSessionStore;
  const stored = async (store: SqlSessionStore, places = [PLACE]) => {
    const [handle, value] = [newHandle(), newValue()];
    await store.create(handle, value, { ttl: HOUR, standing: standingIn(places) });
    return { handle, value, expected: versionOf(value) };
  };
  const handlesIn = async (place: string) =>
    (await nodes[0].list(BUCKET, place, { limit: 1_000 })).map(({ handle }) => handle).sort();
  const lives = async (handle: string) => (await nodes[0].load(handle)) !== undefined;
  /** Entries of sessions that are there no more. */
  const orphans = async () => {
    const { rows } = await sql<{ count: number }>`
      select count(*) as count from ${sql.table(`${table}_places`)} p
      where not exists (select 1 from ${sql.table(table)} s where s.handle = p.handle)`.execute(db);
    return Number(rows[0]?.count);
  };

  it('200 logins of four principals on two nodes at once: nobody gets more than five sessions', async () => {
    let highest = 0;
    let isOver = false;
    const watch = async () => {
      while (!isOver) {
        highest = Math.max(highest, await nodes[1].countIn(BUCKET, `${PLACE}0`));
        // A file is read without any wait: others must get their turn.
        await setImmediate();
      }
    };
    const watching = watch().catch((error: unknown) => error);
    const admissions = await inParallel(200, 2 * CONNECTIONS, (i) => {
      const place = `${PLACE}${i % 4}`;
      const onLimit = i % 4 < 2 ? 'reject' : 'retire-oldest';
      return either(i >> 2).admit(newHandle(), newValue(), {
        ttl: HOUR,
        standing: standingIn([place, `${OTHER}${i % 4}`], i),
        limit: limitOf(place, 5, onLimit),
      });
    });
    isOver = true;
    expect(await watching).toBeUndefined();
    expect(highest).toBe(5);
    for (const n of [0, 1, 2, 3]) {
      expect(await nodes[0].countIn(BUCKET, `${PLACE}${n}`)).toBe(5);
      expect(await nodes[0].countIn(BUCKET, `${OTHER}${n}`)).toBe(5);
      const its = admissions.filter((_, i) => i % 4 === n);
      const created = its.filter(({ status }) => status === 'created').length;
      expect(created).toBe(n < 2 ? 5 : 50);
      const retired = its.flatMap((one) => (one.status === 'created' ? one.retired : []));
      expect(new Set(retired).size).toBe(n < 2 ? 0 : 45);
      for (const handle of retired) expect(await lives(handle)).toBe(false);
    }
    expect(await orphans()).toBe(0);
  });

  it('nothing that existed when a place is ended lives on: not by creating, moving, renewing or saving', async () => {
    for (let round = 0; round < 20; round++) {
      const [saved, moved, renewed] = await Promise.all([0, 1, 2].map((i) => stored(either(i))));
      const elsewhere = await stored(nodes[0], [OTHER]);
      const next = newHandle();
      const [one, other] = round % 2 ? nodes : [nodes[1], nodes[0]];
      const [ended, created] = await Promise.all([
        one.endIn(BUCKET, PLACE),
        stored(other),
        other.save(saved!.handle, newValue('saved', saved!.value), {
          expected: saved!.expected,
          ttl: HOUR,
        }),
        other.touch(saved!.handle, HOUR),
        other.save(moved!.handle, newValue('moved', moved!.value), {
          expected: moved!.expected,
          standing: standingIn([PLACE, OTHER]),
          leaves: [],
        }),
        other.replace(renewed!.handle, pointer(renewed!.value), {
          expected: renewed!.expected,
          ttl: HOUR,
          leaves: [PLACE],
          next: { handle: next, value: newValue(), ttl: HOUR, standing: standingIn([PLACE]) },
        }),
        other.save(elsewhere.handle, newValue('comes', elsewhere.value), {
          expected: elsewhere.expected,
          standing: standingIn([PLACE]),
          leaves: [OTHER],
        }),
      ]);
      const { handles = [] } = ended;
      for (const { handle } of [saved!, moved!]) {
        expect(handles).toContain(handle);
        expect(await lives(handle)).toBe(false);
      }
      // Under one of its two handles it was found, and under the other it leads nowhere.
      expect(handles.filter((it) => it === renewed!.handle || it === next)).toHaveLength(1);
      expect(await lives(next)).toBe(false);
      // What came meanwhile came before or after: it was ended and told, or it lives and is listed.
      const came = [created.handle, elsewhere.handle].filter((it) => !handles.includes(it)).sort();
      expect(await handlesIn(PLACE)).toEqual(came);
      for (const it of came) expect(await lives(it)).toBe(true);
      const late = await stored(other);
      expect(await lives(late.handle)).toBe(true);
      await backend.empty(db, table);
      expect(await orphans()).toBe(0);
    }
  });

  it('500 changes of one session on two nodes, 10 at a time: each of them counts', async () => {
    const { handle, value } = await stored(nodes[0]);
    await nodes[0].save(handle, newValue('0', value), { expected: versionOf(value) });
    await inParallel(500, 10, async (i) => {
      let current = (await either(i).load(handle))?.value as string;
      for (;;) {
        const count = Number(current.split('\n')[2]);
        const next = newValue(String(count + 1), current);
        const options = { expected: versionOf(current), ttl: HOUR };
        const outcome = await either(i).save(handle, next, options);
        if (outcome.status === 'saved') return;
        if (outcome.status === 'gone') throw new Error('it is gone');
        current = outcome.current;
      }
    });
    const end = (await nodes[1].load(handle))?.value as string;
    expect(end.split('\n')[2]).toBe('500');
    expect(countOf(end)).toBe(502);
  });

  it('of values that are brought while others write no older one ever wins', async () => {
    const { handle, value } = await stored(nodes[0]);
    let seen = 0;
    const look = async (store: SqlSessionStore) => {
      const found = await store.load(handle);
      const count = countOf(found?.value as string);
      // One who reads after another sees nothing older; reads at the same time may overtake each other.
      return count;
    };
    for (let round = 0; round < 20; round++) {
      await Promise.all(
        Array.from({ length: 10 }, (_, i) => {
          const by = (round * 37 + i * 11) % 100;
          return either(i).bring(handle, ahead(value, by), HOUR);
        }),
      );
      const current = (await nodes[0].load(handle))?.value as string;
      await nodes[1].save(handle, ahead(current, 1), { expected: versionOf(current) });
      const now = await look(either(round));
      expect(now).toBeGreaterThan(seen);
      seen = now;
    }
    expect(await handlesIn(PLACE)).toEqual([handle]);
    await Promise.all([
      nodes[0].delete(handle),
      ...Array.from({ length: 10 }, (_, i) => either(i).bring(handle, ahead(value, 500 + i), HOUR)),
    ]);
    expect(await lives(handle)).toBe(false);
    expect(await nodes[1].bring(handle, ahead(value, 1_000), HOUR)).toBe(false);
    expect(await lives(handle)).toBe(false);
    expect(await orphans()).toBe(0);
  });

  it('what was given up because others were in the way is tried again', async () => {
    const one = await stored(nodes[0]);
    const holder = connect();
    const ending: Promise<unknown>[] = [];
    await holder.transaction().execute(async (other) => {
      if (dialect === 'postgres') {
        // Of two that wait for each other the one that waits longest is given up: not this one.
        await sql`set local deadlock_timeout = '30s'`.execute(other);
      }
      await other
        .updateTable(table)
        .set({ expires: sql`expires + 1` })
        .where('handle', '=', one.handle)
        .execute();
      ending.push(nodes[1].endIn(BUCKET, PLACE).catch((error: unknown) => error));
      if (dialect === 'sqlite') return;
      // It has the bucket as soon as nobody else can take it, and then waits for the session.
      await untilLocked(holder, `${table}_buckets`);
      await sql`update ${sql.table(table)} set expires = expires + 1`.execute(other);
      await sql`select bucket from ${sql.table(`${table}_buckets`)} where bucket = ${BUCKET} for update`.execute(
        other,
      );
    });
    expect(await ending[0]).toEqual({ ended: 1, pointers: [], handles: [one.handle] });
    expect(await lives(one.handle)).toBe(false);
  });

  async function untilLocked(by: Kysely<Tables>, buckets: string): Promise<void> {
    for (;;) {
      const free = await by
        .transaction()
        .execute((look) =>
          look
            .selectFrom(buckets)
            .select('bucket')
            .where('bucket', '=', BUCKET)
            .forUpdate()
            .skipLocked()
            .execute(),
        );
      if (free.length === 0) return;
    }
  }
});
