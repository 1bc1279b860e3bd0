/** How often the server is asked how long the session lasts; between, the time is counted down here. */
const POLL_EVERY = 15_000;
const WARN_BEFORE = 60_000;

const element = (id) => document.getElementById(id);
const euros = new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' });

/**
 * @typedef {{ sku: string, name: string, about: string, cents: number }} Product
 * @typedef {{ sku: string, qty: number }} CartItem
 * @typedef {{ principal: string | null, roles: string[], remainingMs: number }} Session
 */

/** What the page knows. */
const state = {
  /** @type {Product[]} */
  products: [],
  /** @type {CartItem[]} */
  cart: [],
  /** @type {Session | undefined} */
  session: undefined,
  endsAt: 0,
  warned: false,
};

/* ---- talking to the server ---- */

/** Something that the visitor has to know. */
class Failure extends Error {
  constructor(message, { status = 0, code = '' } = {}) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** @throws {Failure} whatever went wrong, in words for the visitor */
async function call(method, path, body) {
  const request = { method, cache: 'no-store' };
  if (body !== undefined) {
    request.headers = { 'content-type': 'application/json' };
    request.body = JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Failure('The shop cannot be reached. Check your connection and try again.');
  }
  const answer = response.status === 204 ? undefined : await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const { status } = response;
  throw new Failure(explain(status, answer), { status, code: answer?.code });
}

function explain(status, { code, message } = {}) {
  if (code === 'LOGIN_FAILED') return message;
  if (status === 401) return 'Your session has expired. Please log in again.';
  if (status === 409)
    return 'Your session was changed elsewhere at the same time. Please try again.';
  if (status === 413) return 'The cart is full.';
  if (status === 503) {
    return 'The shop cannot reach its session store at the moment. Nothing is lost: please try again shortly.';
  }
  return `That did not work (${status}${message ? `: ${message}` : ''}).`;
}

/* ---- telling the visitor ---- */

/** A message is set anew even if it is the same: it is to be heard again. */
function tell({ error = '', status = '' }) {
  element('error').textContent = error;
  element('status').textContent = status;
}

/** Runs what the visitor asked for, and tells if it did not work. */
async function attempt(action) {
  tell({});
  element('password').removeAttribute('aria-invalid');
  try {
    await action();
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    tell({ error: failure.message });
    if (failure.status === 401) await refresh();
  }
}

/* ---- the session ---- */

/** Asks how the session stands; does not make it last longer. */
async function refresh() {
  const before = state.session;
  const expired = Date.now() >= state.endsAt;
  state.session = await call('GET', '/session');
  state.endsAt = Date.now() + (state.session?.remainingMs ?? 0);
  if (state.session?.remainingMs > WARN_BEFORE) state.warned = false;
  showSession();
  const { principal } = before ?? {};
  if (before && (!state.session || (principal && !state.session.principal))) {
    lost(principal, expired);
  }
}

/** It may have been replaced already by one that knows nothing: what was put into a cart since. */
function lost(principal, expired) {
  if (!state.session) {
    state.cart = [];
    showCart();
  }
  const what = expired ? 'has expired' : 'was ended elsewhere';
  tell({
    error: `Your session ${what}. ${principal ? 'Please log in again.' : 'The cart is empty.'}`,
  });
}

/** In the background: trouble is told once, until it is over. */
let storeTrouble = '';
async function poll() {
  try {
    await refresh();
    if (storeTrouble && element('error').textContent === storeTrouble) tell({});
    storeTrouble = '';
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    if (storeTrouble !== failure.message) tell({ error: failure.message });
    storeTrouble = failure.message;
  }
}

let asking = false;
async function tick() {
  if (!state.session) return;
  const left = state.endsAt - Date.now();
  element('remaining').textContent = clock(left);
  if (left <= WARN_BEFORE && !state.warned) {
    state.warned = true;
    tell({ status: 'Your session ends in less than a minute. Choose Extend to keep it.' });
  }
  if (left > 0 || asking) return;
  asking = true;
  await poll();
  asking = false;
}

function clock(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1_000));
  const parts = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  const shown = parts[0] > 0 ? parts : parts.slice(1);
  return shown.map((part, i) => (i === 0 ? part : String(part).padStart(2, '0'))).join(':');
}

