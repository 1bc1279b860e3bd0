import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium, type Browser, type Page } from 'playwright-core';
import type { TestApp } from './app.js';
import { CHROMIUM } from './browser.js';
import { makeCertificate, type Certificate } from './certificate.js';
import { findBinary } from './redis-server.js';
import { startTlsFront, type TlsFront } from './tls-front.js';

/** Puts certificates where Chromium looks for them, `undefined` if it is not installed. */
const CERTUTIL = findBinary('certutil');

if (!CERTUTIL) {
  const remedy = 'certutil is missing: apt-get install libnss3-tools';
  if (process.env.CI) throw new Error(remedy);
  process.stderr.write(
    `\n${remedy}. The tests of device-bound sessions in a browser are skipped.\n`,
  );
}

/** Whether a browser can be had that binds sessions to its device. */
export const CAN_BIND = CHROMIUM !== undefined && CERTUTIL !== undefined;

/** What Chromium tells of its device sessions; fields that nobody asks for left out. */
export interface DeviceEvent {
  readonly succeeded: boolean;
  readonly sessionId?: string;
  readonly creationEventDetails?: { readonly fetchResult: string };
  readonly refreshEventDetails?: { readonly refreshResult: string };
  readonly challengeEventDetails?: { readonly challengeResult: string };
  readonly terminationEventDetails?: { readonly deletionReason: string };
}

/**
 * Chromium without a window, with a home of its own, in which it trusts one certificate. It binds sessions
 * only where https is right, and to keys in software, as the machine may have no others.
 */
export class BindingBrowser {
  private constructor(
    private readonly home: string,
    readonly certificate: Certificate,
    private readonly browser: Browser,
  ) {}

  static async start(): Promise<BindingBrowser> {
    const home = mkdtempSync(join(tmpdir(), 'session-device-'));
    const certificate = await makeCertificate(home);
    const database = join(home, '.pki', 'nssdb');
    mkdirSync(database, { recursive: true });
    const certutil = (...args: string[]) =>
      execFileSync(CERTUTIL!, ['-d', `sql:${database}`, ...args], { stdio: 'pipe' });
    certutil('-N', '--empty-password');
    certutil('-A', '-t', 'C,,', '-n', 'shop', '-i', certificate.certFile);
    const features = [
      'DeviceBoundSessions:RefreshQuota/false',
      'EnableBoundSessionCredentialsSoftwareKeysForManualTesting',
    ];
    const browser = await chromium.launch({
      executablePath: CHROMIUM!,
      env: { PATH: process.env.PATH ?? '', HOME: home },
      args: [
        '--no-sandbox',
        '--disable-gpu',
        '--no-first-run',
        '--disable-background-networking',
        '--disable-component-update',
        '--disable-sync',
        `--enable-features=${features.join(',')}`,
      ],
    });
    return new BindingBrowser(home, certificate, browser);
  }

  /** A visitor of an application, on its first page. */
  visit(app: TestApp): Promise<BoundVisitor> {
    return BoundVisitor.open(this.browser, this.certificate, app);
  }

  async close(): Promise<void> {
    await this.browser.close();
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** A visitor with cookies and keys of his own. */
export class BoundVisitor {
  /** What the browser did about its device sessions. */
  readonly events: DeviceEvent[] = [];
  /** What the application was asked for, and the status that it answered with. */
  readonly asked: string[] = [];

  private constructor(
    readonly page: Page,
    private readonly front: TlsFront,
  ) {}

  static async open(browser: Browser, certificate: Certificate, app: TestApp) {
    const front = await startTlsFront(certificate, app.port);
    const visitor = new BoundVisitor(await (await browser.newContext()).newPage(), front);
    const server = app.app.getHttpServer() as Server;
    server.prependListener('request', (request: IncomingMessage, response: ServerResponse) => {
      response.once('finish', () =>
        visitor.asked.push(`${request.method} ${request.url} ${response.statusCode}`),
      );
    });
    await visitor.#listen();
    await visitor.page.goto(visitor.origin);
    return visitor;
  }

  get origin(): string {
    return `https://localhost:${this.front.port}`;
  }

  /** The same server as another site. */
  get elsewhere(): string {
    return `https://127.0.0.1:${this.front.port}`;
  }

  /** What a script of the page gets. */
  async fetch(path: string, method = 'GET'): Promise<{ status: number; body: unknown }> {
    const options = JSON.stringify({ method, cache: 'no-store' });
    return this.page.evaluate(`(async () => {
      const answer = await fetch(${JSON.stringify(path)}, ${options});
      const text = await answer.text();
      return { status: answer.status, body: text === '' ? null : JSON.parse(text) };
    })()`);
  }

  /** Names and values of all cookies that the browser would send. */
  async cookies(): Promise<[name: string, value: string][]> {
    const cookies = await this.page.context().cookies(this.origin);
    return cookies.map(({ name, value }) => [name, value]);
  }

  async close(): Promise<void> {
    await this.page.context().close();
    await this.front.close();
  }

  /** Not all that its types know is in every version of the protocol. */
  async #listen(): Promise<void> {
    const protocol = await this.page.context().newCDPSession(this.page);
    const note = (event: DeviceEvent) => void this.events.push(event);
    protocol.on('Network.deviceBoundSessionEventOccurred' as never, note as never);
    await protocol.send('Network.enable');
    await protocol.send('Network.enableDeviceBoundSessions' as never, { enable: true } as never);
  }
}
