import { describe, expect, it } from '@jest/globals';
import type { SessionFeatureOptions, SessionRejection } from 'nestjs-distributed-session';
import { HANDSHAKES, startNode } from './gateways.js';

const PARTNER = 'https://partner.example';
const BACK_OFFICE = 'https://back-office.example';

describe.each(HANDSHAKES)('the origin of a handshake: %s', (_, platform, adapter) => {
  const start = async (origins: string[], rejections: SessionRejection[] = []) => {
    const onRejected = (rejection: SessionRejection) => void rejections.push(rejection);
    const admin: SessionFeatureOptions = {
      cookie: { name: 'admin', secure: false },
      csrf: { origins },
      onRejected,
    };
    const session = { csrf: { origins: [PARTNER, BACK_OFFICE] }, onRejected };
    return startNode(platform, adapter, { session, admin });
  };

  it('that sessions of a name do not know is refused by 403, whatever those of forRoot know', async () => {
    const rejections: SessionRejection[] = [];
    const node = await start([], rejections);
    const browser = node.browser();
    await browser.post('/login', { json: { principal: 'alice' } });
    // Those of no other name came along.
    const socket = await node.connect(browser, { origin: PARTNER });
    expect(await socket.ask('who')).toMatchObject({ principal: 'alice' });
    await browser.post('/login-admin');
    const before = node.followed;
    const refused = { status: 403, code: 'SESSION_CSRF_REFUSED' };
    await expect(node.connect(browser, { origin: PARTNER })).rejects.toMatchObject(refused);
    expect(rejections).toEqual([{ reason: 'csrf', handle: undefined, name: 'admin' }]);
    expect(node.followed).toBe(before);
    expect(node.sockets.ofPrincipal('root', { name: 'admin' })).toHaveLength(0);
  });

  it('that sessions of a name know passes, and that of their own pages', async () => {
    const node = await start([BACK_OFFICE]);
    const browser = node.browser();
    await browser.post('/login-admin');
    for (const origin of [BACK_OFFICE, `http://127.0.0.1:${node.app.port}`]) {
      const socket = await node.connect(browser, { origin });
      expect(await socket.ask('of-admin')).toBe('root');
    }
  });
});
