import {
  Inject,
  Injectable,
  Optional,
  type CanActivate,
  type ExecutionContext,
} from '@nestjs/common';
import { LiveSession } from '../core/live-session.js';
import { isGrant, refusalOf } from '../core/session-requirement.js';
import {
  SessionConflictError,
  SessionForbiddenError,
  SessionRequiredError,
  SessionStepUpError,
  SessionStoreUnavailableError,
} from '../core/session.errors.js';
import { TOKEN_GUARD } from '../core/session-token.js';
import type { Session } from '../core/session.js';
import { SessionHost } from '../http/session-host.js';
import { challengeOf } from '../http/session-http.exception.js';
import { corridorIn, laneOf, sessionOf, toException, traitsOf } from './session-of.js';

/**
 * Lets only authenticated sessions pass: 401 with `code: 'SESSION_REQUIRED'` otherwise, 503 while
 * the store is down (a 401 would make clients log their users out). Use it on a route, a
 * controller, or everywhere as `APP_GUARD`, with `@AllowAnonymous()` for exceptions.
 *
 * It also judges what `@RequireRole` and its like ask for: 403 where logging in does not help, 401 with
 * `code: 'SESSION_STEP_UP_REQUIRED'`, a hint and a challenge where it does; and asks the option `policy`.
 *
 * Override its methods to change what counts: a guard made from this one decides on what the store has, not on a copy,
 * unless the route says `@Consistency('near')`.
 *
 * @example
 * class StaffGuard extends SessionGuard {
 *   protected override isAllowed(session: Session) { return session.claims.staff === true; }
 * }
 */
@Injectable()
export class SessionGuard implements CanActivate {
  /** Makes room for sessions of messages, which come before anything that might have. */
  @Optional() @Inject(SessionHost) private readonly sessionHost?: SessionHost;

  /** Judges where there is no session: by tokens that other services are told by who is logged in. */
  @Optional() @Inject(TOKEN_GUARD) private readonly tokenGuard?: {
    canActivate(context: ExecutionContext): Promise<boolean>;
  };

  async canActivate(context: ExecutionContext): Promise<boolean> {
    if (this.shouldSkip(context)) return true;
    if (this.tokenGuard && !this.#hasSession(context)) return this.tokenGuard.canActivate(context);
    try {
      corridorIn(context, this.sessionHost);
      const session = await sessionOf(context, undefined, this.#judgesItself(context));
      const lane = laneOf(context);
      // A class and its method may both ask for the guard.
      const pass = [this, context.getHandler(), context.getClass()];
      if (lane.hasPassed(...pass)) return true;
      if (session.device === 'unproven') throw lane.refuseDevice(LiveSession.stateOf(session));
      if (!(await this.isAuthenticated(session, context))) {
        // A 401 would say that nobody is logged in, which is not known.
        if (session.outage) {
          lane.unavailable = true;
          throw new SessionStoreUnavailableError('outage');
        }
        // Logged in under an id that it got just now in another request: a 401 would log it out.
        if (await lane.parts.manager.goesOnElsewhere(session)) throw new SessionConflictError();
        this.refuseAnonymous(session, context);
      }
      await this.#judge(session, context);
      lane.passed(...pass);
      return true;
    } catch (error) {
      const corridor = corridorIn(context);
      if (corridor) corridor.challenge = challengeOf(error);
      throw toException(error, context);
    }
  }

  /** Routes that the guard lets everybody pass. @default those with `@AllowAnonymous()` or `@SkipSession()` */
  protected shouldSkip(context: ExecutionContext): boolean {
    const { allowAnonymous, skip, required } = traitsOf(context);
    return allowAnonymous || (skip && !required);
  }

  /** Whether somebody is logged in. @default the session has a principal */
  protected isAuthenticated(
    session: Session,
    _context: ExecutionContext,
  ): boolean | Promise<boolean> {
    return session.principal !== undefined;
  }

  /** Whether the principal may do this; `false` answers 403. @default what the option `policy` says */
  protected isAllowed(session: Session, context: ExecutionContext): boolean | Promise<boolean> {
    const { policy } = laneOf(context).parts;
    return policy ? policy(session, context) : true;
  }

  /** @throws SessionRequiredError (`SESSION_REQUIRED`) */
  protected refuseAnonymous(_session: Session, _context: ExecutionContext): never {
    throw new SessionRequiredError();
  }

  /** @throws SessionForbiddenError (`SESSION_FORBIDDEN`) */
  protected refuseForbidden(_session: Session, _context: ExecutionContext): never {
    throw new SessionForbiddenError();
  }

  #hasSession(context: ExecutionContext): boolean {
    return !traitsOf(context).skip && corridorIn(context, this.sessionHost) !== undefined;
  }

  /** What an application decides by itself is decided on what the store has, unless the route says otherwise. */
  #judgesItself(context: ExecutionContext): boolean {
    // Whatever a guard of its own overrides, it may look at the session there.
    return this.constructor !== SessionGuard && traitsOf(context).consistency !== 'near';
  }

  /** First what no login helps with: nobody is asked for a factor only to be refused after it. */
  async #judge(session: Session, context: ExecutionContext): Promise<void> {
    const { requirements } = traitsOf(context);
    const { manager, assurance } = laneOf(context).parts;
    const by = { now: manager.now(), assurance };
    const grants = requirements.filter(isGrant);
    if (grants.some((one) => refusalOf(one, session, by))) this.refuseForbidden(session, context);
    if (!(await this.isAllowed(session, context))) this.refuseForbidden(session, context);
    if (session.binding.reauthenticate) {
      throw new SessionStepUpError('The session was brought by another client: log in again.', {
        maxAge: 0,
      });
    }
    for (const requirement of requirements) {
      const refusal = refusalOf(requirement, session, by);
      if (refusal) throw refusal;
    }
  }
}
