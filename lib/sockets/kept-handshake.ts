import type { IncomingRequest } from '../http/raw-transport-request.js';

/**
 * The request that opened a socket, as it was: it is asked about as long as the socket is open, and by then
 * the connection that it came by may be gone.
 *
 * @param token what came otherwise, and counts like the header `X-Auth-Token`
 */
export function keptHandshake(
  request: IncomingRequest,
  token: string | undefined,
): IncomingRequest {
  const { method, address, secure, origin } = request;
  const header = (name: string) =>
    name === 'x-auth-token' && token !== undefined ? token : request.header(name);
  return { method, address, secure, origin, header };
}
