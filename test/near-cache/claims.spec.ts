import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Controller, Get, Post } from '@nestjs/common';
import { Consistency, RequireSession, Session, SessionService } from 'nestjs-distributed-session';
import { ADAPTERS, SECRET } from '../support/app.js';
import { areLive, figuresOf } from '../support/near-shop.js';
import { Opened } from '../support/opened.js';
import { startRedis, type RedisUnderTest } from '../support/redis-under-test.js';

const CLAIMS = { teams: ['red', 'blue'], at: { desk: 4, floors: [3, 1, 2] } };
const ROLES = ['writer', 'admin'];

const shown = ({ claims, roles, permissions, factors }: Session) => ({
  claims,
  roles,
  permissions,
  factors: Object.keys(factors),
});

@RequireSession()
@Controller()
class Staff {
  @Get('plain') plain(@Session() session: Session) {
    return shown(session);
  }

  /** Whoever sorts what was handed out has not read the types. */
  @Get('mine') mine(@Session() session: Session) {
    return this.#changed(session);
  }

  /** And who writes afterwards must not write that. */
  @Consistency('near') @Post('mine') async write(@Session() session: Session) {
    session.increment('writes');
    const seen = this.#changed(session);
    await session.save();
    return { ...seen, writes: session.get('writes') };
  }

  @Post('elevate') async elevate(@Session() session: Session) {
    this.#changed(session);
    await session.elevate('otp');
    return this.#changed(session);
  }

  #changed(session: Session) {
    const { teams, at } = session.claims as typeof CLAIMS;
    teams.sort();
    at.floors.push(9);
    at.desk = 5;
    (session.roles as string[]).sort();
    (session.permissions as string[]).push('delete');
    (session.factors as Record<string, number>)['face'] = 1;
    Object.assign(session.claims, { more: true });
    return shown(session);
  }
}

const STORED = { claims: CLAIMS, roles: ROLES, permissions: [], factors: [] };
const CHANGED = {
  claims: { teams: ['blue', 'red'], at: { desk: 5, floors: [3, 1, 2, 9] }, more: true },
  roles: ['admin', 'writer'],
  permissions: ['delete'],
  factors: ['face'],
};

describe.each(ADAPTERS)('what was handed out of who somebody is, on %s', (adapter) => {
  const opened = new Opened();
  let redis: RedisUnderTest;

  beforeAll(async () => {
    redis = await startRedis();
  });

  afterEach(opened.close);
  afterAll(() => redis.stop());

  const boot = async (nearCache: boolean) => {
    const node = await opened.app({
      adapter,
      controllers: [Staff],
      session: {
        redis: redis.connection(),
        secret: SECRET,
        cookie: { secure: false },
        nearCache,
        indexes: { teams: ({ claims }) => (claims['teams'] as string[]).sort() },
      },
    });
    if (nearCache) await areLive([node]);
    const service = node.app.get(SessionService);
    await service.forPrincipal('alice').revokeAll();
    const session = await service.create({ principal: 'alice', roles: ROLES, claims: CLAIMS });
    const alice = opened.browser(node, [['session', service.tokenOf(session)]]);
    expect((await alice.get('/plain')).json).toEqual(STORED);
    return { node, alice, service };
  };

  it.each([
    ['with a near cache', true],
    ['without one', false],
  ])('is its reader’s own, to change: %s', async (_, nearCache) => {
    const { node, alice } = await boot(nearCache);
    for (let i = 0; i < 3; i++) {
      expect(await alice.get('/mine')).toMatchObject({ status: 200, json: CHANGED });
      expect(await alice.get('/plain')).toMatchObject({ status: 200, json: STORED });
    }
    if (nearCache) expect(figuresOf(node).hits).toBeGreaterThanOrEqual(6);
  });

  it.each([
    ['with a near cache', true],
    ['without one', false],
  ])('is not stored as it was changed: %s', async (_, nearCache) => {
    const { alice, service } = await boot(nearCache);
    for (let writes = 1; writes <= 2; writes++) {
      const answer = await alice.post('/mine');
      expect(answer).toMatchObject({ status: 201, json: { ...CHANGED, writes } });
      expect((await alice.get('/plain')).json).toEqual(STORED);
    }
    expect((await alice.post('/elevate')).status).toBe(201);
    expect((await alice.get('/plain')).json).toEqual({ ...STORED, factors: ['otp'] });
    expect(await service.findBy('teams', 'red')).toHaveLength(1);
  });
});
