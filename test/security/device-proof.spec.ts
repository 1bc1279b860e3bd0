import { beforeAll, describe, expect, it } from '@jest/globals';
import { generateKeyPairSync } from 'node:crypto';
import { decodeDevice, deviceKeyOf, encodeDevice } from '../../lib/core/session-device.js';
import { decodeHeader, encodeHeader } from '../../lib/core/session-record.js';
import { SessionOptionsError } from '../../lib/core/session.errors.js';
import { resolveSessionOptions } from '../../lib/options/resolve-session-options.js';
import type { SessionModuleOptions } from '../../lib/options/session-module.options.js';
import { DeviceProofReader } from '../../lib/security/device-proof.js';
import { DeviceTickets } from '../../lib/security/device-tickets.js';
import { Keyring } from '../../lib/security/keyring.js';
import {
  newDeviceKeys,
  proof,
  registration,
  signedToken,
  tokenByPublicKey,
  unsignedToken,
  type DeviceKeys,
} from '../support/device-client.js';

const NOW = Date.UTC(2030, 0, 1);
const SECONDS = NOW / 1_000;
const HERE = { now: NOW, path: '/session/device' };
const SECRET = 'x8Jd93kd02kdLs93kfj3kdlsk39fkslw0';
const ec = newDeviceKeys();
const rsa = newDeviceKeys('RS256');
const weak = newDeviceKeys('RS256', 1_024);
let reader: DeviceProofReader;

beforeAll(async () => {
  reader = await DeviceProofReader.create();
});

/** Keys of a kind that no browser uses here, with the name of one that it does. */
function otherCurve(): DeviceKeys {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
  return { algorithm: 'ES256', privateKey, jwk: { ...publicKey.export({ format: 'jwk' }) } };
}

describe('a proof that brings its key', () => {
  it.each([
    ['ES256', ec],
    ['RS256', rsa],
  ])('counts by %s, and gives nothing but the public key', async (_, keys) => {
    const token = registration(keys, 'c');
    expect(await reader.readNew(token, HERE)).toEqual({ challenge: 'c', key: keys.jwk });
  });

  it('may have the key among its claims, as earlier drafts say', async () => {
    const token = signedToken(ec, {}, { jti: 'c', key: ec.jwk });
    expect(await reader.readNew(token, HERE)).toEqual({ challenge: 'c', key: ec.jwk });
  });

  it('may say more about itself, if that is right', async () => {
    const aud = 'https://shop.example/session/device';
    const claims = { aud, iat: SECONDS - 3_600, exp: SECONDS - 59, nbf: SECONDS + 59 };
    expect(await reader.readNew(registration(ec, 'c', claims), HERE)).toBeDefined();
  });

  const other = newDeviceKeys();
  it.each<[what: string, token: string]>([
    ['nothing', ''],
    ['no token', 'x'],
    ['no JSON', 'e30.x.y'],
    ['a token of a megabyte', `${registration(ec, 'c')}${'A'.repeat(1_000_000)}`],
    ['no signature', unsignedToken({ jwk: ec.jwk }, { jti: 'c' })],
    ['no signature, but an algorithm', unsignedToken({ jwk: ec.jwk, alg: 'ES256' }, { jti: 'c' })],
    ['a MAC by the public key', tokenByPublicKey(ec, { jti: 'c' })],
    ["another key's signature", signedToken(other, { jwk: ec.jwk }, { jti: 'c' })],
    [
      'another algorithm of the key',
      signedToken(rsa, { jwk: rsa.jwk, alg: 'PS256' }, { jti: 'c' }),
    ],
    ["the other kind's algorithm", signedToken(rsa, { jwk: rsa.jwk, alg: 'ES256' }, { jti: 'c' })],
    ['another type of token', signedToken(ec, { jwk: ec.jwk, typ: 'JWT' }, { jti: 'c' })],
    ['a type left out', signedToken(ec, { jwk: ec.jwk, typ: undefined }, { jti: 'c' })],
    [
      'something that must be understood',
      signedToken(ec, { jwk: ec.jwk, crit: ['x'], x: 1 }, { jti: 'c' }),
    ],
    ['no key', proof(ec, 'c')],
    ['a weak key', registration(weak, 'c')],
    ['a key on another curve', registration(otherCurve(), 'c')],
    ['a point on no curve', registration({ ...ec, jwk: { ...ec.jwk, x: ec.jwk.y } }, 'c')],
    ['a secret as its key', signedToken(ec, { jwk: { kty: 'oct', k: 'AAAA' } }, { jti: 'c' })],
    ['no challenge', signedToken(ec, { jwk: ec.jwk }, {})],
    ['a challenge that is no text', signedToken(ec, { jwk: ec.jwk }, { jti: 7 })],
    ['an end that has come', registration(ec, 'c', { exp: SECONDS - 61 })],
    ['a begin that is to come', registration(ec, 'c', { nbf: SECONDS + 61 })],
    ['a time of another day', registration(ec, 'c', { iat: SECONDS - 86_401 })],
    ['a time that is to come', registration(ec, 'c', { iat: SECONDS + 86_401 })],
    ['a time that is none', registration(ec, 'c', { iat: 'soon' })],
    ['another place', registration(ec, 'c', { aud: 'https://shop.example/login' })],
    ['a place that is none', registration(ec, 'c', { aud: 'shop' })],
    ['a subject', registration(ec, 'c', { sub: 'device' })],
  ])('counts for nothing with %s', async (_, token) => {
    expect(await reader.readNew(token, HERE)).toBeUndefined();
  });
});

