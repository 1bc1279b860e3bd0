import { afterAll, beforeAll, describe, expect } from '@jest/globals';
import type { INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import type { Redis } from 'ioredis';
import { SessionModule, SessionService, type OnLimit } from 'nestjs-distributed-session';
import { principalPlace } from '../../lib/core/session-places.js';
import { asInThisRun } from '../support/app.js';
import { RedisCluster } from '../support/redis-cluster.js';
import {
  clientFor,
  startRedis,
  TOPOLOGY,
  trialsOf,
  type RedisUnderTest,
} from '../support/redis-under-test.js';
import { STORE, itListed } from '../support/store-under-test.js';

const TRIALS = trialsOf(200);
const LOGINS = 50;
const LIMIT = 3;
/** As busy as these logins make a machine. */
const PATIENT = { commandTimeout: 10_000 };
const POLICIES: readonly OnLimit[] = ['reject', 'retire-oldest', 'retire-least-recently-used'];

const CLUSTER = ['a Cluster of three masters', () => RedisCluster.start(3)] as const;
const BACKENDS: readonly (readonly [string, () => Promise<RedisUnderTest>])[] =
  TOPOLOGY === 'standalone'
    ? [['one Redis', () => startRedis()], ...(STORE ? [] : [CLUSTER])]
    : [[TOPOLOGY, () => startRedis({ keyPrefixes: POLICIES })]];

describe.each(BACKENDS)('parallel logins beyond the limit, over %s', (_, start) => {
  let backend: RedisUnderTest;
  const clients: Redis[] = [];
  const nodes: INestApplicationContext[] = [];

  beforeAll(async () => {
    backend = await start();
  }, 60_000);

  afterAll(async () => {
    for (const node of nodes) await node.close();
    for (const client of clients) client.disconnect();
    await backend?.stop();
  }, 60_000);

  const connect = async () => {
    const client = await clientFor(backend, PATIENT);
    clients.push(client);
    return client;
  };

  /** What a store that connects by itself is told. */
  const patientConnection = () => {
    const told = backend.connection();
    return { ...(typeof told === 'string' ? { url: told } : told), ...PATIENT };
  };

  const startNode = async (onLimit: OnLimit) => {
    const redis = STORE ? patientConnection() : await connect();
    const module = SessionModule.forRoot(
      asInThisRun({ redis, keyPrefix: onLimit, maxSessions: LIMIT, onLimit }),
    );
    const node = await NestFactory.createApplicationContext(module, { logger: false });
    nodes.push(node);
    return node.get(SessionService);
  };

  itListed.each(POLICIES)(
    `${LOGINS} at once leave exactly ${LIMIT} sessions and ${LIMIT} entries: %s, ${TRIALS} trials`,
    async (onLimit) => {
      const services = [await startNode(onLimit), await startNode(onLimit)];
      const probe = await connect();
      for (let trial = 0; trial < TRIALS; trial++) {
        const principal = `user-${trial}`;
        const outcomes = await Promise.allSettled(
          Array.from({ length: LOGINS }, (__, i) =>
            login(services[i % 2]!, principal, i % 5 === 0),
          ),
        );
        const refused = outcomes.filter((one) => one.status === 'rejected');
        expect(refused).toHaveLength(onLimit === 'reject' ? LOGINS - LIMIT : 0);
        for (const { reason } of refused) {
          expect(reason).toMatchObject({ code: 'SESSION_LIMIT_REACHED', maxSessions: LIMIT });
        }
        const sessions = services[trial % 2]!.forPrincipal(principal);
        const listed = await sessions.list();
        expect(listed).toHaveLength(LIMIT);
        // Where else they are kept, the list is all that can be seen of the place.
        if (STORE) continue;
        const [{ handle } = { handle: '' }] = listed;
        const place = `{${onLimit}:${handle.slice(0, 2)}}:${principalPlace(principal)}`;
        expect((await probe.zrange(place, '0', '-1')).sort()).toEqual(
          listed.map((session) => session.handle).sort(),
        );
      }
      // Not one more anywhere: none that fell out of its index lives on.
      expect(await services[0]!.count()).toBe(TRIALS * LIMIT);
    },
    180_000,
  );
});

/** At once, or by somebody who had a session before: that one lies in another slot. */
async function login(sessions: SessionService, principal: string, hadSession: boolean) {
  if (!hadSession) return sessions.create({ principal });
  const { id, handle } = await sessions.create({ data: { visits: 1 } });
  const session = (await sessions.get(id))!;
  await session.authenticate(principal);
  try {
    return await session.save();
  } catch (error) {
    // The visitor goes on without a login.
    if (!(await sessions.revoke(handle))) throw new Error('the anonymous session is gone');
    throw error;
  }
}
