import { sealedCookie } from 'nestjs-distributed-session/cookie';
import { jwtSession } from 'nestjs-distributed-session/jwt';
import type { Settings } from '../settings.js';
import type { SessionHome } from './session-home.js';

/** With REDIS_URL all nodes know what was ended; without it, this process does. */
const revocationOf = ({ redisUrl }: Settings) =>
  redisUrl === undefined ? 'memory' : { redis: redisUrl };

const whereEnded = ({ redisUrl }: Settings): string =>
  redisUrl === undefined ? 'this process knows' : 'Redis knows';

export function inCookies(settings: Settings): SessionHome {
  return {
    options: { store: sealedCookie({ revocation: revocationOf(settings) }) },
    description: `Sessions are kept by browsers, sealed in cookies; ${whereEnded(settings)} which were ended`,
    isSilent: true,
    isCarried: true,
  };
}

export function inTokens(settings: Settings): SessionHome {
  const shop = 'https://shop.example';
  const revocation = revocationOf(settings);
  return {
    options: { store: jwtSession({ issuer: shop, audience: shop, revocation }) },
    description: `Sessions are kept by browsers, in signed tokens that they can read; ${whereEnded(settings)} which were ended`,
    isSilent: true,
    isCarried: true,
  };
}
