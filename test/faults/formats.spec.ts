import { afterEach, describe, expect, it } from '@jest/globals';
import { VERSION_LENGTH } from 'nestjs-distributed-session';
import { ADAPTERS } from '../support/app.js';
import { FaultStage } from '../support/fault-stage.js';

let stage: FaultStage;

afterEach(() => stage?.close());

describe.each(ADAPTERS)('a rolling upgrade, on %s', (adapter) => {
  const begin = async () => {
    stage = await FaultStage.open({ adapter, peer: false });
    const [user, admin] = [stage.browser(), stage.admin()];
    await user.post('/login/alice');
    await user.post('/write');
    const [key = ''] = await admin.keys('*:s:*');
    const record = (await admin.get(key)) as string;
    /** What a node of another version does. */
    const rewrite = (change: (text: string) => string) => admin.set(key, change(record), 'KEEPTTL');
    return { user, admin, key, record, rewrite, cookies: [...user.jar] };
  };

  it('an old node leaves a newer format as it is; nothing is lost', async () => {
    const { user, admin, key, record, rewrite, cookies } = await begin();
    const newer = `${record.slice(0, VERSION_LENGTH)}2${record.slice(VERSION_LENGTH + 1)}`;
    await rewrite(() => newer);
    const statuses: Record<string, number> = {};
    let unharmed = 0;
    for (const [method, path] of [
      ['GET', '/read'],
      ['GET', '/me'],
      ['POST', '/write'],
      ['POST', '/write-after/0'],
      ['POST', '/login/alice'],
      ['POST', '/logout'],
    ] as const) {
      const { status, json, setCookie } = await user.send(method, path);
      expect({ path, status, setCookie }).toEqual({ path, status: 503, setCookie: [] });
      expect(json).toMatchObject({ code: 'SESSION_FORMAT_UNSUPPORTED' });
      expect(await admin.get(key)).toBe(newer);
      unharmed++;
      statuses[status] = (statuses[status] ?? 0) + 1;
    }
    expect(await admin.pttl(key)).toBeGreaterThan(0);
    // The node is upgraded, or the newer one is rolled back.
    await rewrite((text) => text);
    expect((await user.get('/read')).json).toEqual({ n: 1 });
    expect((await user.get('/me')).json).toEqual({ principal: 'alice' });
    expect((await user.post('/write')).json).toEqual({ n: 2 });
    expect((await user.get('/devices/alice')).json.handles).toHaveLength(1);
    expect([...user.jar]).toEqual(cookies);
    await stage.record({
      fault: `A rolling upgrade, on ${adapter}`,
      done: 'A record is in a format that only a newer node knows, and an old node is asked to read, write, log in and log out. Afterwards the node is upgraded, and the session is whole.',
      figures: {
        requests: statuses,
        more: { 'Of them left the record unharmed': unharmed },
      },
    });
  });

  it('an old node reads and writes a record with more in its header', async () => {
    const { user, rewrite } = await begin();
    await rewrite((text) => text.replace('{', '{"later":{"x":[1]},'));
    expect((await user.get('/read')).json).toEqual({ n: 1 });
    expect((await user.post('/write')).json).toEqual({ n: 2 });
    expect((await user.get('/me')).json).toEqual({ principal: 'alice' });
    expect((await user.get('/devices/alice')).json.handles).toHaveLength(1);
    expect((await user.post('/logout')).status).toBe(204);
  });
});
