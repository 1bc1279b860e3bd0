import { Controller, Get, type INestApplication } from '@nestjs/common';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { Session, type SessionModuleOptions } from 'nestjs-distributed-session';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Finding } from '../../lib/doctor/finding.js';
import { makeCertificate, type Certificate } from '../support/certificate.js';
import { runCli, runJson } from '../support/cli-run.js';
import { Opened } from '../support/opened.js';
import { freePort, RedisServer } from '../support/redis-server.js';

@Controller()
class LoginController {
  @Get('login')
  login(@Session() session: Session): string {
    session.set('seen', 1);
    return 'hello';
  }

  @Get('nothing')
  nothing(): string {
    return 'hello';
  }
}

type Headers = Record<string, string | string[] | undefined>;

/** What a proxy does to what comes back. */
type Rewrite = (headers: Headers) => Headers;

describe('doctor --url, behind a proxy that ends TLS', () => {
  const opened = new Opened();
  const folder = mkdtempSync(join(tmpdir(), 'session-front-'));
  let certificate: Certificate;
  let redis: RedisServer;

  beforeAll(async () => {
    certificate = await makeCertificate(folder);
    redis = await RedisServer.start(['--appendonly', 'yes']);
  });
  afterAll(async () => {
    await redis.stop();
    rmSync(folder, { recursive: true });
  });
  afterEach(opened.close);

  const boot = async (
    session: SessionModuleOptions = {},
    setup?: (app: INestApplication) => void,
  ) => {
    const options = { redis: redis.url, ...session };
    const controllers = [LoginController];
    return (await opened.app({ adapter: 'express', session: options, controllers, setup })).port;
  };
  /** In turn to each of these. */
  const front = async (ports: readonly number[], rewrite: Rewrite = (headers) => headers) => {
    const { cert, key } = certificate;
    let next = 0;
    const server = createServer({ cert, key }, (incoming, outgoing) => {
      const { url, headers } = incoming;
      const port = ports[next++ % ports.length]!;
      const told = { ...headers, 'x-forwarded-proto': 'https' };
      const forwarded = request(
        { port, host: '127.0.0.1', path: url, headers: told, agent: false },
        (answer) => {
          outgoing.writeHead(
            answer.statusCode ?? 502,
            rewrite(answer.headers) as Record<string, string>,
          );
          answer.on('error', () => undefined).pipe(outgoing);
        },
      );
      forwarded.on('error', () => outgoing.destroy());
      forwarded.end();
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    opened.add({
      close: () => {
        server.closeAllConnections();
        server.close();
      },
    });
    return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
  };
  const doctor = (url: string, more: readonly string[] = []) =>
    runJson<{ findings: Finding[] }>(
      ['doctor', '--redis', redis.url].concat(
        '--ca',
        certificate.certFile,
        '--keys',
        '0',
        '--url',
        url,
        more,
      ),
    );
  const codes = (found: { json: { findings: Finding[] } }) =>
    found.json.findings.map(({ code }) => code);

  it('finds nothing where the cookie arrives', async () => {
    const base = await front([await boot()]);
    expect(await doctor(`${base}/login`)).toMatchObject({ code: 0, json: { findings: [] } });
  });

  it('finds that the application trusts no proxy, and nothing once it does', async () => {
    const auto = { cookie: { secure: 'auto' } } as const;
    const base = await front([await boot(auto)]);
    const found = await doctor(`${base}/login`);
    expect(codes(found)).toEqual(['COOKIE_INSECURE']);
    expect(found.code).toBe(1);
    expect(found.json.findings[0]?.remedy).toContain("app.set('trust proxy'");
    const trusting = await boot(auto, (app) => {
      (app as unknown as { set(name: string, value: string): void }).set('trust proxy', 'loopback');
    });
    expect(codes(await doctor(`${await front([trusting])}/login`))).toEqual([]);
  });

  it.each<[what: string, rewrite: Rewrite, code: string]>([
    ['drops it', (headers) => ({ ...headers, 'set-cookie': [] }), 'COOKIE_MISSING'],
    [
      'takes it for its own domain',
      (headers) => ({
        ...headers,
        'set-cookie': [headers['set-cookie']]
          .flat()
          .map((one) => `${one}; Domain=elsewhere.example`),
      }),
      'COOKIE_DROPPED',
    ],
    [
      'lets caches keep it',
      (headers) => ({ ...headers, 'cache-control': 'max-age=60' }),
      'COOKIE_CACHEABLE',
    ],
  ])('finds a proxy that %s', async (_, rewrite, code) => {
    const found = await doctor(`${await front([await boot()], rewrite)}/login`);
    expect(codes(found)).toEqual([code]);
    expect(found.code).toBe(1);
  });

  it('finds nodes that do not share their sessions', async () => {
    const ports = [await boot(), await boot({ keyPrefix: 'other' })];
    expect(codes(await doctor(`${await front(ports)}/login`))).toEqual(['COOKIE_FORGOTTEN']);
  });

  it('goes by the name that the cookie has', async () => {
    const base = await front([await boot({ cookie: { name: 'shop' } })]);
    expect(codes(await doctor(`${base}/login`))).toEqual(['COOKIE_MISSING']);
    expect(codes(await doctor(`${base}/login`, ['--cookie', 'shop']))).toEqual([]);
    expect(codes(await doctor(`${base}/nothing`, ['--cookie', 'shop']))).toEqual([
      'COOKIE_MISSING',
    ]);
  });

  it('says that nobody answers, or is not to be trusted, and prints no cookie', async () => {
    const port = await freePort();
    const silent = await doctor(`https://127.0.0.1:${port}/login?key=private`);
    expect(codes(silent)).toEqual(['URL_UNREACHABLE']);
    expect(silent.json.findings[0]?.seen).toContain('ECONNREFUSED');
    const base = await front([await boot()]);
    const args = ['doctor', '--redis', redis.url, '--url', `${base}/login`];
    const untrusted = await runJson<{ findings: Finding[] }>(args);
    expect(untrusted.json.findings[0]?.remedy).toContain('--ca');
    expect((await runCli(['doctor', '--redis', redis.url, '--url', 'shop'])).code).toBe(2);
    expect(JSON.stringify([silent, untrusted])).not.toMatch(/private|__Host-session=/);
  });
});
