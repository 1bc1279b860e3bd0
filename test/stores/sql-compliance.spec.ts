import { afterAll, beforeAll, describe, it } from '@jest/globals';
import { describeSessionStore, FakeClock } from 'nestjs-distributed-session/testing';
import type { Kysely } from 'kysely';
import { MariadbServer } from '../support/mariadb.js';
import { PostgresServer } from '../support/postgres.js';
import { freePort } from '../support/redis-server.js';
import {
  describeSql,
  SQL_DIALECTS,
  sqlStore,
  startSql,
  type SqlBackend,
  type Tables,
} from '../support/sql-backends.js';

describeSql(SQL_DIALECTS, (dialect) => {
  let backend: SqlBackend;
  let db: Kysely<Tables>;
  let table: string;
  let deadPort: number;

  beforeAll(async () => {
    backend = await startSql(dialect);
    deadPort = await freePort();
    db = backend.connect();
    table = await backend.tablesBy(db);
  }, 60_000);

  afterAll(() => backend?.stop());

  const lost = async () => {
    const { server } = backend;
    if (server instanceof PostgresServer)
      return backend.connect(server.dialect({ port: deadPort }));
    if (server instanceof MariadbServer) return backend.connect(server.dialect({ port: deadPort }));
    // A file cannot be out of reach, but a connection to it can be closed.
    const closed = backend.connect();
    await closed.selectFrom(table).select('handle').execute();
    await closed.destroy();
    return closed;
  };

  describe('by its clock', () => {
    describeSessionStore('SqlSessionStore', {
      runner: { describe, it },
      toggles: { news: false, fence: true },
      create: async () => {
        await backend.empty(db, table);
        return sqlStore(db, { table });
      },
      unreachable: async () => sqlStore(await lost(), { table }),
    });
  });

  if (dialect !== 'sqlite') return;

  describe('by a clock of ours', () => {
    const clock = new FakeClock();
    describeSessionStore('SqlSessionStore', {
      runner: { describe, it },
      toggles: { news: false, fence: true },
      create: async () => {
        await backend.empty(db, table);
        return sqlStore(db, { table, clock });
      },
      advance: (milliseconds) => clock.advance(milliseconds),
    });
  });
});
