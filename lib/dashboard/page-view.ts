import type { ShownEvent } from './event-feed.js';
import { html, type Html } from './html.js';
import { csrfOf, peopleView, plural, timeOf, type ViewContext } from './people-view.js';
import type { Figures, People } from './session-dashboard.js';
import { DOWN } from './words.js';

/** All that a page shows. */
export interface PageModel extends ViewContext {
  /** Name of the sessions, if they are not those of `forRoot`. */
  readonly name: string | undefined;
  /** The address of the page itself, relative. */
  readonly home: string;
  readonly refreshEvery: number;
  readonly figures: Figures;
  /** `undefined`: nothing is told of sessions. */
  readonly events: readonly ShownEvent[] | undefined;
  /** How many sessions were counted, or why they were not; `undefined`: nobody has asked for it. */
  readonly counted: number | string | undefined;
  /** `undefined`: nobody was asked for. */
  readonly people: People | undefined;
  /** What became of an order. */
  readonly said: string | undefined;
}

const head = (base: string, title: string): Html =>
  html`<meta charset="utf-8" />
    <meta name="viewport" content="width=device-width, initial-scale=1" />
    <meta name="color-scheme" content="light dark" />
    <meta name="robots" content="noindex" />
    <title>${title}</title>
    <link rel="icon" href="data:," />
    <link rel="stylesheet" href="${base}page.css" />`;

export function pageOf(model: PageModel): string {
  const { base, visitor, refreshEvery, said, figures, people, name } = model;
  const title = name === undefined ? 'Sessions' : `Sessions: ${name}`;
  return html`<!doctype html>
    <html lang="en">
      <head>
        ${head(base, title)}
        <script src="${base}page.js" defer></script>
      </head>
      <body
        data-base="${base}"
        data-every="${refreshEvery}"
        data-now="${figures.now}"
        data-events="${model.events ? (model.events[0]?.id ?? '') : 'off'}"
      >
        <a class="skip" href="#people-title">Skip to principals and devices</a>
        <header>
          <h1>${title}</h1>
          <p class="quiet">
            ${visitor.principal !== undefined && html`You are <bdi>${visitor.principal}</bdi>`}${
              visitor.actor !== undefined && html`, really <bdi>${visitor.actor}</bdi>`
            }
          </p>
        </header>
        <p id="status" class="notice" role="status">${said}</p>
        <p id="trouble" class="notice trouble" role="alert">${figures.store === 'down' && DOWN}</p>
        <p id="failed" class="notice trouble" role="alert"></p>
        <main>
          ${figuresView(model)}
          <section aria-labelledby="people-title" class="wide">
            <h2 id="people-title" tabindex="-1">Principals and devices</h2>
            <div class="ask">
              <form method="post" action="${base}search" role="search">
                ${csrfOf(model)}
                <label for="principal">Principal</label>
                <input
                  id="principal"
                  name="principal"
                  value="${people?.searched}"
                  required
                  maxlength="1024"
                  autocomplete="off"
                  autocapitalize="none"
                  spellcheck="false"
                />
                <button type="submit">Show sessions</button>
              </form>
              <form method="get">
                <button type="submit" name="browse" value="1" aria-describedby="browse-cost">
                  Show the first 50
                </button>
              </form>
            </div>
            <p id="browse-cost" class="quiet">
              A search asks the store once or twice; to show the first 50 walks it.
            </p>
            ${people ? peopleView(people, model) : html`<div id="people"></div>`}
          </section>
          ${eventsView(model)}
        </main>
      </body>
    </html> `.text;
}

function figuresView(model: PageModel): Html {
  const { figures, events } = model;
  const { counters, nearCache } = figures;
  return html`<section aria-labelledby="now-title" class="wide">
    <h2 id="now-title">Now</h2>
    <p class="quiet">What this node knows; others have their own figures.</p>
    <dl class="figures">
      <div class="long">
        <dt>Live sessions</dt>
        <dd>${liveView(model)}</dd>
      </div>
      <div class="long">
        <dt>Store answers in</dt>
        <dd>
          <span id="latency">${storeOf(figures)}</span
          >${plot('latency-plot', 'Latency of the store')}
        </dd>
      </div>
      <div class="long">
        <dt>Near cache</dt>
        <dd>
          <span id="near-cache">${nearCacheOf(nearCache)}</span
          >${nearCache && plot('near-cache-plot', 'Share of reads that the near cache served')}
        </dd>
      </div>
      <div>
        <dt>Circuit breaker</dt>
        <dd>
          <span id="breaker">${figures.breaker}</span
          ><span class="quiet"
            >Opened: <span id="opened">${counters.breakerOpened}</span>. Calls that failed:
            <span id="failures">${counters.storeFailures}</span></span
          >
        </dd>
      </div>
      <div>
        <dt>Unconfirmed logouts</dt>
        <dd>
          <span id="pending">${counters.logoutsPending}</span
          ><span class="quiet"
            >Confirmed late: <span id="late">${counters.logoutsConfirmedLate}</span>. Given up:
            <span id="given-up">${counters.logoutsGivenUp}</span>. Unconfirmed writes:
            <span id="unconfirmed">${counters.unconfirmed}</span></span
          >
        </dd>
      </div>
    </dl>
    <noscript><p class="quiet">Plots, and events as they happen, need JavaScript.</p></noscript>
    ${!events && html`<p class="quiet">With the option <code>events</code> of SessionModule the number of live sessions would cost nothing.</p>`}
  </section>`;
}

