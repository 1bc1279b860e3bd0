import { goLive, listen } from './live.js';
import { announce, rename, withdraw, withdrawAll } from './news.js';

/** How often the server is asked how long the session lasts; between, the time is counted down here. */
const POLL_EVERY = 15_000;
const WARN_BEFORE = 60_000;

const element = (id) => document.getElementById(id);
const euros = new Intl.NumberFormat('en', { style: 'currency', currency: 'EUR' });
const relativeTime = new Intl.RelativeTimeFormat('en', { numeric: 'auto' });

/**
 * @typedef {{ sku: string, name: string, about: string, cents: number }} Product
 * @typedef {{ sku: string, qty: number }} CartItem
 * @typedef {{ principal: string | null, roles: string[], remainingMs: number }} Session
 * @typedef {{ browser?: string, os?: string, address?: string }} Client
 * @typedef {{ handle: string, label?: string, client: Client, lastAccessedAt: number,
 *   authenticatedAt: number, rememberMe: boolean, current: boolean }} Device
 */

/** What the page knows. */
const state = {
  /** @type {Product[]} */
  products: [],
  /** @type {Session | undefined} */
  session: undefined,
  /** @type {Device[]} */
  devices: [],
  endsAt: 0,
  warned: false,
  /** How often something was changed: what was asked before may be answered with what was before. */
  changes: 0,
};

/* ---- talking to the server ---- */

/** Something that the visitor has to know. */
class Failure extends Error {
  constructor(message, { status = 0, code = '', stepUp } = {}) {
    super(message);
    this.status = status;
    this.code = code;
    this.stepUp = stepUp;
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
  if (method !== 'GET') state.changes++;
  if (response.ok) return answer;
  const { status } = response;
  const { code, stepUp } = answer ?? {};
  throw new Failure(explain(status, answer), { status, code, stepUp });
}

/** What the server says in words that are meant for the visitor. */
const SAID_BY_SERVER = ['LOGIN_FAILED', 'WRONG_CODE', 'TOO_MANY_CODES'];

function explain(status, { code, message } = {}) {
  if (SAID_BY_SERVER.includes(code)) return message;
  if (code === 'NO_SUCH_DEVICE')
    return 'This device was signed out or has changed meanwhile: the list is up to date now.';
  if (code === 'SESSION_LIMIT_REACHED') {
    return 'You are logged in on as many devices as you may. Log out on one of them first.';
  }
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
    if (failure.code === 'SESSION_STEP_UP_REQUIRED') {
      askForProof(failure.stepUp, action);
      return;
    }
    tell({ error: failure.message });
    if (failure.status === 401) await refresh();
  }
}

/** Sends what only the user knows; `false` if it is wrong: then the field is ready for another try. */
async function isAccepted(field, send) {
  try {
    await send();
    return true;
  } catch (failure) {
    if (!['LOGIN_FAILED', 'WRONG_CODE'].includes(failure.code)) throw failure;
    tell({ error: failure.message });
    field.setAttribute('aria-invalid', 'true');
    field.select();
    return false;
  }
}

/* ---- the session ---- */

/** Asks how the session stands; does not make it last longer. */
async function refresh() {
  let changes, session;
  do {
    ({ changes } = state);
    session = await call('GET', '/session');
  } while (changes !== state.changes);
  const before = state.session;
  const reason = Date.now() >= state.endsAt ? 'idle' : '';
  const isLost = before && (!session || (before.principal && !session.principal));
  showSession(session);
  if (isAnotherUser(before)) await loadUser();
  if (isLost) lost(before, reason);
}

function isAnotherUser(before) {
  const principal = state.session?.principal ?? undefined;
  return principal !== undefined && principal !== before?.principal;
}

/** Why somebody was logged out, by what ended the session. */
const WHY = {
  logout: 'in another tab',
  named: 'on another device',
  all: 'on another device',
  limit: 'because you logged in on another device',
  idle: 'because you were away',
  absolute: 'because your login was long ago',
  replayed: 'for your safety',
  mismatch: 'for your safety',
};

/** It may have been replaced already by one that knows nothing: what was put into a cart since. */
function lost({ principal }, reason, by = WHY[reason] ?? 'elsewhere') {
  if (!state.session) showCart([]);
  tell({});
  announce(
    'logged-out',
    principal
      ? `You were logged out ${by}. Please log in again.`
      : `Your session ${reason === 'idle' ? 'has expired' : 'was ended elsewhere'}. The cart is empty.`,
  );
}

