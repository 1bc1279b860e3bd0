import { afterEach, describe, expect, it } from '@jest/globals';
import { describeFacts, factsIn, troubleWith } from '../../lib/stores/redis/redis-facts.js';
import { NEAR_CACHE, until } from '../support/app.js';
import { Opened } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';
import { Redis } from 'ioredis';

const master = {
  version: '7.0.15',
  role: 'master',
  replicas: 1,
  evictionPolicy: 'noeviction',
  appendOnly: true,
};

describe('what a Redis tells of itself at boot', () => {
  const opened = new Opened();
  afterEach(opened.close);

  const start = async (...args: string[]) => {
    const server = await RedisServer.start(args);
    opened.add({ close: () => server.stop() });
    return server;
  };
  const said = async (url: string) => {
    const { logger } = await opened.app({ adapter: 'express', session: { redis: url } });
    return {
      log: logger.texts('log').filter((t) => t.startsWith('Redis')),
      warn: logger.texts('warn'),
    };
  };

  it('is one line, without a complaint if all is well', async () => {
    const { url } = await start('--appendonly', 'yes');
    const { log, warn } = await said(url);
    expect(log).toEqual([
      expect.stringMatching(/^Redis \d+\.\d+\.\d+ \(master, 0 replicas, noeviction, AOF on\)/),
    ]);
    expect(warn).toEqual([]);
  });

  it('warns of a policy that drops sessions, and of lost changes, with the remedy', async () => {
    const { url } = await start('--maxmemory', '100mb', '--maxmemory-policy', 'allkeys-lru');
    const { warn } = await said(url);
    expect(warn).toEqual([
      expect.stringMatching(/maxmemory-policy is allkeys-lru.*Set maxmemory-policy noeviction/),
      expect.stringMatching(/append-only file is off.*Set appendonly yes/),
    ]);
  });

  it('warns of a replica', async () => {
    const first = await start('--repl-diskless-sync-delay', '0');
    const { url, port } = await start('--replicaof', `127.0.0.1 ${first.port}`);
    const client = new Redis(port, '127.0.0.1');
    await until('it has caught up', async () => (await client.info()).includes('link_status:up'));
    client.disconnect();
    const { log, warn } = await said(url);
    expect(log[0]).toContain('(slave, ');
    expect(warn[0]).toMatch(/replica, which refuses writes.*sentinels/);
  });

  it('is not needed: a user without the right to ask boots in silence', async () => {
    const { port } = await start();
    const client = new Redis(port, '127.0.0.1');
    await client.call('ACL', 'SETUSER', 'shop', 'on', '>pw', '~*', '+@all', '-info');
    client.disconnect();
    const { log, warn } = await said(`redis://shop:pw@127.0.0.1:${port}`);
    const needed = NEAR_CACHE ? [expect.stringContaining('CLIENT TRACKING')] : [];
    expect([log, warn]).toEqual([[], needed]);
  });
});

describe('several servers', () => {
  it('are told together if they are alike, and one by one if not', () => {
    expect(describeFacts([master, master])).toBe(
      'Redis 2 masters, each 7.0.15 (master, 1 replica, noeviction, AOF on)',
    );
    expect(describeFacts([master, { ...master, version: '7.2.0', replicas: 0 }])).toBe(
      'Redis 7.0.15 (master, 1 replica, noeviction, AOF on) and 7.2.0 (master, 0 replicas, noeviction, AOF on)',
    );
  });

  it('are as bad as the worst of them', () => {
    const bad = { ...master, evictionPolicy: 'volatile-lru' };
    expect(troubleWith([master, master])).toEqual([]);
    expect(troubleWith([master, bad])).toEqual([expect.stringContaining('volatile-lru')]);
  });

  it('that tell nothing are of unknown version, and nothing is wrong with that', () => {
    const facts = factsIn('# Server\r\n');
    expect(facts).toMatchObject({ version: 'of unknown version', role: 'unknown' });
    expect(factsIn('valkey_version:8.1.0\r\nredis_version:7.2.4\r\n').version).toBe('8.1.0');
  });
});