function showSession() {
  const { session } = state;
  const principal = session?.principal ?? undefined;
  element('session').hidden = !session;
  element('login').hidden = principal !== undefined;
  element('logout').hidden = principal === undefined;
  const roles = session?.roles.length ? ` (${session.roles.join(', ')})` : '';
  element('who').textContent = principal === undefined ? 'Guest' : `${principal}${roles}`;
  element('remaining').textContent = clock(state.endsAt - Date.now());
}

async function logIn(form) {
  const field = element('password');
  const username = element('username').value;
  const password = field.value;
  try {
    await call('POST', '/auth/login', { username, password });
  } catch (failure) {
    if (failure.code !== 'LOGIN_FAILED') throw failure;
    tell({ error: failure.message });
    field.setAttribute('aria-invalid', 'true');
    field.select();
    return;
  }
  form.reset();
  await Promise.all([refresh(), loadCart()]);
  tell({ status: `Logged in as ${username}.` });
  element('who').focus();
}

async function logOut() {
  await call('POST', '/auth/logout');
  state.session = undefined;
  state.cart = [];
  showSession();
  showCart();
  tell({ status: 'Logged out.' });
  element('username').focus();
}

/** Any use of the session extends it; looking at the cart is one. */
async function extend() {
  await loadCart();
  await refresh();
  if (state.session) tell({ status: `Your session ends in ${clock(state.session.remainingMs)}.` });
}

/* ---- products and cart ---- */

function fill(template, texts) {
  const node = element(template).content.firstElementChild.cloneNode(true);
  for (const [name, text] of Object.entries(texts)) {
    node.querySelector(`.${name}`).textContent = text;
  }
  return node;
}

async function loadProducts() {
  ({ products: state.products } = await call('GET', '/products'));
  const nodes = state.products.map(({ sku, name, about, cents }) => {
    const node = fill('product', { name, about, price: euros.format(cents / 100) });
    const button = node.querySelector('button');
    button.setAttribute('aria-label', `Add to cart: ${name}`);
    button.addEventListener('click', () => void attempt(() => add(sku, name)));
    return node;
  });
  element('products').replaceChildren(...nodes);
}

async function loadCart() {
  ({ items: state.cart } = await call('GET', '/cart'));
  showCart();
}

async function add(sku, name) {
  ({ items: state.cart } = await call('POST', '/cart/items', { sku, qty: 1 }));
  showCart();
  tell({ status: `${name} is in the cart.` });
  await refresh();
}

async function remove(sku, name, position) {
  ({ items: state.cart } = await call('DELETE', `/cart/items/${encodeURIComponent(sku)}`));
  showCart();
  tell({ status: `${name} was removed from the cart.` });
  // The button that had the focus is gone: to the next one.
  const buttons = element('cart-items').querySelectorAll('button');
  (buttons[Math.min(position, buttons.length - 1)] ?? element('cart-title')).focus();
  await refresh();
}

function showCart() {
  const nodes = state.cart.map(({ sku, qty }, position) => {
    const { name, cents } = productOf(sku);
    const price = cents === undefined ? '' : euros.format((qty * cents) / 100);
    const node = fill('cart-item', { name: `${qty} × ${name}`, price });
    const button = node.querySelector('button');
    button.setAttribute('aria-label', `Remove from cart: ${name}`);
    button.addEventListener('click', () => void attempt(() => remove(sku, name, position)));
    return node;
  });
  element('cart-items').replaceChildren(...nodes);
  element('cart-empty').hidden = nodes.length > 0;
  const total = element('cart-total');
  total.hidden = nodes.length === 0;
  total.textContent = `Total ${euros.format(totalOf(state.cart) / 100)}`;
}

/** A cart may hold what the shop does not list: it is shown by its number. */
function productOf(sku) {
  return state.products.find((product) => product.sku === sku) ?? { name: sku };
}

function totalOf(cart) {
  return cart.reduce((sum, { sku, qty }) => sum + qty * (productOf(sku).cents ?? 0), 0);
}

/* ---- start ---- */

element('login-form').addEventListener('submit', (event) => {
  event.preventDefault();
  void attempt(() => logIn(event.target));
});
element('logout').addEventListener('click', () => void attempt(logOut));
element('extend').addEventListener('click', () => void attempt(extend));
document.addEventListener('visibilitychange', () => {
  if (!document.hidden) void poll();
});

showSession();
await attempt(async () => {
  await loadProducts();
  await loadCart();
  await refresh();
});
setInterval(() => void poll(), POLL_EVERY);
setInterval(() => void tick(), 1_000);
