import { createParamDecorator, SetMetadata } from '@nestjs/common';
import { LiveSession } from '../core/live-session.js';
import { maskedCsrfToken } from '../security/csrf.js';
import { SKIP_CSRF } from '../session.constants.js';
import { sessionOf } from './session-of.js';

/**
 * Injects a CSRF token of the session, for `SessionCsrfGuard`: the page sends it back in the header
 * `X-CSRF-Token` or the field `_csrf` (option `csrf`). Each is another string, and all serve until the
 * next login or the end of the session. A session that is not stored yet is stored for it.
 *
 * Its answer is for one visitor: let no shared cache keep it. A login changes all tokens, so the page asks for
 * one after it, not in the same request.
 *
 * @example
 * \@Header('Cache-Control', 'no-store')
 * \@Get('csrf') token(@CsrfToken() token: string) { return { token }; }
 */
export const CsrfToken = createParamDecorator(async (_: unknown, context) => {
  const state = LiveSession.stateOf(await sessionOf(context));
  // What a login in another request has taken the place of is not to come back for a token.
  if (state.supersededBy === undefined) state.required = true;
  return maskedCsrfToken(state.seed as string);
});

/**
 * Lets everything pass a `SessionCsrfGuard`: for what other servers call and prove by a signature, such as
 * webhooks. Nothing there may rely on the session.
 *
 * @example \@SkipCsrf() \@Post('webhooks/payments')
 */
export const SkipCsrf = (): MethodDecorator & ClassDecorator => SetMetadata(SKIP_CSRF, true);
