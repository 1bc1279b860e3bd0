import { parse, type Parser } from 'bowser';
import { LRUCache } from 'lru-cache';
import type { ClientTraits } from '../core/session-binding.js';
import type { SessionClient } from '../core/session-identity.js';
import type { TransportRequest } from '../core/session-id-transport.interface.js';

/** How a socket of both kinds names a client of the older. */
const IPV4_IN_IPV6 = /^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i;
/** Longer ones are nobody's, and are not looked at beyond this. */
const LONGEST = 512;
interface Software {
  readonly shown: Omit<SessionClient, 'address'>;
  /** What stays when the program or the system is updated. */
  readonly kind: string | undefined;
}
/** Most logins come from few programs; reading one takes ten microseconds. */
const known = new LRUCache<string, Software>({ max: 1_000 });

/** From where and with what a request comes, for the list of a user's sessions. */
export function clientOfRequest(request: TransportRequest): SessionClient {
  return { address: addressOf(request), ...softwareOf(request).shown };
}

/** What of a request can be compared with others of the same client. */
export const traitsOfRequest = (request: TransportRequest): ClientTraits => ({
  address: addressOf(request),
  userAgent: softwareOf(request).kind,
});

const addressOf = (request: TransportRequest): string | undefined =>
  short(request.address?.replace(IPV4_IN_IPV6, ''));

function softwareOf(request: TransportRequest): Software {
  const agent = request.header('user-agent')?.slice(0, LONGEST) ?? '';
  let software = known.get(agent);
  if (!software) {
    software = agent === '' ? { shown: {}, kind: undefined } : softwareNamed(agent);
    known.set(agent, software);
  }
  return software;
}

function softwareNamed(agent: string): Software {
  const { browser, os, platform } = parse(agent);
  const shown = {
    browser: named(browser.name, browser.version) ?? productOf(agent),
    os: named(os.name, os.versionName ?? os.version),
    device: deviceOf(platform),
  };
  const program = short(browser.name) ?? shown.browser?.split(' ')[0];
  return { shown, kind: [program, short(os.name), platform.type].filter(Boolean).join(' ') };
}

/** Programs that are no browsers begin with a name and a version. */
function productOf(agent: string): string | undefined {
  const [, name, version] = /^([\w.-]{1,32})\/(\d{1,6})/.exec(agent) ?? [];
  return name === undefined || name === 'Mozilla' ? undefined : `${name} ${version}`;
}

function deviceOf({ type, vendor, model }: Parser.PlatformDetails): string | undefined {
  return short(model && vendor && !model.startsWith(vendor) ? `${vendor} ${model}` : model) ?? type;
}

function named(name?: string, version?: string): string | undefined {
  if (!name) return undefined;
  const major = /^\d+/.exec(version ?? '')?.[0] ?? version;
  return short(major ? `${name} ${major}` : name);
}

/** Anybody may send anything: no markup, nothing that moves a cursor, and not too much of it. */
const short = (text: string | undefined): string | undefined =>
  text?.replace(/[\p{Cc}<>&"'`]/gu, '').slice(0, 48) || undefined;
