import { Injectable, type CanActivate, type ExecutionContext, type Type } from '@nestjs/common';
import { SessionCsrfGuard } from '../access/csrf.guard.js';
import { SessionGuard } from '../access/session.guard.js';
import { corridorIn } from '../access/session-of.js';
import { SessionCsrfError } from '../core/session.errors.js';
import type { Session } from '../core/session.js';
import { toHttpException } from '../http/session-http.exception.js';
import { isSafeMethod } from '../security/csrf.js';
import type { DashboardOptions } from './dashboard.options.js';

/** What stands before each route: who may, and that their own page asks. */
export function guardsOf({ guards, allow }: DashboardOptions): (Type<CanActivate> | CanActivate)[] {
  return [...guards, ...(allow ? [guardBy(allow)] : []), DashboardCsrfGuard];
}

/** Whether guards alone let everybody in who is logged in. */
export const isForEveryone = ({ guards, allow }: DashboardOptions): boolean =>
  !allow &&
  guards.every((guard) => {
    const type = typeof guard === 'function' ? guard : guard.constructor;
    return type === SessionGuard || type === SessionCsrfGuard;
  });

function guardBy(allow: NonNullable<DashboardOptions['allow']>): Type<CanActivate> {
  @Injectable()
  class DashboardGuard extends SessionGuard {
    protected override async isAllowed(
      session: Session,
      context: ExecutionContext,
    ): Promise<boolean> {
      if (!(await super.isAllowed(session, context))) return false;
      return (await allow(session, context)) === true;
    }
  }
  return DashboardGuard;
}

/** As `SessionCsrfGuard`, also where the page has no session, as its visitors are known otherwise. */
@Injectable()
class DashboardCsrfGuard extends SessionCsrfGuard {
  override async canActivate(context: ExecutionContext): Promise<boolean> {
    if (corridorIn(context)) return super.canActivate(context);
    const { method, headers } = context.switchToHttp().getRequest<{
      readonly method: string;
      readonly headers: Readonly<Record<string, unknown>>;
    }>();
    if (isSafeMethod(method) || headers['sec-fetch-site'] === 'same-origin') return true;
    throw toHttpException(
      new SessionCsrfError(
        'The request does not come from the dashboard: use a browser of these years, over https.',
      ),
    );
  }

  protected override shouldSkip(): boolean {
    return false;
  }
}
