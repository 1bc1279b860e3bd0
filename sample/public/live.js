import { io } from '/socket.io/socket.io.esm.min.js';

/**
 * What the server tells by itself: over a socket, what becomes of the session of this browser and of its
 * cart; as a stream of events, what happens to any session of the user. Both connect again by themselves.
 */

const EVENTS = ['created', 'authenticated', 'elevated', 'regenerated', 'modified'];
const ENDS = ['destroyed', 'revoked', 'expired'];
/** The socket says why a session is over, the stream only that it is: the socket goes first. */
const AFTER_THE_SOCKET = 1_000;

const socket = io({ transports: ['websocket'], autoConnect: false });

/** @type {EventSource | undefined} */
let stream;
/** Whose session they are open for: `''` is nobody's, `undefined`: nothing is open. */
let whose;
let listener;

/**
 * @param {{
 *   cart: (cart: { items: object[] }) => void,
 *   ended: (reason: string, by: string | undefined) => void,
 *   happened: (event: object) => void,
 *   unsure: () => void,
 * }} to what to do; `unsure`: something may have been missed
 */
export function listen(to) {
  listener = to;
}

/** Opens what there is to hear for whom the session is now, and closes what was open for others. */
export function goLive(session) {
  const now = session && (session.principal ?? '');
  if (now !== whose) {
    socket.disconnect();
    closeStream();
    whose = now;
  }
  if (whose === undefined) return;
  if (!socket.active) socket.connect();
  // A browser has six connections to a host, for all tabs: those that nobody looks at take none.
  if (!whose || document.hidden) closeStream();
  else if (!stream || stream.readyState === EventSource.CLOSED) openStream();
}

/* ---- the socket ---- */

/** Who ends the session, if that is told before it ends. */
let endedBy;

socket.on('connect', () => socket.emit('cart'));
socket.io.on('reconnect', () => listener.unsure());
socket.on('cart', (cart) => listener.cart(cart));
socket.on('ending', ({ by }) => {
  endedBy = by;
  setTimeout(() => (endedBy = undefined), 5_000);
});
socket.on('session-ended', ({ reason }) => listener.ended(reason, endedBy));

/* ---- the stream ---- */

function openStream() {
  stream = new EventSource('/events');
  for (const type of [...EVENTS, ...ENDS]) {
    stream.addEventListener(type, ({ data }) => listener.happened(JSON.parse(data)));
  }
  stream.addEventListener('gap', () => listener.unsure());
  // The node went down, or the session is over, and then asking again would be in vain.
  stream.addEventListener('error', () => setTimeout(() => listener.unsure(), AFTER_THE_SOCKET));
}

function closeStream() {
  stream?.close();
  stream = undefined;
}
