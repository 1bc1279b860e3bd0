import { toText } from '../core/duration.js';
import type { ResolvedSessionOptions } from './resolve-session-options.js';

/** What is in force, in one line for the log at boot (OWASP ASVS 7.1.1). Tells no secret. */
export function describeSessionPolicy(
  options: ResolvedSessionOptions,
  store = typeof options.store === 'string' ? options.store : 'a store of the application',
): string {
  const { name, secure, sameSite } = options.cookie;
  const secureText = secure === 'auto' ? 'Secure on https' : secure ? 'Secure' : 'not Secure';
  const transports = options.transports.map((transport) => {
    if (transport === 'cookie')
      return `cookie ${name} (HttpOnly, ${secureText}, SameSite=${sameSite})`;
    return typeof transport === 'string' ? transport : 'a transport of the application';
  });
  const { rememberMe } = options;
  return [
    `Sessions in ${store}`,
    `end after ${toText(options.idleTimeout)} idle or ${toText(options.absoluteTimeout)} in all`,
    `lasting ones after ${toText(rememberMe.idleTimeout)} or ${toText(rememberMe.absoluteTimeout)}`,
    limitOf(options),
    `extended at most every ${toText(options.touchAfter)}`,
    `${options.secrets.length > 0 ? 'signed' : 'unsigned'} ids by ${transports.join(', then ')}`,
  ].join(', ');
}

/** OWASP ASVS 7.1.2. */
function limitOf({ maxSessions, onLimit }: ResolvedSessionOptions): string {
  if (maxSessions === Infinity) return 'any number for each principal';
  const count = typeof maxSessions === 'number' ? maxSessions : 'as many as maxSessions says';
  return `at most ${count} for each principal (${onLimit})`;
}