describe('a proof by a known key', () => {
  const key = deviceKeyOf(ec.jwk)!;

  it('counts', async () => {
    for (const claims of [{}, { sub: 'device' }]) {
      const token = proof(ec, 'c', claims);
      expect(await reader.read(token, key, HERE, 'device')).toEqual({ challenge: 'c', key });
    }
  });

  const other = newDeviceKeys();
  it.each<[what: string, token: string]>([
    ['by another key', proof(other, 'c')],
    ['by another key that it brings along', registration(other, 'c')],
    ['by another key, with ours beside it', signedToken(other, { jwk: ec.jwk }, { jti: 'c' })],
    ['by another key of another kind', proof(rsa, 'c')],
    ['by nobody', unsignedToken({}, { jti: 'c' })],
    ['by the public key', tokenByPublicKey(ec, { jti: 'c' })],
    ['of another device', proof(ec, 'c', { sub: 'another' })],
  ])('counts for nothing %s', async (_, token) => {
    expect(await reader.read(token, key, HERE, 'device')).toBeUndefined();
  });
});

describe('tickets', () => {
  const tickets = new DeviceTickets(new Keyring([SECRET]));
  const ticket = tickets.issue('refresh', 'device', NOW);

  it('tell their time on every node that has the secret, also after it was replaced', () => {
    const rotated = new DeviceTickets(new Keyring(['another-x8Jd93kd02kdLs93kfj3kdlsk', SECRET]));
    expect(tickets.read('refresh', 'device', ticket)).toBe(NOW);
    expect(rotated.read('refresh', 'device', ticket)).toBe(NOW);
    expect(
      tickets.read('refresh', 'device', rotated.issue('refresh', 'device', NOW)),
    ).toBeUndefined();
  });

  it.each([
    ['another purpose', 'cookie', 'device', ticket],
    ['another owner', 'refresh', 'another', ticket],
    ['another time', 'refresh', 'device', ticket.replace(/^./, 'z')],
    ['more behind it', 'refresh', 'device', `${ticket}A`],
    ['nothing', 'refresh', 'device', ''],
    ['no proof', 'refresh', 'device', ticket.split('.')[0]!],
  ] as const)('tell nothing with %s', (_, purpose, owner, text) => {
    expect(tickets.read(purpose, owner, text)).toBeUndefined();
  });
});

describe('the record', () => {
  const device = { id: 'd', key: deviceKeyOf(rsa.jwk)!, boundAt: 1, answered: 2 };
  const header = { createdAt: 1, absoluteEnd: 2, savedAt: 1 };

  it('keeps a device', () => {
    expect(decodeDevice(JSON.parse(JSON.stringify(encodeDevice(device))))).toEqual(device);
    expect(decodeHeader(encodeHeader({ ...header, device }, 0))?.header.device).toEqual(device);
  });

  it('of which the device cannot be read is damaged, not free for all', () => {
    const text = encodeHeader({ ...header, device }, 0);
    expect(decodeHeader(text.replace('"RSA"', '"XXX"'))).toBeUndefined();
    expect(decodeHeader(encodeHeader(header, 0))?.header.device).toBeUndefined();
  });
});

describe('the option deviceBound', () => {
  const problemsOf = (options: object): readonly string[] => {
    try {
      resolveSessionOptions({ secret: SECRET, ...options } as SessionModuleOptions, 'test');
      return [];
    } catch (error) {
      if (error instanceof SessionOptionsError) return error.problems;
      throw error;
    }
  };

  it('has defaults', () => {
    const resolved = resolveSessionOptions({ secret: SECRET, deviceBound: true }, 'test');
    expect(resolved.deviceBound).toEqual({ path: '/session/device', lifetime: 300_000 });
    const off = resolveSessionOptions({ deviceBound: false }, 'test');
    expect(off.deviceBound).toBeUndefined();
  });

  it.each([
    [{ deviceBound: 'yes' }, /^deviceBound is "yes": use true, or an object/],
    [{ deviceBound: { path: 'x' } }, /^deviceBound\.path is "x": use a path/],
    [{ deviceBound: { path: '/a";b' } }, /^deviceBound\.path is .*: use a path/],
    [{ deviceBound: { lifetime: '1s' } }, /^deviceBound\.lifetime is "1s": use a duration/],
    [{ deviceBound: { other: 1 } }, /^deviceBound\.other is no option/],
    [{ deviceBound: true, secret: undefined }, /^deviceBound needs `secret`/],
    [{ deviceBound: true, transport: 'x-auth-token' }, /^deviceBound needs the transport 'cookie'/],
    [{ deviceBound: true, cookie: { secure: false } }, /^deviceBound needs https/],
    [{ deviceBound: true, cookie: { domain: 'a.example' } }, /^deviceBound is for one host/],
    [{ deviceBound: true, cookie: { sameSite: 'none' } }, /^deviceBound is for one site/],
    [{ deviceBound: true, cookie: { path: '/app' } }, /^deviceBound\.path .* is not under/],
    [{ deviceBound: true, accounts: 2 }, /^deviceBound and accounts/],
    [{ deviceBound: true, cookie: { routing: '__Host-session-bound' } }, /^cookie\.routing is/],
  ])('with %j does not boot', (options, problem) => {
    expect(problemsOf(options)).toEqual([expect.stringMatching(problem)]);
  });

  it('fits a cookie for a part of the site', () => {
    const cookie = { path: '/app' };
    expect(problemsOf({ deviceBound: { path: '/app/device' }, cookie })).toEqual([]);
  });
});
