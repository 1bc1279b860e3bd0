import { chromium, type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
import { findBinary } from './redis-server.js';

/** Chromium as it is installed, `undefined` if it is not. */
export const CHROMIUM = findBinary('chromium', 'chromium-browser', 'google-chrome');

if (!CHROMIUM) {
  const remedy = 'chromium is missing: apt-get install chromium';
  if (process.env.CI) throw new Error(remedy);
  process.stderr.write(`\n${remedy}. The tests that need a browser are skipped.\n`);
}

/**
 * A browser without a window, that talks to nobody but the page.
 *
 * @param more arguments besides
 */
export function startBrowser(more: readonly string[] = []): Promise<Browser> {
  return chromium.launch({
    executablePath: CHROMIUM!,
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      ...more,
    ],
  });
}

/** A visitor with cookies of his own, and everything that his browser complained about. */
export class Visitor {
  private constructor(
    readonly page: Page,
    /** Errors and warnings of the console, uncaught exceptions, refused resources. */
    readonly complaints: string[],
  ) {}

  static async open(browser: Browser, options: BrowserContextOptions = {}): Promise<Visitor> {
    const page = await (await browser.newContext(options)).newPage();
    const complaints: string[] = [];
    page.setDefaultTimeout(10_000);
    page.on('console', (message) => {
      if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
    });
    page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
    page.on('requestfailed', (request) =>
      complaints.push(`failed: ${request.url()} ${request.failure()?.errorText}`),
    );
    return new Visitor(page, complaints);
  }

  close(): Promise<void> {
    return this.page.context().close();
  }
}
