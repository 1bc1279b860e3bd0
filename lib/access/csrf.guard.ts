import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { LiveSession } from '../core/live-session.js';
import {
  SessionConflictError,
  SessionCsrfError,
  SessionStoreUnavailableError,
} from '../core/session.errors.js';
import type { IncomingRequest } from '../http/raw-transport-request.js';
import type { SessionCorridor } from '../http/session-corridor.js';
import type { SessionLane } from '../http/session-lane.js';
import { isCsrfTokenOf, isSafeMethod, judgeSource, type RequestSource } from '../security/csrf.js';
import { SKIP_CSRF } from '../session.constants.js';
import { corridorIn, sessionOf, toException, traitsOf } from './session-of.js';

/**
 * Refuses requests that another site makes a browser send: 403 with `code: 'SESSION_CSRF_REFUSED'`
 * (OWASP ASVS 3.5.1). Use it on a route, a controller, or everywhere as `APP_GUARD`, with
 * `@SkipCsrf()` for exceptions.
 *
 * Methods that change nothing pass, and so does what came with a token in a header of its own: no other
 * site can make a browser send that. Of all else
 *
 * 1. `Sec-Fetch-Site` tells where it comes from, or `Origin`, compared with scheme, host and port as the
 *    adapter knows them behind its proxies;
 * 2. what comes from an origin that the option `csrf.origins` names, or from a client that tells neither,
 *    needs a token of `@CsrfToken()` as well; with `csrf: { token: 'always' }` everything does.
 *
 * Who is not logged in is protected, too: a foreign page must not log its visitor in as somebody else.
 *
 * @example { provide: APP_GUARD, useClass: SessionCsrfGuard }
 */
@Injectable()
export class SessionCsrfGuard implements CanActivate {
  async canActivate(context: ExecutionContext): Promise<boolean> {
    const corridor = corridorIn(context);
    // Where there is no session nothing can be done in its name.
    if (!corridor || isSafeMethod(corridor.request.method)) return true;
    if (this.shouldSkip(context)) return true;
    try {
      await this.#judge(context, corridor);
      return true;
    } catch (error) {
      throw toException(error, context);
    }
  }

  /** Routes that the guard lets everything pass. @default those with `@SkipCsrf()` */
  protected shouldSkip(context: ExecutionContext): boolean {
    const places = [context.getHandler(), context.getClass()];
    return places.some((place) => Reflect.getMetadata(SKIP_CSRF, place) === true);
  }

  async #judge(context: ExecutionContext, corridor: SessionCorridor): Promise<void> {
    const { skip, name } = traitsOf(context);
    const lane = corridor.lane(name);
    const verdict = judgeSource(sourceOf(corridor.request), lane.parts.csrf);
    if (verdict === 'pass' || (lane.isExplicit && !corridor.hasTokensBeside(lane))) return;
    if (verdict === 'refuse') this.#refuse(lane, 'origin');
    // A route without a session has nothing that a token could belong to.
    if (!skip && !(await isProven(context, lane))) this.#refuse(lane, 'token');
  }

  #refuse({ parts, session }: SessionLane, missing: 'origin' | 'token'): never {
    const { csrf, manager } = parts;
    manager.rejected('csrf', LiveSession.stateOf(session).presentedHandle);
    throw new SessionCsrfError(
      missing === 'origin'
        ? 'The request comes from another site: send it from a page of this origin, or name its ' +
            'origin in the option "csrf.origins". Behind a proxy, let the adapter trust it.'
        : `The request brings no valid CSRF token: take one from @CsrfToken(), a new one after each ` +
            `login, and send it in the header "${csrf.header}" or the field "${csrf.field}" of the body.`,
    );
  }
}

const sourceOf = (request: IncomingRequest): RequestSource => ({
  method: request.method,
  site: request.header('sec-fetch-site'),
  origin: request.header('origin'),
  own: request.origin,
});

/** Whether a token of the session came along. */
async function isProven(context: ExecutionContext, lane: SessionLane): Promise<boolean> {
  const session = await sessionOf(context);
  const { record, seed } = LiveSession.stateOf(session);
  if (record && seed !== undefined) return isCsrfTokenOf(seed, tokenIn(context, lane));
  if (session.outage) {
    // A 403 would say that the token is wrong, which is not known.
    lane.unavailable = true;
    throw new SessionStoreUnavailableError('outage');
  }
  // Logged in under an id that it got just now in another request: the token may well be right.
  if (await lane.parts.manager.goesOnElsewhere(session)) throw new SessionConflictError();
  return false;
}

/** From the header, or else from the body as the adapter has parsed it. */
function tokenIn(context: ExecutionContext, { parts }: SessionLane): unknown {
  const { header, field } = parts.csrf;
  const sent = corridorIn(context)?.request.header(header.toLowerCase());
  if (sent !== undefined || context.getType() !== 'http') return sent;
  const { body } = context.switchToHttp().getRequest<{ body?: unknown }>();
  const isForm = typeof body === 'object' && body !== null && Object.hasOwn(body, field);
  return isForm ? (body as Record<string, unknown>)[field] : undefined;
}
