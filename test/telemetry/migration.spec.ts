import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { LegacyWorld } from '../migration/legacy-world.js';
import { ADAPTERS, startApp } from '../support/app.js';
import { Collector } from './collector.js';

const MINUTE = 60_000;

describe.each(ADAPTERS)('what a migration does on %s', (adapter) => {
  let world: LegacyWorld;
  let collector: Collector;

  beforeAll(async () => {
    world = await LegacyWorld.start();
  }, MINUTE);

  afterAll(() => world.stop(), MINUTE);

  beforeEach(() => {
    collector = new Collector();
  });

  afterEach(async () => {
    await world.reset();
    await collector.stop();
  }, MINUTE);

  const collected = async () => {
    const told = Object.entries(await collector.collect());
    const named = told.filter(([name]) => name.startsWith('session.migration.'));
    return Object.fromEntries(named.map(([name, value]) => [name.split('.')[2], value]));
  };

  it('is told as metrics, as its figures have it', async () => {
    const { port, migration } = await world.newApp(adapter, {}, { observer: collector.observer });
    expect(await collected()).toEqual({
      converted: 0,
      joined: 0,
      adopted: 0,
      written: 0,
      ended_there: 0,
      unknown: 0,
    });
    const alice = await world.someone('legacy-alice', { passport: { user: 'alice' }, cookie: {} });
    await alice.post(port, '/cart?item=tea');
    const gone = await world.someone('legacy-gone', { passport: { user: 'bob' }, cookie: {} });
    await world.redis.del('sess:legacy-gone');
    await gone.me(port);
    const { endedThere, ...figures } = migration.figures;
    expect(figures).toMatchObject({ converted: 1, unknown: 1 });
    expect(figures.written).toBeGreaterThan(0);
    expect(await collected()).toEqual({ ...figures, ended_there: endedThere });
  });

  it('is not told where there is none', async () => {
    const session = { redis: world.server.url, observer: collector.observer };
    const app = await startApp({ adapter, session });
    expect(await collected()).toEqual({});
    expect(await collector.collect()).toHaveProperty(['session.breaker.open'], 0);
    await app.close();
  });
});
