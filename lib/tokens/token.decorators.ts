import { createParamDecorator } from '@nestjs/common';
import { claimsIn } from './jwt-session.guard.js';

/**
 * Injects what the token of the request says, behind `JwtSessionGuard`; `undefined` on a route with
 * `@AllowAnonymous()`, where no token is looked at.
 *
 * @example list(@TokenClaims() { sub, roles }: SessionTokenClaims) { return { sub, roles }; }
 */
export const TokenClaims = createParamDecorator((_: unknown, context) => claimsIn(context));

/**
 * Injects the principal of the session that the token of the request speaks of, as `@TokenClaims()`.
 *
 * @example list(@TokenPrincipal() principal: string) { return this.orders.of(principal); }
 */
export const TokenPrincipal = createParamDecorator((_: unknown, context) => claimsIn(context)?.sub);
