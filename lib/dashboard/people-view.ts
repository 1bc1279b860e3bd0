import type { ListedSession } from '../core/principal-sessions.js';
import type { DashboardVisitor } from './dashboard-visitor.js';
import { html, type Html } from './html.js';
import type { People, PrincipalDevices } from './session-dashboard.js';
import { agoOf, deviceNameOf, softwareOf } from './words.js';

/** What parts of the page have to know of the request. */
export interface ViewContext {
  readonly visitor: DashboardVisitor;
  /** Milliseconds since the epoch. */
  readonly now: number;
  /** What relative addresses of the other routes begin with. */
  readonly base: string;
  /** What stands in addresses for the principal who was searched for; `undefined`: nobody was. */
  readonly of: string | undefined;
}

/** Principals and their devices; the script puts a newer one in the place of this. */
export function peopleView(people: People, context: ViewContext): Html {
  const { searched, found, cut, trouble } = people;
  return html`<div
    id="people"
    ${searched !== undefined && html` data-principal="${searched}" data-of="${context.of}"`}
  >
    ${trouble !== undefined && html`<p class="notice trouble">${trouble}</p>`}
    ${trouble === undefined && found.length === 0 && html`<p class="quiet">Nobody is logged in.</p>`}
    ${found.map((one, i) => principalView(one, i, context))}
    ${cut && html`<p class="quiet">These were found first, in no order. Search for the others by name.</p>`}
  </div>`;
}

function principalView(
  { principal, sessions, count }: PrincipalDevices,
  i: number,
  context: ViewContext,
): Html {
  const id = `principal-${i}`;
  const hidden = count - sessions.length;
  return html`<section class="principal" aria-labelledby="${id}">
    <h3 id="${id}" tabindex="-1">
      <bdi>${principal}</bdi> <span class="quiet">${plural(count, 'session')}</span>
    </h3>
    ${sessions.length > 0 && tableOf(principal, sessions, context)}
    ${hidden > 0 && html`<p class="quiet">${hidden} more, whose login is older or cannot be read, are not shown.</p>`}
    ${count > 0 && endAllView(principal, count, `${id}-all`, context)}
  </section>`;
}

// With its roles named: where it is narrow its rows are laid out as blocks, which browsers take for no table.
function tableOf(
  principal: string,
  sessions: readonly ListedSession[],
  context: ViewContext,
): Html {
  return html`<table role="table">
    <caption class="unseen">
      Sessions of
      <bdi>${principal}</bdi>
    </caption>
    <thead role="rowgroup">
      <tr role="row">
        ${['Device', 'Address', 'Last used', 'Began', 'Action'].map((name) => html`<th scope="col" role="columnheader">${name}</th>`)}
      </tr>
    </thead>
    <tbody role="rowgroup">
      ${sessions.map((session) => rowOf(principal, session, context))}
    </tbody>
  </table>`;
}

function rowOf(principal: string, session: ListedSession, context: ViewContext): Html {
  const { handle, client, createdAt, lastAccessedAt } = session;
  const name = deviceNameOf(session) ?? 'Unknown device';
  const software = session.label === undefined ? undefined : softwareOf(client);
  return html`<tr role="row" data-handle="${handle}">
    <th scope="row" role="rowheader">
      <bdi class="device">${name}</bdi
      >${software !== undefined && html` <span class="quiet">${software}</span>`}${badgesOf(session, context)}
    </th>
    <td role="cell" data-label="Address">${client.address ?? '–'}</td>
    <td role="cell" data-label="Last used">${timeOf(lastAccessedAt, context.now)}</td>
    <td role="cell" data-label="Began">${timeOf(createdAt, context.now)}</td>
    <td role="cell" class="action">
      <form method="post" action="${context.base}end">
        ${fieldsOf(principal, context)}<input type="hidden" name="handle" value="${handle}" />
        <button type="submit" id="end-${handle}">
          End<span class="unseen"> the session of <bdi>${principal}</bdi>: <bdi>${name}</bdi></span>
        </button>
      </form>
    </td>
  </tr>`;
}

function badgesOf(
  { handle, actor, rememberMe, clientKind }: ListedSession,
  { visitor }: ViewContext,
): Html {
  return html`${handle === visitor.handle && html` <span class="badge own">your own</span>`}${
    actor !== undefined && html` <span class="badge">acting: <bdi>${actor}</bdi></span>`
  }${clientKind !== undefined && html` <span class="badge"><bdi>${clientKind}</bdi></span>`}${
    rememberMe && html` <span class="badge">remembered</span>`
  }`;
}

/** Asks before it does so, also without a script. */
function endAllView(principal: string, count: number, id: string, context: ViewContext): Html {
  return html`<details class="all" id="${id}">
    <summary>End all sessions of <bdi>${principal}</bdi> …</summary>
    <form method="post" action="${context.base}end-all">
      ${fieldsOf(principal, context)}
      <p>On all devices, at once. They have to log in again.</p>
      <button type="submit" class="danger">
        End ${plural(count, 'session')}<span class="unseen"> of <bdi>${principal}</bdi></span>
      </button>
    </form>
  </details>`;
}

/** As JSON: a form would change its line ends. */
function fieldsOf(principal: string, context: ViewContext): Html {
  return html`<input
      type="hidden"
      name="principal"
      value="${JSON.stringify(principal)}"
    />${csrfOf(context)}`;
}

/** What each form that is posted has to bring along. */
export function csrfOf({ visitor: { csrf } }: ViewContext): Html {
  return html`${csrf && html`<input type="hidden" name="${csrf.field}" value="${csrf.token}" />`}`;
}

/** An instant, as long ago; the script goes on counting. */
export function timeOf(at: number, now: number): Html {
  const iso = new Date(at).toISOString();
  return html`<time
    datetime="${iso}"
    data-at="${at}"
    title="${iso.slice(0, 19).replace('T', ' ')} UTC"
    >${agoOf(at, now)}</time
  >`;
}

export const plural = (count: number, what: string): string =>
  `${count} ${what}${count === 1 ? '' : 's'}`;
