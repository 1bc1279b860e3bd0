import { constants, createHmac, generateKeyPairSync, sign, type KeyObject } from 'node:crypto';
import type { Answer, HttpClient, Sending } from './http-client.js';

export const DEVICE_PATH = '/session/device';

/** A key pair of a device, as a browser makes one. */
export interface DeviceKeys {
  readonly algorithm: 'ES256' | 'RS256';
  readonly privateKey: KeyObject;
  readonly jwk: Readonly<Record<string, unknown>>;
}

export function newDeviceKeys(algorithm: 'ES256' | 'RS256' = 'ES256', bits = 2_048): DeviceKeys {
  const { privateKey, publicKey } =
    algorithm === 'ES256'
      ? generateKeyPairSync('ec', { namedCurve: 'P-256' })
      : generateKeyPairSync('rsa', { modulusLength: bits });
  return { algorithm, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }) } };
}

const encoded = (part: object): string => Buffer.from(JSON.stringify(part)).toString('base64url');

const PSS = { padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 32 };

/** A token with any header and any claims, rightly signed for what its keys are, or by PS256 if it says so. */
export function signedToken(keys: DeviceKeys, header: object, claims: object): string {
  const text = `${encoded({ alg: keys.algorithm, typ: 'dbsc+jwt', ...header })}.${encoded(claims)}`;
  const signature = sign('sha256', Buffer.from(text), {
    key: keys.privateKey,
    dsaEncoding: 'ieee-p1363',
    ...('alg' in header && header.alg === 'PS256' && PSS),
  });
  return `${text}.${signature.toString('base64url')}`;
}

/** A token without a signature. */
export const unsignedToken = (header: object, claims: object): string =>
  `${encoded({ alg: 'none', typ: 'dbsc+jwt', ...header })}.${encoded(claims)}.`;

/** A token by HS256, its secret made of what everybody knows: the public key. */
export function tokenByPublicKey({ jwk }: DeviceKeys, claims: object): string {
  const text = `${encoded({ alg: 'HS256', typ: 'dbsc+jwt', jwk })}.${encoded(claims)}`;
  return `${text}.${createHmac('sha256', JSON.stringify(jwk)).update(text).digest('base64url')}`;
}

/** What Chromium sends when it registers a key. */
export const registration = (keys: DeviceKeys, challenge: string, claims: object = {}): string =>
  signedToken(keys, { jwk: keys.jwk }, { jti: challenge, ...claims });

/** What Chromium sends when it proves that it has a key. */
export const proof = (keys: DeviceKeys, challenge: string, claims: object = {}): string =>
  signedToken(keys, {}, { jti: challenge, ...claims });

/** The challenge that came with a login. */
export const offerIn = ({ headers }: Answer): string | undefined =>
  /;challenge="([^"]+)"$/.exec(headers['secure-session-registration'] ?? '')?.[1];

/** The challenge that came with a refusal. */
export const challengeIn = ({ headers }: Answer): string =>
  /^"([^"]+)";id="[^"]+"$/.exec(headers['secure-session-challenge'] ?? '')?.[1] ?? 'none';

/** A browser that does what the standard says, step by step. */
export class DeviceBrowser {
  /** Names the session between browser and server, once it is bound. */
  id = '';

  constructor(
    readonly client: HttpClient,
    readonly keys: DeviceKeys = newDeviceKeys(),
  ) {}

  /** Logs in; returns the challenge of the offer. */
  async login(): Promise<string> {
    return offerIn(await this.client.post('/login')) ?? 'none';
  }

  /** Logs in, and binds the session to the device. */
  async loginBound(): Promise<this> {
    const answer = await this.register(registration(this.keys, await this.login()));
    if (answer.status !== 200) throw new Error(`not registered: ${answer.status} ${answer.text}`);
    return this;
  }

  async register(token: string, sending: Sending = {}): Promise<Answer> {
    const answer = await this.#post({ 'secure-session-response': `"${token}"` }, sending);
    if (answer.status === 200) this.id = String(answer.json.session_identifier);
    return answer;
  }

  /** Asks for a new bound cookie, with a proof if one is given. */
  refresh(token?: string, { id = this.id, headers = {} }: RefreshOptions = {}): Promise<Answer> {
    const all: Record<string, string> = { 'sec-secure-session-id': `"${id}"` };
    if (token !== undefined) all['secure-session-response'] = `"${token}"`;
    return this.#post({ ...all, ...headers });
  }

  /** A challenge, by asking without a proof. */
  async challenge(): Promise<string> {
    return challengeIn(await this.refresh());
  }

  /** The whole way to a new bound cookie. */
  async prove(): Promise<Answer> {
    return this.refresh(proof(this.keys, await this.challenge()));
  }

  #post(headers: Record<string, string>, sending: Sending = {}): Promise<Answer> {
    return this.client.post(DEVICE_PATH, {
      ...sending,
      headers: { ...headers, ...sending.headers },
    });
  }
}

interface RefreshOptions {
  id?: string;
  headers?: Record<string, string>;
}
