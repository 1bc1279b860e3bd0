import type { SessionStore } from 'nestjs-distributed-session';
import { sealedCookie, type RevocationOption } from 'nestjs-distributed-session/cookie';
import { jwtSession } from 'nestjs-distributed-session/jwt';

const SHOP = 'https://shop.example';

/** In what forms clients carry their sessions: what holds for one holds for the other. */
export const FORMS: readonly (readonly [
  string,
  (revocation?: RevocationOption) => SessionStore,
])[] = [
  ['a sealed cookie', (revocation) => sealedCookie({ revocation })],
  ['a JWT', (revocation) => jwtSession({ issuer: SHOP, audience: SHOP, revocation })],
];
