import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Redis } from 'ioredis';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { handleOf, newSessionId } from '../../lib/core/session-id.js';
import { SessionsWorld } from '../backup/sessions-world.js';
import { inParallel, until } from '../support/app.js';
import { runCli } from '../support/cli-run.js';
import { RedisServer } from '../support/redis-server.js';

const HIDDEN = '\u001b[?25l';
const SHOWN = '\u001b[?25h';
/** Keys enough for a walk to take a while. */
const KEYS = 100_000;

describe('the program, when something comes between', () => {
  let redis: RedisServer;
  let admin: Redis;

  beforeEach(async () => {
    redis = await RedisServer.start();
    admin = redis.connect();
    await new SessionsWorld(admin).login('alice');
  });
  afterEach(async () => {
    // What a server is asked for at its end is asked of each key.
    if (admin.status === 'ready') await admin.flushall();
    admin.disconnect();
    await redis.stop();
  });

  const run = (...args: string[]) =>
    runCli([...args, '--redis', redis.url], { typed: '', env: { TERM: 'xterm' } });
  const fill = () =>
    admin.eval(`for i = 1, ${KEYS} do redis.call('SET', 'other:' .. i, '') end`, 0);
  const scanned = async () =>
    Number(/cmdstat_scan:calls=(\d+)/.exec(await admin.info('commandstats'))?.[1] ?? 0);

  it.each(['stats', 'sweep', 'doctor'])(
    '%s ends if Redis is lost on the way, says what to do, and gives the cursor back',
    async (command) => {
      await fill();
      const running = run(command, ...(command === 'doctor' ? ['--keys', '1000000'] : []));
      await until('it walks', async () => (await scanned()) > 3);
      await redis.kill();
      const { code, stderr } = await running;
      expect(code).toBe(1);
      if (command !== 'doctor') expect(stderr).toMatch(/Redis does not answer any more: see/);
      expect(stderr.lastIndexOf(SHOWN)).toBeGreaterThan(stderr.lastIndexOf(HIDDEN));
    },
    30_000,
  );

  it.each([
    ['stats', 'What was done by then is done'],
    ['sweep', 'What was done by then is done'],
    ['bench --sessions 50000', 'Nothing of what it has made is left'],
  ])(
    '%s is interrupted at once, and gives the cursor back',
    async (command, told) => {
      await fill();
      const running = run(...command.split(' '));
      const isUnderWay = async () => (await scanned()) > 3 || (await admin.dbsize()) > KEYS + 100;
      await until('it is under way', isUnderWay);
      process.emit('SIGINT');
      const { code, stderr } = await running;
      expect([code, stderr]).toEqual([1, expect.stringContaining(`Interrupted. ${told}`)]);
      expect(stderr.lastIndexOf(SHOWN)).toBeGreaterThan(stderr.lastIndexOf(HIDDEN));
      expect(await admin.keys('{sess:bench*')).toEqual([]);
      expect(process.listenerCount('SIGINT')).toBe(0);
    },
    30_000,
  );

  it('a key that holds something else ends neither stats nor sweep', async () => {
    const handle = handleOf(newSessionId());
    await admin.hset(`{sess:${handle.slice(0, 2)}}:s:${handle}`, 'a', '1');
    await admin.set('{sess:00}:p:abc', 'x');
    const counted = await run('stats', '--json');
    expect(JSON.parse(counted.stdout)).toMatchObject({ sessions: 1, noSessions: 1 });
    expect((await run('sweep')).code).toBe(0);
  });

  it('rights that are missing inside of a script are told as such', async () => {
    await admin.call('ACL', 'SETUSER', 'poor', 'on', '>poor', '~*', '+@all', '-zscan');
    const url = redis.url.replace('redis://', 'redis://poor:poor@');
    const out = join(redis.directory, 'sessions.backup');
    const { code, stderr } = await runCli(['backup', '--out', out, '--redis', url]);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/NOPERM.*docs\/cli\.md/)]);
    await admin.acl('LOG', 'RESET');
  });

  describe('lists of what is to be left out', () => {
    let sessions: string[];

    beforeEach(async () => {
      const world = new SessionsWorld(admin);
      const begun = await inParallel(5, 5, (i) => world.login(`user-${i}`));
      sessions = begun.map(({ handle }) => handle);
      await run('backup', '--out', join(redis.directory, 'a.backup'));
      await admin.flushall();
    });
    const restore = (option: string, text: string) => {
      const list = join(redis.directory, 'list');
      writeFileSync(list, text);
      return run('restore', '--in', join(redis.directory, 'a.backup'), option, list, '--json');
    };

    it('are taken line by line, and it is told how many are not in the backup', async () => {
      const other = handleOf(newSessionId());
      const text = `  ${sessions[0]}\t\r\n\n${other}\n${sessions[1]}`;
      const { code, stdout } = await restore('--except-handles', text);
      const unmatched = { handles: 1, principals: 0 };
      expect(code).toBe(0);
      expect(JSON.parse(stdout)).toMatchObject({ sessions: 4, excepted: 2, unmatched });
      await admin.flushall();
      const named = await restore('--except-principals', 'user-3\nnobody\nno one\n');
      expect(JSON.parse(named.stdout)).toMatchObject({
        excepted: 1,
        unmatched: { handles: 0, principals: 2 },
      });
    });

    it('are refused by line if they hold anything but handles', async () => {
      const id = newSessionId();
      const { code, stdout, stderr } = await restore(
        '--except-handles',
        `${sessions[0]}\n\n${id}\n`,
      );
      expect([code, stderr]).toEqual([2, expect.stringContaining('Line 3 of')]);
      expect(stdout + stderr).not.toContain(id);
      expect(await admin.dbsize()).toBe(0);
    });
  });
});
