import {
  chromium,
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  type Page,
} from 'playwright-core';
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
    const complaints: string[] = [];
    const page = await openTab(await browser.newContext(options), complaints);
    return new Visitor(page, complaints);
  }

  /** Another tab of the same browser. */
  tab(): Promise<Page> {
    return openTab(this.page.context(), this.complaints);
  }

  close(): Promise<void> {
    return this.page.context().close();
  }
}

async function openTab(context: BrowserContext, complaints: string[]): Promise<Page> {
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(`uncaught: ${error.message}`));
  page.on('requestfailed', (request) => {
    const failure = request.failure()?.errorText;
    // A stream that the page itself has closed, or has left behind.
    if (request.resourceType() === 'eventsource' && failure === 'net::ERR_ABORTED') return;
    complaints.push(`failed: ${request.url()} ${failure}`);
  });
  return page;
}

/** Runs in the page: visible texts with less contrast than WCAG 2.2 AA asks for (4.5:1). */
export const FAINT_TEXTS = `(() => {
  const channels = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((value) => {
      const c = value / 255;
      return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    const { backgroundColor } = getComputedStyle(node);
    const transparent = channels(backgroundColor)[3] === 0;
    return transparent && node.parentElement ? behind(node.parentElement) : backgroundColor;
  };
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  return [...document.querySelectorAll('body *')]
    .filter((node) => node.checkVisibility())
    .filter((node) => [...node.childNodes].some((n) => n.nodeType === 3 && n.data.trim()))
    .map((node) => [node, contrast(luminance(getComputedStyle(node).color), luminance(behind(node)))])
    .filter(([, ratio]) => ratio < 4.5)
    .map(([node, ratio]) => node.textContent.trim() + ': ' + ratio.toFixed(1));
})()`;
