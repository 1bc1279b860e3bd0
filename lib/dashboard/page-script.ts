/**
 * The script of the page. Without it everything can be seen and ended; with it figures, plots and events are as
 * of now. It makes elements and texts, never HTML of what it is told, and what it puts in the place of a list is
 * what the server has written.
 */
export const PAGE_SCRIPT = String.raw`(() => {
'use strict';
const { base, every, events: newest } = document.body.dataset;
const byId = (id) => document.getElementById(id);
const set = (id, text) => {
  const node = byId(id);
  if (node && node.textContent !== String(text)) node.textContent = text;
};
const DOWN = 'The session store does not answer.';
const SIGNED_OUT = 'You are signed out, or may not see this any more. Reload the page.';
const ASK_JSON = { headers: { accept: 'application/json' }, cache: 'no-store' };
let isOut = false;
let stream;
// The clock of the server: that of the browser may be wrong.
let ahead = Number(document.body.dataset.now) - performance.now();
const now = () => performance.now() + ahead;

const ago = (at) => {
  const passed = now() - at;
  for (const [length, unit] of [[86400000, 'd'], [3600000, 'h'], [60000, 'min']]) {
    if (passed >= length) return Math.floor(passed / length) + ' ' + unit + ' ago';
  }
  return 'just now';
};
const count = () => {
  for (const time of document.querySelectorAll('time[data-at]')) {
    const text = ago(Number(time.dataset.at));
    if (time.textContent !== text) time.textContent = text;
  }
};
const signOut = () => {
  isOut = true;
  if (stream) stream.close();
  set('stream', 'Not connected.');
  set('trouble', SIGNED_OUT);
};
const isRefusal = (status) => status === 401 || status === 403;

// Plots: the last samples, kept for this tab while one searches.
const KEPT = 60;
// Another dashboard of the same application has its own.
const KEY = 'session-dashboard ' + location.pathname;
let samples = [];
try {
  const kept = JSON.parse(sessionStorage.getItem(KEY) || '[]');
  if (Array.isArray(kept) && kept.length > 0 && now() - kept[kept.length - 1].at < 60000) samples = kept;
} catch {}
const remember = (sample) => {
  samples.push(sample);
  samples = samples.slice(-KEPT);
  try { sessionStorage.setItem(KEY, JSON.stringify(samples)); } catch {}
};
const shareOf = (one, before) => {
  if (!one.near || !before || !before.near) return undefined;
  const hits = one.near.hits - before.near.hits;
  const all = hits + one.near.misses - before.near.misses;
  return all > 0 && hits >= 0 ? (100 * hits) / all : undefined;
};
const draw = (id, values, unit, top) => {
  const svg = byId(id);
  if (!svg) return;
  const known = values.filter((value) => value !== undefined && value !== null);
  svg.toggleAttribute('hidden', known.length < 2);
  const highest = top || Math.max(1, ...known);
  const runs = [[]];
  values.forEach((value, i) => {
    if (value === undefined || value === null) runs.push([]);
    else runs[runs.length - 1].push((240 * (KEPT - values.length + i)) / (KEPT - 1) + ',' + (52 - (48 * value) / highest));
  });
  svg.replaceChildren(...runs.filter((run) => run.length > 0).map((run) => {
    const line = document.createElementNS('http://www.w3.org/2000/svg', 'polyline');
    line.setAttribute('points', run.join(' '));
    return line;
  }));
  if (known.length < 2) return;
  const last = known[known.length - 1];
  const text = 'lately ' + Math.min(...known).toFixed(1) + ' to ' + Math.max(...known).toFixed(1) + ' ' + unit;
  svg.setAttribute('aria-label', svg.dataset.title + ': now ' + last.toFixed(1) + ' ' + unit + ', ' + text);
  set(id + '-note', text);
};
const drawAll = () => {
  draw('latency-plot', samples.map((one) => one.latency), 'ms');
  draw('near-cache-plot', samples.map((one, i) => shareOf(one, samples[i - 1])), '%', 100);
};

const show = (figures) => {
  ahead = figures.now - performance.now();
  const { store, latency, expiry, nearCache, breaker, counters } = figures;
  set('trouble', store === 'down' ? DOWN : '');
  set('latency', store === 'down' ? '–' : latency + ' ms');
  if (expiry) {
    set('live', expiry.sessions);
    set('live-note', 'from the index, as of the last round');
    if (byId('count')) byId('count').hidden = true;
  }
  if (nearCache) {
    const all = nearCache.hits + nearCache.misses;
    set('near-cache', all === 0 ? 'not used yet' : Math.round((100 * nearCache.hits) / all) + ' % of reads');
  }
  set('breaker', breaker);
  set('opened', counters.breakerOpened);
  set('failures', counters.storeFailures);
  set('pending', counters.logoutsPending);
  set('late', counters.logoutsConfirmedLate);
  set('given-up', counters.logoutsGivenUp);
  set('unconfirmed', counters.unconfirmed);
  remember({ at: figures.now, latency, near: nearCache && { hits: nearCache.hits, misses: nearCache.misses } });
};
const showDown = (text) => {
  set('trouble', text);
  set('latency', '–');
  set('breaker', '–');
  remember({ at: now() });
};
const poll = async () => {
  try {
    const answer = await fetch(base + 'figures', ASK_JSON);
    if (isRefusal(answer.status)) return signOut();
    if (answer.ok) show(await answer.json());
    else showDown(answer.status === 503 ? DOWN : 'The server cannot tell figures now.');
  } catch {
    showDown('The server does not answer.');
  }
  drawAll();
  count();
};
// What nobody looks at costs nothing.
const tick = async () => {
  if (!document.hidden) await poll();
  if (!isOut) setTimeout(tick, Number(every));
};
document.addEventListener('visibilitychange', () => { if (!document.hidden && !isOut) count(); });

// The list of who was searched for, anew; what has the focus or is open stays so.
const titleOf = (node) => {
  const section = node && node.closest('.principal');
  return (section && section.querySelector('h3')) || byId('people-title');
};
let asked = 0;
const refresh = async () => {
  const { of } = byId('people').dataset;
  if (of === undefined || isOut) return;
  const mine = ++asked;
  const answer = await fetch(base + 'people?' + new URLSearchParams({ of }), { cache: 'no-store' });
  if (isRefusal(answer.status)) return signOut();
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), 'text/html').getElementById('people');
  // An older answer may come after a newer one.
  if (!fresh || mine !== asked) return;
  const people = byId('people');
  const focused = people.contains(document.activeElement) ? document.activeElement : undefined;
  const focusedId = focused && (focused.id || (focused.closest('details') || {}).id);
  for (const open of people.querySelectorAll('details[open]')) {
    const same = fresh.querySelector('#' + CSS.escape(open.id));
    if (same) same.open = true;
  }
  people.replaceWith(document.adoptNode(fresh));
  count();
  if (!focused) return;
  const same = focusedId && byId(focusedId);
  const target = same && same.tagName === 'DETAILS' ? same.querySelector(focused.tagName === 'BUTTON' ? 'button' : 'summary') : same;
  (target || fresh.querySelector('h3') || byId('people-title')).focus();
};
let waiting;
const refreshSoon = () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => refresh().catch(() => undefined), 300);
};

const over = (row) => {
  const button = row.querySelector('button');
  if (!button || button.disabled) return;
  if (button === document.activeElement) titleOf(row).focus();
  row.classList.add('ended');
  button.disabled = true;
  button.textContent = 'Ended';
};
const send = (form) =>
  fetch(form.action, { method: 'POST', body: new URLSearchParams(new FormData(form)), ...ASK_JSON });
const order = async (form) => {
  const section = form.closest('.principal');
  const row = form.closest('tr');
  const button = form.querySelector('button');
  button.setAttribute('aria-disabled', 'true');
  try {
    const answer = await send(form);
    if (isRefusal(answer.status)) return signOut();
    if (!answer.ok) throw new Error();
    const { said } = await answer.json();
    set('status', said);
    set('failed', '');
    titleOf(form).focus();
    for (const one of row ? [row] : section.querySelectorAll('tr[data-handle]')) over(one);
    const details = form.closest('details');
    if (details) details.remove();
    if (byId('people').dataset.principal !== undefined) await refresh();
  } catch {
    set('status', '');
    set('failed', 'The order was not confirmed: whether the session is over is not known. Try again.');
  } finally {
    button.removeAttribute('aria-disabled');
  }
};
// The page sends no referrer: over plain http the browser would not say either where a form comes from.
const search = async (form) => {
  try {
    const answer = await send(form);
    if (isRefusal(answer.status)) return signOut();
    if (!answer.ok) return set('failed', answer.status === 503 ? DOWN : 'The search failed. Try again.');
    const { of } = await answer.json();
    if (of !== undefined) location.assign('?' + new URLSearchParams({ of }));
  } catch {
    set('failed', 'The server does not answer.');
  }
};
document.addEventListener('submit', (event) => {
  const form = event.target;
  if (form.method !== 'post') return;
  event.preventDefault();
  if (form.querySelector('button[aria-disabled]')) return;
  void (form.getAttribute('role') === 'search' ? search(form) : order(form));
});

// Events, as they happen.
const SHOWN = 50;
const seen = new Set();
let held = [];
let pausing = false;
const element = (name, className, text) => {
  const node = document.createElement(name);
  if (className) node.className = className;
  if (text !== undefined) node.textContent = text;
  return node;
};
const quiet = (before, text, foreign) => {
  const node = element('span', 'quiet', ' ' + before + ' ');
  node.append(foreign ? element('bdi', '', text) : text);
  return node;
};
const itemOf = ({ at, type, reason, principal, actor, device, name }) => {
  const item = element('li', 'new');
  const time = element('time', '', ago(at));
  time.dateTime = new Date(at).toISOString();
  time.title = time.dateTime.slice(0, 19).replace('T', ' ') + ' UTC';
  time.dataset.at = at;
  const what = element('span', 'what');
  what.append(element('bdi', '', principal === undefined ? 'nobody logged in' : principal));
  if (actor !== undefined) what.append(quiet('by', actor, true));
  if (device !== undefined) what.append(quiet('·', device, true));
  if (reason !== undefined) what.append(quiet('·', reason));
  if (name !== undefined) what.append(quiet('·', name));
  item.append(time, ' ', element('span', 'kind ' + type, type), ' ', what);
  return item;
};
const flush = () => {
  const list = byId('events');
  const some = held.slice(-SHOWN);
  held = [];
  byId('no-events').hidden = true;
  for (const event of some) list.prepend(itemOf(event));
  while (list.children.length > SHOWN) list.lastElementChild.remove();
};
const hear = (event) => {
  if (seen.has(event.id)) return;
  seen.add(event.id);
  if (seen.size > 1000) seen.delete(seen.values().next().value);
  held.push(event);
  if (held.length > 1000) held.shift();
  const people = byId('people');
  if (['revoked', 'destroyed', 'expired'].includes(event.type) && event.handle !== undefined) {
    const row = people.querySelector('tr[data-handle="' + CSS.escape(event.handle) + '"]');
    if (row) over(row);
  }
  const { principal } = people.dataset;
  if (principal !== undefined && [event.principal, event.actor].includes(principal)) refreshSoon();
  if (pausing) set('stream', held.length + ' wait.');
  else requestAnimationFrame(() => { if (held.length > 0 && !pausing) flush(); });
};
const listen = () => {
  stream = new EventSource(base + 'events?' + new URLSearchParams({ after: newest }));
  stream.onopen = () => { if (!pausing) set('stream', 'As they happen.'); };
  stream.onerror = () => {
    if (isOut) return;
    if (stream.readyState === EventSource.CLOSED) {
      set('stream', 'Not connected. Reload the page.');
      void poll();
    } else set('stream', 'Connecting again …');
  };
  stream.addEventListener('session', ({ data }) => hear(JSON.parse(data)));
  stream.addEventListener('gap', () => {
    byId('events').prepend(element('li', 'quiet', 'Some events are missing here.'));
    refreshSoon();
  });
};
if (newest !== 'off') {
  const pause = byId('pause');
  pause.hidden = false;
  pause.addEventListener('click', () => {
    pausing = !pausing;
    pause.setAttribute('aria-pressed', String(pausing));
    set('stream', pausing ? 'Paused.' : 'As they happen.');
    if (!pausing && held.length > 0) flush();
  });
  listen();
}
drawAll();
void tick();
})();
`;
