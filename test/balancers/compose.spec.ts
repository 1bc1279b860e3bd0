import { afterEach, describe, expect, it } from '@jest/globals';
import { Redis } from 'ioredis';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../docs/pages.js';
import { SECRET, until } from '../support/app.js';
import { AppProcess } from '../support/app-process.js';
import { HttpClient } from '../support/http-client.js';
import { LoadBalancer } from '../support/load-balancer.js';
import { readComposeFile, wordsOf, type Service } from './compose-file.js';
import { ComposeStack } from './compose-stack.js';
import { ALICE, shares } from './three-nodes.js';

const PROFILES = ['sentinel', 'cluster'];
const REDIS = 'redis:7';
const SECRETS = { SESSION_SECRET: SECRET, TOTP_SECRET: 'JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP' };

describe('sample/docker-compose.yml', () => {
  const file = readComposeFile(SECRETS);
  const services = Object.entries(file.services);
  const in_ = (profile: string) =>
    services.filter(([, { profiles }]) => profiles?.includes(profile)).map(([name]) => name);

  it('asks for secrets instead of having any', () => {
    expect(() => readComposeFile({})).toThrow('SESSION_SECRET');
    expect(() => readComposeFile({ ...SECRETS, TOTP_SECRET: undefined })).toThrow('TOTP_SECRET');
  });

  it.each(services)('%s refers only to what exists', (name, service) => {
    const { image, profiles = [], volumes = [], networks = {}, configs = [] } = service;
    expect(image).toMatch(/^(node:24|redis:7|nginx:[\d.]+)$/);
    // nginx has a command in its image.
    if (!image.startsWith('nginx:')) expect(wordsOf(service)).not.toEqual([]);
    expect(profiles).not.toEqual([]);
    expect(profiles.filter((profile) => !PROFILES.includes(profile))).toEqual([]);
    expect(Object.keys(networks).filter((network) => !(network in file.networks))).toEqual([]);
    expect(configs.filter(({ source }) => !(source in file.configs))).toEqual([]);
    const named = volumes.map((volume) => volume.split(':')[0]!).filter((from) => from !== '..');
    expect(named.filter((volume) => !(volume in file.volumes))).toEqual([]);
    const dependencies = Object.entries(service.depends_on ?? {});
    for (const [other, { condition, required = true }] of dependencies) {
      const there = file.services[other] as Service;
      // What is not in the same profile is not started.
      const shared = profiles.every((profile) => there.profiles?.includes(profile));
      expect({ name, other, shared: shared || !required }).toMatchObject({ shared: true });
      expect(there.healthcheck !== undefined).toBe(condition === 'service_healthy');
    }
  });

  it.each(services.filter(([, { healthcheck }]) => healthcheck))(
    '%s goes on for ever, within its memory',
    (_, { restart, mem_limit }) => {
      expect(restart).toBe('unless-stopped');
      expect(mem_limit).toMatch(/^\d+m$/);
    },
  );

  it('gives each server a volume and an address of its own', () => {
    const all = services.filter(([, { image, healthcheck }]) => image === REDIS && healthcheck);
    const volumes = all.map(([name, { volumes: own }]) => [name, own?.join()]);
    expect(volumes).toEqual(all.map(([name]) => [name, `${name}:/data`]));
    const addresses = all.flatMap(([, { networks }]) => networks?.default?.ipv4_address ?? []);
    expect(new Set(addresses).size).toBe(6);
  });

  it('builds the shop from what there is', () => {
    const script = wordsOf(file.services.build as Service).at(-1) as string;
    const sources = [...script.matchAll(/\/source\/(\S+)/g)].map((match) => match[1]!);
    expect(sources.length).toBeGreaterThan(5);
    expect(sources.filter((source) => !existsSync(join(ROOT, source)))).toEqual([]);
    const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
      scripts: Record<string, string>;
    };
    const run = [...script.matchAll(/npm run (\S+)/g)].map((match) => match[1]!);
    expect(run.filter((name) => !(name in scripts))).toEqual([]);
    for (const profile of PROFILES) {
      const shop = file.services[`shop-over-${profile}`] as Service;
      expect(`node ${scripts.start?.split(' ').at(-1)}`).toBe(wordsOf(shop).join(' '));
    }
  });

  describe('on the loopback interface', () => {
    const open: { stop(): Promise<unknown> }[] = [];
    const keep = <T extends { stop(): Promise<unknown> }>(one: T): T => {
      open.push(one);
      return one;
    };

    afterEach(async () => {
      for (const one of open.splice(0).toReversed()) await one.stop();
    });

    it.each(PROFILES)(
      '%s forms by its own command lines, and the shop behind nginx keeps its sessions when the master is killed',
      async (profile) => {
        const stack = keep(await ComposeStack.start(file, profile, REDIS));
        const shop = file.services[`shop-over-${profile}`] as Service;
        const environment = Object.entries(shop.environment ?? {}).map(([key, value]) => [
          key,
          stack.here(value),
        ]);
        const app = keep(
          await AppProcess.start({
            ...(Object.fromEntries(environment) as Record<string, string>),
            HOST: '127.0.0.1',
            PORT: '0',
          }),
        );
        const nginx = keep(
          await LoadBalancer.nginx({
            common: '',
            way: file.configs
              .proxy!.content // The tests' nginx serves TLS beside what it is asked for.
              .replace(
                'listen 80;',
                'listen 443 ssl; ssl_certificate shop.crt; ssl_certificate_key shop.key;',
              ),
            nodes: new Map([['shop:3000', `127.0.0.1:${app.port}`]]),
          }),
        );
        const browser = new HttpClient(nginx.port);
        // Replicas may still be on their way, without which a master takes no writes.
        const login = () => browser.post('/auth/login', { json: ALICE });
        await until('a login is stored', async () => (await login()).status === 200);
        await browser.post('/cart/items', { json: { sku: 'mug', qty: 2 } });
        expect((await browser.get('/auth/me')).json).toEqual({ principal: 'alice', roles: [] });
        expect((await browser.get('/cart')).json).toEqual({ items: [{ sku: 'mug', qty: 2 }] });
        expect(browser.jar.get('session_route')).toMatch(/^[0-9a-f]{4}$/);

        const servers = in_(profile).filter((name) => /^(redis|cluster)-\d$/.test(name));
        const all = await Promise.all(servers.map((name) => factsOf(name, stack.portOf(name))));
        const masters = profile === 'sentinel' ? 1 : 3;
        const roles = shares(
          ['master', 'slave'],
          all.map(({ role }) => role),
        );
        expect(roles).toEqual([masters, servers.length - masters]);
        for (const { settings } of all) {
          expect(settings).toEqual({
            appendonly: 'yes',
            'maxmemory-policy': 'noeviction',
            maxmemory: `${256 * 1024 * 1024}`,
            'min-replicas-to-write': profile === 'sentinel' ? '1' : '0',
          });
        }
        const stored = all.filter(({ role, records }) => role === 'master' && records > 0);
        expect(stored).toHaveLength(1);

        // A replica that has nothing yet cannot take over.
        const ports = servers.map((name) => stack.portOf(name));
        const inSync = async () => (await Promise.all(ports.map(isInSync))).every(Boolean);
        await until('replicas have what their masters have', inSync, { within: 20_000 });
        await stack.kill(stored[0]!.name);
        const isBack = async () => (await browser.get('/auth/me')).status === 200;
        expect(await isBack()).toBe(false);
        await until('another one is the master', isBack, { within: 20_000 });
        expect((await browser.get('/cart')).json).toEqual({ items: [{ sku: 'mug', qty: 2 }] });
        const count = async () => (await browser.post('/counter')).status === 201;
        await until('it takes writes', count, { within: 20_000 });
        browser.close();
      },
      180_000,
    );
  });
});

/** A master, or a replica that has caught up with its own. */
async function isInSync(port: number): Promise<boolean> {
  const client = new Redis(port, '127.0.0.1');
  const facts = await client.info('replication');
  client.disconnect();
  return /role:master|master_link_status:up/.test(facts);
}

/** What a server is, by its own word. */
async function factsOf(name: string, port: number) {
  const client = new Redis(port, '127.0.0.1');
  const names = ['appendonly', 'maxmemory', 'maxmemory-policy', 'min-replicas-to-write'];
  const told: Record<string, string> = {};
  for (const one of names) told[one] = ((await client.config('GET', one)) as string[])[1]!;
  const role = /role:(\w+)/.exec(await client.info('replication'))?.[1] ?? '';
  const [, records] = await client.scan('0', 'MATCH', '*}:s:*', 'COUNT', 1_000);
  client.disconnect();
  return { name, role, records: records.length, settings: told };
}