/** Exact from the index where somebody looks for sessions that are over; else counted when it is asked for. */
function liveView({ figures: { expiry }, of, counted }: PageModel): Html {
  const kept = of !== undefined && html`<input type="hidden" name="of" value="${of}" />`;
  const button = html`<form method="get">
    ${kept}<button type="submit" name="count" value="1">Count</button>
  </form>`;
  const number = counted === undefined ? undefined : countedOf(counted);
  return html`<span id="live">${expiry ? expiry.sessions : (number ?? '–')}</span>
    <span class="quiet" id="live-note"
      >${expiry ? 'from the index, as of the last round' : counted === undefined ? 'not counted' : 'counted just now'}</span
    >
    ${!expiry && html`<div id="count">${button}<span class="quiet">walks the store</span></div>`}`;
}

const countedOf = (counted: number | string): string =>
  typeof counted === 'number' ? plural(counted, 'session') : counted;

const storeOf = ({ latency }: Figures): string => (latency === undefined ? '–' : `${latency} ms`);

function nearCacheOf(nearCache: Figures['nearCache']): string {
  if (!nearCache) return 'off';
  const { hits, misses } = nearCache;
  const all = hits + misses;
  return all === 0 ? 'not used yet' : `${Math.round((100 * hits) / all)} % of reads`;
}

/** Drawn by the script. */
const plot = (id: string, title: string): Html =>
  html`<svg
      id="${id}"
      class="plot"
      data-title="${title}"
      viewBox="0 0 240 56"
      preserveAspectRatio="none"
      role="img"
      aria-label="${title}"
      hidden
    ></svg>
    <span class="quiet" id="${id}-note"></span>`;

function eventsView({ events, now }: PageModel): Html {
  return html`<section aria-labelledby="events-title" class="wide">
    <h2 id="events-title">Events</h2>
    ${
      events
        ? html`<p class="ask">
              <span class="quiet" id="stream">The latest on this page.</span>
              <button type="button" id="pause" aria-pressed="false" hidden>Pause</button>
            </p>
            <ol id="events" role="log" aria-live="polite" aria-label="Events, newest first">
              ${events.map((event) => eventView(event, now))}
            </ol>
            <p class="quiet" id="no-events" ${events.length > 0 && html` hidden`}>
              Nothing has happened since this node began.
            </p>`
        : html`<p class="quiet">
            Nothing is told of sessions here: set the option <code>events</code> of SessionModule,
            and they are shown as they happen.
          </p>`
    }
  </section>`;
}

/** The script makes the same of those that come later. */
function eventView(
  { at, type, reason, principal, actor, device, name }: ShownEvent,
  now: number,
): Html {
  return html`<li>
    ${timeOf(at, now)} <span class="kind ${type}">${type}</span>
    <span class="what"
      ><bdi>${principal ?? 'nobody logged in'}</bdi>${
        actor !== undefined && html` <span class="quiet">by <bdi>${actor}</bdi></span>`
      }${device !== undefined && html` <span class="quiet">· <bdi>${device}</bdi></span>`}${
        reason !== undefined && html` <span class="quiet">· ${reason}</span>`
      }${name !== undefined && html` <span class="quiet">· ${name}</span>`}</span
    >
  </li>`;
}

/** Instead of the page, where not even its visitor can be known. */
export function outagePage(base: string, home: string, isOrder: boolean): string {
  return html`<!doctype html>
    <html lang="en">
      <head>
        ${head(base, 'Sessions: the store does not answer')}
      </head>
      <body>
        <header><h1>Sessions</h1></header>
        <main>
          <section class="wide">
            <p class="notice trouble" role="alert">${DOWN}</p>
            <p>
              ${isOrder && 'Whether what you wanted to end is over is not known: look again. '}Users
              are not logged out by that; who may see this page cannot be known meanwhile.
            </p>
            <p><a href="${home}">Try again</a></p>
          </section>
        </main>
      </body>
    </html> `.text;
}
