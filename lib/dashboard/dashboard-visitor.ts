import { createParamDecorator, type ExecutionContext } from '@nestjs/common';
import { corridorIn, laneOf, sessionOf, traitsOf } from '../access/session-of.js';
import { LiveSession } from '../core/live-session.js';
import { SessionStoreUnavailableError } from '../core/session.errors.js';
import { maskedCsrfToken } from '../security/csrf.js';

/** Who looks at the dashboard. */
export interface DashboardVisitor {
  /** `undefined`: the guards let them in without a session. */
  readonly principal: string | undefined;
  /** Who really acts, if they act as somebody else. */
  readonly actor: string | undefined;
  /** Where they come from, so that they know their own session among others. */
  readonly handle: string | undefined;
  /** Of their login, the same on all nodes; not told to anybody. */
  readonly seed: string | undefined;
  /** What forms have to bring along where `csrf.token` is `'always'`. */
  readonly csrf: { readonly field: string; readonly token: string } | undefined;
}

const NOBODY: DashboardVisitor = {
  principal: undefined,
  actor: undefined,
  handle: undefined,
  seed: undefined,
  csrf: undefined,
};

/** Injects who looks at the dashboard. */
export const Visitor = createParamDecorator(
  async (_: unknown, context: ExecutionContext): Promise<DashboardVisitor> => {
    if (!corridorIn(context) || traitsOf(context).skip) return NOBODY;
    try {
      const session = await sessionOf(context);
      if (session.principal === undefined) return NOBODY;
      return {
        principal: session.principal,
        actor: session.actor,
        handle: session.handle,
        seed: LiveSession.stateOf(session).seed,
        csrf: csrfOf(session, context),
      };
    } catch (error) {
      // Guards that ask no store have let them in, and the page says what is the matter.
      if (error instanceof SessionStoreUnavailableError) return NOBODY;
      throw error;
    }
  },
);

/** Of no use to whom the session is not, but still only where nothing else will do. */
function csrfOf(session: LiveSession, context: ExecutionContext): DashboardVisitor['csrf'] {
  const { always, field } = laneOf(context).parts.csrf;
  const { seed, record } = LiveSession.stateOf(session);
  if (!always || !record || seed === undefined) return undefined;
  return { field, token: maskedCsrfToken(seed) };
}