/** In the background: trouble is told once, until it is over. */
let storeTrouble = '';
async function poll() {
  try {
    await refresh();
    if (state.session?.principal) await loadDevices();
    if (storeTrouble && element('error').textContent === storeTrouble) tell({});
    storeTrouble = '';
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    // It ended between the two: that is told by itself.
    if (failure.status === 401) return;
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
  if (seconds > 2 * 86_400) return `${Math.floor(seconds / 86_400)} days`;
  const parts = [Math.floor(seconds / 3_600), Math.floor(seconds / 60) % 60, seconds % 60];
  const shown = parts[0] > 0 ? parts : parts.slice(1);
  return shown.map((part, i) => (i === 0 ? part : String(part).padStart(2, '0'))).join(':');
}

function showSession(session) {
  const focused = document.activeElement;
  state.session = session;
  state.endsAt = Date.now() + (session?.remainingMs ?? 0);
  if (session?.remainingMs > WARN_BEFORE) state.warned = false;
  const principal = session?.principal ?? undefined;
  element('session').hidden = !session;
  element('login').hidden = principal !== undefined;
  element('logout').hidden = principal === undefined;
  element('devices').hidden = principal === undefined;
  element('account').hidden = principal === undefined;
  if (principal === undefined) forgetUser();
  const roles = session?.roles.length ? ` (${session.roles.join(', ')})` : '';
  element('who').textContent = principal === undefined ? 'Guest' : `${principal}${roles}`;
  element('remaining').textContent = clock(state.endsAt - Date.now());
  if (!focused.checkVisibility()) element(principal === undefined ? 'username' : 'who').focus();
  if (principal !== undefined) withdraw('logged-out');
  if (ownActs === 0) goLive(session);
}

/** What this tab does to the session itself it need not be told. */
let ownActs = 0;
async function quietly(act) {
  ownActs++;
  try {
    return await act();
  } finally {
    ownActs--;
    goLive(state.session);
  }
}

async function logIn(form) {
  const field = element('password');
  const username = element('username').value;
  const rememberMe = element('remember-me').checked;
  const login = { username, password: field.value, rememberMe };
  const isUser = await quietly(async () => {
    if (!(await isAccepted(field, () => call('POST', '/auth/login', login)))) return false;
    form.reset();
    await Promise.all([refresh(), loadCart()]);
    return true;
  });
  if (!isUser) return;
  tell({ status: `Logged in as ${username}.` });
  element('who').focus();
}

async function logOut() {
  await quietly(async () => {
    await call('POST', '/auth/logout');
    loggedOut('Logged out.');
  });
}

function loggedOut(status) {
  showSession(undefined);
  showCart([]);
  tell({ status });
  element('username').focus();
}

/** Any use of the session extends it; looking at the cart is one. */
async function extend() {
  await loadCart();
  await refresh();
  if (state.session) tell({ status: `Your session ends in ${clock(state.session.remainingMs)}.` });
}

/* ---- devices and account ---- */

async function loadUser() {
  const [account] = await Promise.all([askAsUser('/account'), loadDevices()]);
  if (account) setStored(element('email'), account.email ?? '');
}

/** Something of the user's; `undefined` if somebody else is here when it comes, or nobody. */
async function askAsUser(path) {
  const principal = state.session?.principal;
  const answer = await call('GET', path);
  return principal === state.session?.principal ? answer : undefined;
}

/** Nothing of one user stays in the page for the next. */
function forgetUser() {
  closeStepUp();
  showDevices([]);
  for (const id of ['device-name', 'email']) element(id).value = element(id).defaultValue = '';
}

/** Shows what is stored, unless the visitor is about to change it. */
function setStored(field, value) {
  if (field.value === field.defaultValue) field.value = value;
  field.defaultValue = value;
}

async function loadDevices() {
  const answer = await askAsUser('/devices');
  if (answer) showDevices(answer.devices);
}

function showDevices(devices) {
  announceNew(devices);
  state.devices = devices;
  const handles = devices.map(({ handle }) => handle);
  renew(element('device-list'), 'device', handles).forEach((node, i) => {
    showDevice(node, devices[i]);
  });
  element('sign-out-others').hidden = devices.length < 2;
  const current = devices.find((device) => device.current);
  setStored(element('device-name'), current?.label ?? '');
}

/** New is what logged in after all that were known. */
function announceNew(devices) {
  const known = state.devices.map(({ handle }) => handle);
  const latest = Math.max(...state.devices.map(({ authenticatedAt }) => authenticatedAt ?? 0));
  const isNew = ({ handle, current, authenticatedAt }) =>
    known.length > 0 && !current && !known.includes(handle) && authenticatedAt > latest;
  for (const device of devices.filter(isNew)) {
    const name = nameOf(device);
    announce(`device ${device.handle}`, `A new device: ${name}.`, {
      label: 'Sign out',
      name: `Sign out the new device: ${name}`,
      run: (key) => void attempt(() => signOut(key.split(' ')[1], name)),
    });
  }
  const keys = devices.map(({ handle }) => `device ${handle}`);
  withdrawAll((key) => key.startsWith('device ') && !keys.includes(key));
}

const softwareOf = ({ client: { browser, os } }) =>
  [browser, os].filter(Boolean).join(' on ') || 'Unknown software';
const nameOf = (device) => device.label ?? softwareOf(device);

function showDevice(node, device) {
  const { handle, label, client, current, rememberMe, lastAccessedAt } = device;
  const name = nameOf(device);
  const about = [
    label && softwareOf(device),
    client.address,
    current ? 'in use now' : `last used ${ago(lastAccessedAt)}`,
    rememberMe && 'remembered',
  ];
  setTexts(node, { name, about: about.filter(Boolean).join(' · ') });
  node.querySelector('.mark').hidden = !current;
  const button = node.querySelector('button');
  button.hidden = current;
  button.setAttribute('aria-label', `Sign out: ${name}`);
  button.onclick = () => void attempt(() => signOut(handle, name));
}

function ago(time) {
  const minutes = Math.floor((Date.now() - time) / 60_000);
  if (minutes < 1) return 'just now';
  if (minutes < 60) return relativeTime.format(-minutes, 'minute');
  if (minutes < 24 * 60) return relativeTime.format(-Math.floor(minutes / 60), 'hour');
  return relativeTime.format(-Math.floor(minutes / (24 * 60)), 'day');
}

async function signOut(handle, name) {
  const buttons = () => [...element('device-list').querySelectorAll('button:not([hidden])')];
  const position = buttons().indexOf(document.activeElement);
  try {
    await call('DELETE', `/devices/${encodeURIComponent(handle)}`);
  } finally {
    await loadDevices();
  }
  tell({ status: `${name} is signed out.` });
  // The button that had the focus is gone: to the next one.
  const left = buttons();
  (left[Math.min(position, left.length - 1)] ?? element('devices-title')).focus();
}

async function signOutOthers() {
  const { revoked } = await call('POST', '/devices/revoke-others');
  await loadDevices();
  tell({
    status: `${revoked === 1 ? '1 other device is' : `${revoked} other devices are`} signed out.`,
  });
  element('devices-title').focus();
}

async function nameDevice() {
  const { handle } = state.devices.find(({ current }) => current) ?? {};
  const field = element('device-name');
  const label = field.value;
  await call('PATCH', `/devices/${encodeURIComponent(handle)}`, { label });
  field.defaultValue = label;
  await loadDevices();
  tell({ status: `This device is called ${label} now.` });
}

async function changeEmail() {
  const field = element('email');
  const { email } = await call('POST', '/account/email', { email: field.value });
  field.value = field.defaultValue = email;
  const advice = state.devices.length > 1 ? ' You may want to sign out all other devices.' : '';
  tell({ status: `Your e-mail address is ${email} now.${advice}` });
}

async function deleteAccount() {
  await quietly(async () => {
    await call('POST', '/account/delete');
    loggedOut(
      'You are logged out on all of your devices. A real shop would have deleted the account.',
    );
  });
}

/* ---- proving once more who it is ---- */

/** What goes on after the proof, and where the focus was. */
let waiting;

/** Asks for what the server wants to have proven, and then repeats the action. */
function askForProof({ factors }, action) {
  waiting = { action, focused: document.activeElement };
  const form = fill(factors ? 'code-form' : 'password-form', {});
  if (!factors) form.elements.username.value = state.session.principal;
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    void attempt(() => (factors ? proveByCode(form) : proveByPassword(form)));
  });
  form.querySelector('button[type=button]').addEventListener('click', cancelStepUp);
  element('step-up-form').replaceChildren(form);
  element('step-up').hidden = false;
  element('proof').focus();
}

