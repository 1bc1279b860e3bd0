import { parse, type Parser } from 'bowser';
import { LRUCache } from 'lru-cache';
import type { SessionClient } from '../core/session-identity.js';
import type { TransportRequest } from '../core/session-id-transport.interface.js';

/** How a socket of both kinds names a client of the older. */
const IPV4_IN_IPV6 = /^::ffff:(?=\d+\.\d+\.\d+\.\d+$)/i;
/** Longer ones are nobody's, and are not looked at beyond this. */
const LONGEST = 512;
type Software = Omit<SessionClient, 'address'>;
/** Most logins come from few programs; reading one takes ten microseconds. */
const known = new LRUCache<string, Software>({ max: 1_000 });

/** From where and with what a request comes, for the list of a user's sessions. */
export function clientOfRequest(request: TransportRequest): SessionClient {
  const agent = request.header('user-agent')?.slice(0, LONGEST) ?? '';
  let software = known.get(agent);
  if (!software) known.set(agent, (software = agent === '' ? {} : softwareOf(agent)));
  return { address: short(request.address?.replace(IPV4_IN_IPV6, '')), ...software };
}

function softwareOf(agent: string): Software {
  const { browser, os, platform } = parse(agent);
  return {
    browser: named(browser.name, browser.version) ?? productOf(agent),
    os: named(os.name, os.versionName ?? os.version),
    device: deviceOf(platform),
  };
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
