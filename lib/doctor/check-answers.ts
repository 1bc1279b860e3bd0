import { parseSetCookie, type SetCookie } from 'cookie';
import type { Answer, AnswerFacts } from './answers.js';
import type { Finding } from './finding.js';

const DEFAULT_NAMES = ['__Host-session', 'session'];

/** What is wrong with the session cookie as it arrives at a browser. */
export function checkAnswers(
  { url, failure, first, second }: AnswerFacts,
  { cookie: name }: { readonly cookie?: string | undefined } = {},
): Finding[] {
  if (!first) return [NO_ANSWER(url, failure)];
  const cookie = cookieIn(first, name);
  if (!cookie) return [MISSING(url, first, name)];
  const findings = [
    ...checkKept(url, cookie),
    ...checkAttributes(url, cookie),
    ...checkCache(url, first),
  ];
  const again = second && cookieIn(second, cookie.name);
  return findings.length === 0 && again && again.value !== cookie.value && !isStart(again)
    ? [REPLACED(url)]
    : findings;
}

function cookieIn({ cookies }: Answer, name: string | undefined): SetCookie | undefined {
  const names = name === undefined ? DEFAULT_NAMES : [name];
  return cookies.map((one) => parseSetCookie(one)).find((one) => names.includes(one.name));
}

/** It is taken away, not given. */
const isStart = ({ value }: SetCookie): boolean => value === undefined || value === '';

const where = ({ origin, pathname }: URL): string => `${origin}${pathname}`;

const NO_ANSWER = (url: URL, failure = 'no answer'): Finding => ({
  code: 'URL_UNREACHABLE',
  severity: 'error',
  seen: `${where(url)} does not answer (${failure})`,
  why: 'cookie and proxy could not be looked at',
  remedy: 'check the URL; give --ca where its certificate is signed by an authority of your own',
});

const MISSING = (url: URL, { status, cookies }: Answer, name = DEFAULT_NAMES[0]): Finding => ({
  code: 'COOKIE_MISSING',
  severity: 'error',
  seen: `${where(url)} answers ${status} without the cookie ${name} (and with ${cookies.length} others)`,
  why: 'without it the browser has no session: every request begins a new one',
  remedy:
    'ask for a page that begins a session (one that sets something, such as a login page), and give --cookie where the option cookie.name is set; if the application itself sets it, a proxy drops it: let Set-Cookie pass (nginx: no proxy_hide_header Set-Cookie, no proxy_ignore_headers with proxy_cache)',
});

function checkKept(url: URL, cookie: SetCookie): Finding[] {
  const why = whyDropped(url, cookie);
  if (why === undefined) return [];
  return [
    {
      code: 'COOKIE_DROPPED',
      severity: 'error',
      seen: `${where(url)}: browsers drop the cookie ${cookie.name}, because ${why}`,
      why: 'the browser has no session: every request begins a new one',
      remedy:
        'serve the application over https; set cookie.domain to a domain of its own or not at all, and cookie.path to a path that the page is under',
    },
  ];
}

/** As browsers decide (RFC 6265bis, section 5.7). */
function whyDropped(url: URL, { name, secure, domain, path }: SetCookie): string | undefined {
  const isSecure = url.protocol === 'https:' || /^(localhost|127\.|\[::1\])/.test(url.hostname);
  const host = url.hostname;
  const given = domain?.replace(/^\./, '').toLowerCase();
  if (secure && !isSecure) return 'it is Secure and the page is not https';
  if (/^__(host|secure)-/i.test(name) && !secure) return 'its name says Secure and it is not';
  if (/^__host-/i.test(name) && (domain !== undefined || path !== '/')) {
    return 'its name begins with __Host-, which allows no Domain and only Path=/';
  }
  if (given !== undefined && host !== given && !host.endsWith(`.${given}`)) {
    return `its Domain is ${given}`;
  }
  return undefined;
}

function checkAttributes(url: URL, cookie: SetCookie): Finding[] {
  const { name, secure, httpOnly, sameSite } = cookie;
  const findings: Finding[] = [];
  if (url.protocol === 'https:' && !secure) findings.push(INSECURE(url, name));
  if (!httpOnly) findings.push(READABLE(url, name));
  if (sameSite === undefined) findings.push(CROSS_SITE(url, name, 'without SameSite'));
  if (sameSite === 'none') findings.push(CROSS_SITE(url, name, 'with SameSite=None'));
  return findings;
}

const INSECURE = (url: URL, name: string): Finding => ({
  code: 'COOKIE_INSECURE',
  severity: 'error',
  seen: `${where(url)}: the cookie ${name} is not Secure, although the page is https`,
  why: 'the application takes the request for plain http, since it trusts no proxy; the cookie travels unencrypted with any http request',
  remedy:
    "leave cookie.secure at true; or with 'auto' trust the proxy: app.set('trust proxy', '<address of the proxy>') on Express, trustProxy on Fastify, and let it send X-Forwarded-Proto (nginx: proxy_set_header X-Forwarded-Proto $scheme)",
});

const READABLE = (url: URL, name: string): Finding => ({
  code: 'COOKIE_READABLE',
  severity: 'error',
  seen: `${where(url)}: the cookie ${name} is not HttpOnly`,
  why: 'scripts of the page can read it, also those that an attacker brings in',
  remedy:
    'the library always sets HttpOnly: something on the way rewrites the cookie (nginx: proxy_cookie_flags)',
});

const CROSS_SITE = (url: URL, name: string, how: string): Finding => ({
  code: 'COOKIE_CROSS_SITE',
  severity: 'warning',
  seen: `${where(url)}: the cookie ${name} is ${how}`,
  why: 'browsers send it with requests that other sites cause (CSRF)',
  remedy:
    "cookie: { sameSite: 'lax' }; where 'none' is needed, guard all changes with SessionCsrfGuard",
});

function checkCache(url: URL, { cacheControl }: Answer): Finding[] {
  if (/\b(private|no-store)\b/i.test(cacheControl)) return [];
  return [
    {
      code: 'COOKIE_CACHEABLE',
      severity: 'error',
      seen: `${where(url)}: an answer that sets the cookie has Cache-Control "${cacheControl}"`,
      why: "a cache on the way may hand one user's cookie to others",
      remedy:
        'the library sends no-store with it: let the proxy pass Cache-Control, and not replace it (nginx: no expires, no add_header Cache-Control there)',
    },
  ];
}

const REPLACED = (url: URL): Finding => ({
  code: 'COOKIE_FORGOTTEN',
  severity: 'error',
  seen: `${where(url)}: the cookie was sent back, and the answer sets another one`,
  why: 'the session that was begun is not known to the node that got the second request',
  remedy:
    'give all nodes the same redis, keyPrefix and secret; check that the proxy passes the Cookie header',
});