async function proveByCode(form) {
  const code = form.elements.code.value.replace(/\s/g, '');
  await prove(form.elements.code, () => call('POST', '/auth/elevate', { code }));
}

/** The server knows by the session what the device is called and whether it is remembered. */
async function proveByPassword(form) {
  const password = form.elements.password.value;
  const username = form.elements.username.value;
  await prove(form.elements.password, () => call('POST', '/auth/login', { username, password }));
}

async function prove(field, send) {
  field.removeAttribute('aria-invalid');
  if (!(await isAccepted(field, send))) return;
  const { action, focused } = waiting;
  closeStepUp();
  focused.focus();
  await loadDevices();
  await attempt(action);
}

function cancelStepUp() {
  const { focused } = waiting;
  closeStepUp();
  tell({ status: 'Nothing was changed.' });
  focused.focus();
}

function closeStepUp() {
  waiting = undefined;
  element('step-up').hidden = true;
  element('step-up-form').replaceChildren();
}

/* ---- products and cart ---- */

function fill(template, texts) {
  return setTexts(element(template).content.firstElementChild.cloneNode(true), texts);
}

function setTexts(node, texts) {
  for (const [name, text] of Object.entries(texts)) {
    node.querySelector(`.${name}`).textContent = text;
  }
  return node;
}

