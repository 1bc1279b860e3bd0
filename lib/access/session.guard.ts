import { Injectable, type CanActivate, type ExecutionContext } from '@nestjs/common';
import { SessionForbiddenError, SessionRequiredError } from '../core/session.errors.js';
import type { Session } from '../core/session.js';
import { toHttpException } from '../http/session-http.exception.js';
import { sessionOf, traitsOf } from './session-of.js';

/**
 * Lets only authenticated sessions pass: 401 with `code: 'SESSION_REQUIRED'` otherwise, 503 while
 * the store is down (a 401 would make clients log their users out). Use it on a route, a
 * controller, or everywhere as `APP_GUARD`, with `@AllowAnonymous()` for exceptions.
 *
 * Override its methods to change what counts.
 *
 * @example
 * class AdminGuard extends SessionGuard {
 *   protected override isAllowed(session: Session) { return session.roles.includes('admin'); }
 * }
 */
@Injectable()
export class SessionGuard implements CanActivate {
  async canActivate(context: ExecutionContext): Promise<boolean> {
    if (this.shouldSkip(context)) return true;
    try {
      const session = await sessionOf(context);
      if (!(await this.isAuthenticated(session, context))) this.refuseAnonymous(session, context);
      if (!(await this.isAllowed(session, context))) this.refuseForbidden(session, context);
      return true;
    } catch (error) {
      throw toHttpException(error);
    }
  }

  /** Routes that the guard lets everybody pass. @default those with `@AllowAnonymous()` or `@SkipSession()` */
  protected shouldSkip(context: ExecutionContext): boolean {
    const { allowAnonymous, skip } = traitsOf(context);
    return allowAnonymous || skip;
  }

  /** Whether somebody is logged in. @default the session has a principal */
  protected isAuthenticated(
    session: Session,
    _context: ExecutionContext,
  ): boolean | Promise<boolean> {
    return session.principal !== undefined;
  }

  /** Whether the principal may do this; `false` answers 403. @default always */
  protected isAllowed(_session: Session, _context: ExecutionContext): boolean | Promise<boolean> {
    return true;
  }

  /** @throws SessionRequiredError (`SESSION_REQUIRED`) */
  protected refuseAnonymous(_session: Session, _context: ExecutionContext): never {
    throw new SessionRequiredError();
  }

  /** @throws SessionForbiddenError (`SESSION_FORBIDDEN`) */
  protected refuseForbidden(_session: Session, _context: ExecutionContext): never {
    throw new SessionForbiddenError();
  }
}
