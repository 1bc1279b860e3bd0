import { toText } from './duration.js';
import { SessionForbiddenError, SessionStepUpError, type SessionError } from './session.errors.js';
import type { Session } from './session.js';

/** What a session must have to do something. */
export type SessionRequirement =
  | { readonly kind: 'roles' | 'permissions'; readonly any: readonly string[] }
  | { readonly kind: 'roles' | 'permissions'; readonly all: readonly string[] }
  /** A login of at most so many milliseconds ago. */
  | { readonly kind: 'fresh'; readonly within: number }
  /** A proof of one of these factors, of at most so many milliseconds ago. */
  | { readonly kind: 'factor'; readonly factors: readonly string[]; readonly within?: number }
  | { readonly kind: 'assurance'; readonly level: number };

/** What a requirement is judged by, beside the session. */
export interface Judgement {
  readonly now: number;
  readonly assurance: (factors: readonly string[]) => number;
}

/** True for what more proof cannot help with. */
export const isGrant = ({ kind }: SessionRequirement): boolean =>
  kind === 'roles' || kind === 'permissions';

/** Why a session does not meet a requirement; `undefined` if it does. */
export function refusalOf(
  requirement: SessionRequirement,
  session: Session,
  by: Judgement,
): SessionError | undefined {
  switch (requirement.kind) {
    case 'roles':
    case 'permissions':
      return has(session[requirement.kind], requirement) ? undefined : new SessionForbiddenError();
    case 'fresh':
      return isWithin(requirement.within, session.authenticatedAt, by)
        ? undefined
        : new SessionStepUpError(
            `This needs a login within the last ${toText(requirement.within)}: log in again.`,
            { maxAge: secondsOf(requirement.within) },
          );
    case 'factor':
      return refusalOfFactor(requirement, session, by);
    case 'assurance':
      return by.assurance(Object.keys(session.factors)) >= requirement.level
        ? undefined
        : new SessionStepUpError(
            `This needs assurance level ${requirement.level}: prove a further factor.`,
            { assurance: requirement.level },
          );
  }
}

function has(
  owned: readonly string[],
  wanted: { readonly any?: readonly string[]; readonly all?: readonly string[] },
): boolean {
  if (wanted.any) return wanted.any.some((one) => owned.includes(one));
  return (wanted.all ?? []).every((one) => owned.includes(one));
}

function refusalOfFactor(
  { factors, within }: Extract<SessionRequirement, { kind: 'factor' }>,
  session: Session,
  by: Judgement,
): SessionStepUpError | undefined {
  const proven = factors.some((factor) =>
    isWithin(within ?? Infinity, session.factors[factor], by),
  );
  if (proven) return undefined;
  const lately = within === undefined ? '' : ` within the last ${toText(within)}`;
  return new SessionStepUpError(`This needs a proof of ${factors.join(' or ')}${lately}.`, {
    factors,
    ...(within !== undefined && { maxAge: secondsOf(within) }),
  });
}

/** RFC 9470 knows whole seconds only. */
const secondsOf = (milliseconds: number): number => Math.ceil(milliseconds / 1_000);

/** A time in the future is no proof: somebody's clock is wrong, by more than nodes differ. */
const isWithin = (within: number, at: number | undefined, { now }: Judgement): boolean =>
  at !== undefined && now - at <= within && at - now <= CLOCKS_DIFFER;

/** Milliseconds by which the clocks of nodes may differ. */
const CLOCKS_DIFFER = 60_000;