/** What stays keeps its place in the page, so that nobody loses the focus while a list is renewed. */
function renew(list, template, keys) {
  const before = [...list.children];
  const nodes = keys.map((key) => {
    const node = before.find(({ dataset }) => dataset.key === key) ?? fill(template, {});
    node.dataset.key = key;
    return node;
  });
  if (nodes.length === before.length && nodes.every((node, i) => node === before[i])) return nodes;
  const focused = document.activeElement;
  const hadFocus = list.contains(focused);
  list.replaceChildren(...nodes);
  if (hadFocus)
    (focused.isConnected ? focused : list.closest('section').querySelector('h2')).focus();
  return nodes;
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
  const { items } = await call('GET', '/cart');
  showCart(items);
}

async function add(sku, name) {
  const { items } = await call('POST', '/cart/items', { sku, qty: 1 });
  showCart(items);
  tell({ status: `${name} is in the cart.` });
  await refresh();
}

async function remove(sku, name, position) {
  const { items } = await call('DELETE', `/cart/items/${encodeURIComponent(sku)}`);
  showCart(items);
  tell({ status: `${name} was removed from the cart.` });
  // The button that had the focus is gone: to the next one.
  const buttons = element('cart-items').querySelectorAll('button');
  (buttons[Math.min(position, buttons.length - 1)] ?? element('cart-title')).focus();
  await refresh();
}

function showCart(items) {
  const skus = items.map(({ sku }) => sku);
  renew(element('cart-items'), 'cart-item', skus).forEach((node, position) => {
    const { sku, qty } = items[position];
    const { name, cents } = productOf(sku);
    const price = cents === undefined ? '' : euros.format((qty * cents) / 100);
    setTexts(node, { name: `${qty} × ${name}`, price });
    const button = node.querySelector('button');
    button.setAttribute('aria-label', `Remove from cart: ${name}`);
    button.onclick = () => void attempt(() => remove(sku, name, position));
  });
  element('cart-empty').hidden = items.length > 0;
  const total = element('cart-total');
  total.hidden = items.length === 0;
  total.textContent = `Total ${euros.format(totalOf(items) / 100)}`;
}

/** A cart may hold what the shop does not list: it is shown by its number. */
function productOf(sku) {
  return state.products.find((product) => product.sku === sku) ?? { name: sku };
}

function totalOf(cart) {
  return cart.reduce((sum, { sku, qty }) => sum + qty * (productOf(sku).cents ?? 0), 0);
}

/* ---- what the server tells by itself ---- */

/** Milliseconds in which events are gathered that come together. */
const TOGETHER = 50;
/** Milliseconds in which the browser has the cookie of a login in another tab. */
const HANDED_OVER = 300;

let looking;
function lookSoon(milliseconds = TOGETHER) {
  looking ??= setTimeout(() => {
    looking = undefined;
    void poll();
  }, milliseconds);
}

/** Something happened to a session of this user. */
function happened({ reason, handle, previous }) {
  // The cart comes by itself.
  if (reason === 'contents') return;
  const known = state.devices.find((device) => device.handle === previous);
  if (known) {
    known.handle = handle;
    rename(`device ${previous}`, `device ${handle}`);
  }
  lookSoon();
}

/** The session of this browser is over, or is somebody's from now on. */
function ended(reason, by) {
  if (ownActs > 0) return;
  if (reason === 'login' || reason === 'switch') {
    lookSoon(HANDED_OVER);
    return;
  }
  const before = state.session;
  state.changes++;
  showSession(undefined);
  if (before) lost(before, reason, by);
}

listen({ cart: ({ items }) => showCart(items), ended, happened, unsure: lookSoon });

/* ---- start ---- */

const actions = {
  'login-form': logIn,
  'device-form': nameDevice,
  'email-form': changeEmail,
};
for (const [id, action] of Object.entries(actions)) {
  element(id).addEventListener('submit', (event) => {
    event.preventDefault();
    void attempt(() => action(event.target));
  });
}
element('sign-out-others').addEventListener('click', () => void attempt(signOutOthers));
element('delete-account').addEventListener('click', () => void attempt(deleteAccount));
element('logout').addEventListener('click', () => void attempt(logOut));
element('extend').addEventListener('click', () => void attempt(extend));
document.addEventListener('visibilitychange', () => {
  if (document.hidden) goLive(state.session);
  else void poll();
});

showSession(undefined);
await attempt(async () => {
  await loadProducts();
  await loadCart();
  await refresh();
});
setInterval(() => void poll(), POLL_EVERY);
setInterval(() => void tick(), 1_000);
