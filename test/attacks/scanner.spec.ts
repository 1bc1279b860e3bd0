import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ADAPTERS, SECRET } from '../support/app.js';
import { AppProcess } from '../support/app-process.js';
import { makeCertificate, type Certificate } from '../support/certificate.js';
import { HttpClient } from '../support/http-client.js';
import { Opened } from '../support/opened.js';
import { RedisServer } from '../support/redis-server.js';
import { startTlsFront, type RequestListener } from '../support/tls-front.js';
import { scan, type Finding } from '../support/wapiti.js';

const MODULES = ['cookieflags', 'http_headers', 'csrf', 'crlf'];
const CSRF = 'Cross Site Request Forgery';
const HEADERS = 'HTTP Secure Headers';
const LOGIN = { username: 'alice', password: 'wonderland' };
const USER = { name: LOGIN.username, password: LOGIN.password };
/** What the page asks for by script, and the scanner runs none; the last have parameters to inject into. */
const ROUTES = [
  '/auth/me',
  '/devices',
  '/account',
  '/cart',
  '/counter',
  '/session',
  '/products',
  '/notes/one?delay=1',
  '/slow?ms=1',
  '/ping?x=1',
];

/** A server that does everything wrong that the modules look for. */
function badly({ url = '/' }: IncomingMessage, response: ServerResponse): void {
  const to = new URL(url, 'http://x').searchParams.get('to');
  if (to !== null) {
    // Node itself refuses such a header.
    response.socket?.end(
      `HTTP/1.1 302 Found\r\nlocation: ${decodeURIComponent(to)}\r\ncontent-length: 0\r\n\r\n`,
    );
    return;
  }
  response.setHeader('content-type', 'text/html').setHeader('set-cookie', 'session=abc');
  response.end(`<title>bad</title><a href="/on?to=1">on</a>
    <form method="post" action="/login"><input name="username"><input type="submit"></form>`);
}

describe('a scanner', () => {
  const folder = mkdtempSync(join(tmpdir(), 'session-scanner-'));
  const opened = new Opened();
  let certificate: Certificate;
  let redis: RedisServer;

  beforeAll(async () => {
    certificate = await makeCertificate(folder);
    redis = await RedisServer.start();
  });

  afterAll(async () => {
    await opened.close();
    await redis?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  const front = async (port: number, onRequest?: RequestListener) => {
    const { port: secure } = opened.add(await startTlsFront(certificate, port, onRequest));
    return `https://127.0.0.1:${secure}/`;
  };

  it('finds what is wrong where everything is', async () => {
    const server = createServer(badly).listen(0, '127.0.0.1');
    await once(server, 'listening');
    opened.add(server);
    const url = await front((server.address() as AddressInfo).port);
    const findings = await scan({ url, modules: MODULES });
    expect([...new Set(findings.map(({ category }) => category))].sort()).toEqual([
      'CRLF Injection',
      CSRF,
      HEADERS,
      'HttpOnly Flag cookie',
      'Secure Flag cookie',
    ]);
  }, 120_000);

  describe.each(ADAPTERS)('of the shop on %s', (adapter) => {
    let app: AppProcess;
    let findings: Finding[];
    /** What it asked for, and with the session's cookie. */
    const requests: string[] = [];
    const withCookie: string[] = [];

    beforeAll(async () => {
      // As in production: everything is https.
      const settings = { REDIS_URL: redis.url, ALLOW_HTTP: '0', SESSION_SECRET: SECRET };
      app = await AppProcess.start({ ADAPTER: adapter, ...settings });
      const url = await front(app.port, (method, path, rest) => {
        requests.push(`${method} ${path}`);
        if (/^cookie: .*__Host-session=/im.test(rest)) withCookie.push(`${method} ${path}`);
      });
      findings = await scan({ url, modules: MODULES, start: ['/', ...ROUTES], user: USER });
    }, 240_000);

    afterAll(() => app?.stop());

    const found = (category: string) => findings.filter((one) => one.category === category);

    it('was everywhere, logged in', () => {
      const asked = ROUTES.map((path) => `GET ${path}`);
      expect(requests).toEqual(expect.arrayContaining(asked));
      expect(withCookie).toEqual(expect.arrayContaining(asked));
      const forms = ['POST /auth/login', 'POST /auth/elevate', 'POST /account/email'];
      expect(requests).toEqual(expect.arrayContaining(forms));
      expect(requests.filter((one) => one.includes('wapiti')).length).toBeGreaterThan(2);
    });

    it('finds no cookie without its flags, no injected header, no error of the server', () => {
      const others = findings.filter(({ category }) => category !== CSRF && category !== HEADERS);
      expect(others).toEqual([]);
    });

    it('misses no header but one that browsers have given up, and that the shop turns off', async () => {
      expect(found(HEADERS).map(({ info }) => info)).toEqual(['X-XSS-Protection is not set']);
      const visitor = opened.add(new HttpClient(app.port));
      // As OWASP has it: "0". What takes its place is the policy that no script may stand in the page.
      const { headers } = await visitor.get('/');
      expect(headers['x-xss-protection']).toBe('0');
      expect(headers['content-security-policy']).toContain("script-src 'self'");
    });

    it('finds forms without a token, and another site can send none of them', async () => {
      const user = opened.add(new HttpClient(app.port));
      expect((await user.post('/auth/login', { json: LOGIN })).status).toBe(200);
      const forms = found(CSRF);
      expect(new Set(forms.map(({ path }) => path))).toEqual(
        new Set(['/auth/login', '/auth/elevate', '/account/email']),
      );
      for (const { method, path, http_request } of forms) {
        const body = http_request.split('\n\n')[1] as string;
        const send = async (headers: Record<string, string>) => {
          const type = { 'content-type': 'application/x-www-form-urlencoded' };
          return (await user.send(method, path, { body, headers: { ...type, ...headers } })).status;
        };
        const jar = [...user.jar];
        expect(await send({ 'sec-fetch-site': 'cross-site' })).toBe(403);
        expect(await send({ 'sec-fetch-site': 'same-site' })).toBe(403);
        expect(await send({ origin: 'https://evil.test' })).toBe(403);
        expect(await send({ origin: 'null' })).toBe(403);
        expect([...user.jar]).toEqual(jar);
        expect(await send({ 'sec-fetch-site': 'same-origin' })).not.toBe(403);
      }
    });
  });
});
