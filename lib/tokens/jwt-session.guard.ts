import { Inject, Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { isGrant, refusalOf, type SessionRequirement } from '../core/session-requirement.js';
import type { Session } from '../core/session.js';
import {
  SessionForbiddenError,
  SessionRequiredError,
  SessionStepUpError,
  SessionStoreUnavailableError,
  SessionUnavailableError,
} from '../core/session.errors.js';
import { RETRY_AFTER, toHttpException } from '../http/session-http.exception.js';
import { ALLOW_ANONYMOUS, REQUIREMENTS } from '../session.constants.js';
import { JwtVerifier, TokenRefusedError } from './jwt-verifier.js';
import { levelOf, type SessionTokenClaims } from './token-claims.js';

/** On the raw request: a guard may stand before a class and before its method. */
const CLAIMS = Symbol('claims of a token');

interface RawRequest {
  readonly headers: { readonly authorization?: string };
  [CLAIMS]?: SessionTokenClaims;
}

const BEARER = /^Bearer +([\w.~+/-]+=*) *$/i;

/**
 * Lets only requests pass that bring a token of `session.token()` for this service, by `Authorization: Bearer`:
 * 401 otherwise (RFC 6750), 503 while the keys of the issuer cannot be fetched. Use it on a route, a controller,
 * or everywhere as `APP_GUARD`, with `@AllowAnonymous()` for exceptions. No store is asked.
 *
 * It judges `@RequireRole` and its like as well, by what the token says: 403 where more proof does not help,
 * 401 with a challenge as in RFC 9470 where it does. For routes over HTTP.
 *
 * @example \@UseGuards(JwtSessionGuard) \@Controller('orders')
 */
@Injectable()
export class JwtSessionGuard implements CanActivate {
  @Inject(JwtVerifier) private readonly verifier!: JwtVerifier;

  async canActivate(context: ExecutionContext): Promise<boolean> {
    const request = rawRequestOf(context);
    const { open, requirements } = traitsOf(context);
    if (open) return true;
    try {
      const claims = (request[CLAIMS] ??= await this.verifier.verify(tokenIn(request)));
      await this.#judge(claims, requirements, context);
      return true;
    } catch (error) {
      answer(context, error);
      throw toHttpException(error);
    }
  }

  /** Whether who comes may do this; `false` answers 403. @default everybody may, whom `@RequireRole` and its like let */
  protected isAllowed(
    _claims: SessionTokenClaims,
    _context: ExecutionContext,
  ): boolean | Promise<boolean> {
    return true;
  }

  /** First what no further proof helps with. */
  async #judge(
    claims: SessionTokenClaims,
    requirements: readonly SessionRequirement[],
    context: ExecutionContext,
  ): Promise<void> {
    const session = asSession(claims);
    const by = { now: this.verifier.now(), assurance: () => levelOf(claims) };
    const ordered = [...requirements.filter(isGrant), ...requirements.filter((it) => !isGrant(it))];
    const refusals = ordered.map((one) => refusalOf(one, session, by));
    const refusal = refusals.find((one) => one !== undefined);
    if (refusal instanceof SessionForbiddenError) throw refusal;
    if (!(await this.isAllowed(claims, context))) throw new SessionForbiddenError();
    if (refusal) throw refusal;
  }
}

/**
 * What the token of a request says; `undefined` on a route that lets everybody pass.
 *
 * @throws SessionUnavailableError (`SESSION_UNAVAILABLE`) where no guard has looked at it
 */
export function claimsIn(context: ExecutionContext): SessionTokenClaims | undefined {
  const claims = rawRequestOf(context)[CLAIMS];
  if (claims || traitsOf(context).open) return claims;
  throw new SessionUnavailableError(
    'The token of this request was not verified: let JwtSessionGuard stand before its handler.',
  );
}

function rawRequestOf(context: ExecutionContext): RawRequest {
  if (context.getType() !== 'http') {
    throw new SessionUnavailableError(
      'JwtSessionGuard is for routes over HTTP: verify tokens of other messages by JwtVerifier.',
    );
  }
  const request = context.getArgByIndex<RawRequest & { readonly raw?: RawRequest }>(0);
  return request.raw ?? request;
}

function tokenIn({ headers }: RawRequest): string {
  const [, token] = BEARER.exec(headers.authorization ?? '') ?? [];
  if (token !== undefined) return token;
  throw new SessionRequiredError('This needs a token: send one by `Authorization: Bearer`.');
}

/** As `SessionGuard` reads them: what requires something is not open, whatever else is said beside it. */
function traitsOf(context: ExecutionContext) {
  const [handler, controller] = [context.getHandler(), context.getClass()];
  const isAllowed = (place: object) =>
    Reflect.getMetadata(ALLOW_ANONYMOUS, place) as boolean | undefined;
  const places = isAllowed(handler) === true ? [handler] : [controller, handler];
  const requirements = places.flatMap(
    (place) => (Reflect.getMetadata(REQUIREMENTS, place) ?? []) as SessionRequirement[],
  );
  const open = requirements.length === 0 && (isAllowed(handler) ?? isAllowed(controller) ?? false);
  return { open, requirements };
}

/** As much of a session as requirements are judged by. */
function asSession(claims: SessionTokenClaims): Session {
  const { roles, permissions, auth_time, amr_times } = claims;
  const times = Object.entries(amr_times).map(([name, at]) => [name, at * 1_000]);
  const factors = Object.fromEntries(times) as Record<string, number>;
  const judged: Pick<Session, 'roles' | 'permissions' | 'authenticatedAt' | 'factors'> = {
    roles,
    permissions,
    authenticatedAt: auth_time * 1_000,
    factors,
  };
  return judged as Session;
}

function answer(context: ExecutionContext, error: unknown): void {
  const response = context
    .switchToHttp()
    .getResponse<{ header(name: string, value: string): unknown }>();
  const challenge = challengeOf(error);
  if (challenge !== undefined) response.header('WWW-Authenticate', challenge);
  if (error instanceof SessionStoreUnavailableError) response.header('Retry-After', RETRY_AFTER);
}

/** Without a token there is no error to tell (RFC 6750, section 3.1). */
function challengeOf(error: unknown): string | undefined {
  if (error instanceof TokenRefusedError) return 'Bearer error="invalid_token"';
  if (error instanceof SessionRequiredError) return 'Bearer';
  if (error instanceof SessionForbiddenError) return 'Bearer error="insufficient_scope"';
  if (!(error instanceof SessionStepUpError)) return undefined;
  const { maxAge, factors, assurance } = error.stepUp;
  const asked = [
    'Bearer error="insufficient_user_authentication"',
    maxAge !== undefined && `max_age="${maxAge}"`,
    factors && `factor="${factors.join(' ')}"`,
    assurance !== undefined && `acr_values="aal${assurance}"`,
  ];
  return asked.filter(Boolean).join(', ');
}
