import { SqliteDialect, type Dialect, type SqliteDatabase, type SqliteStatement } from 'kysely';
import Database from 'libsql';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A database of SQLite: a file in a directory of its own. */
export class SqliteFile {
  static readonly isThere = true;
  static readonly remedy = '';
  readonly directory = mkdtempSync(join(tmpdir(), 'session-sqlite-'));

  static async start(): Promise<SqliteFile> {
    return new SqliteFile();
  }

  /** A connection of its own to the file. */
  dialect(): Dialect {
    return new SqliteDialect({ database: new Connection(join(this.directory, 'sessions.db')) });
  }

  async stop(): Promise<void> {
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/**
 * A connection that is opened anew after it found the file busy: libsql 0.5 does not reset the statement that
 * failed, and then commits nothing until that is collected as garbage.
 */
class Connection implements SqliteDatabase {
  #database: InstanceType<typeof Database>;
  #isSpoilt = false;

  constructor(private readonly path: string) {
    this.#database = this.#open();
  }

  prepare(sql: string): SqliteStatement {
    if (this.#isSpoilt && !this.#database.inTransaction) {
      this.#database.close();
      this.#database = this.#open();
      this.#isSpoilt = false;
    }
    const statement = this.#database.prepare(sql) as unknown as SqliteStatement;
    const noting = <T>(work: () => T): T => {
      try {
        return work();
      } catch (error) {
        this.#isSpoilt ||= (error as { code?: string }).code === 'SQLITE_BUSY';
        throw error;
      }
    };
    return {
      reader: statement.reader,
      all: (parameters) => noting(() => statement.all(parameters)),
      run: (parameters) => noting(() => statement.run(parameters)),
      iterate: (parameters) => statement.iterate(parameters),
    };
  }

  close(): void {
    this.#database.close();
  }

  #open() {
    const database = new Database(this.path);
    database.pragma('journal_mode = WAL');
    database.pragma('synchronous = OFF');
    return database;
  }
}
