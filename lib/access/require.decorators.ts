import { applyDecorators, SetMetadata, UseGuards } from '@nestjs/common';
import { toMilliseconds, type Duration } from '../core/duration.js';
import type { SessionRequirement } from '../core/session-requirement.js';
import { ALLOW_ANONYMOUS, REQUIREMENTS } from '../session.constants.js';
import { SessionGuard } from './session.guard.js';

/** Names of which a session must have one, or all. */
export type AnyOrAll = { readonly any: readonly string[] } | { readonly all: readonly string[] };

/**
 * Only sessions with these roles, all of them if several are given: 403 with `code: 'SESSION_FORBIDDEN'`
 * for others, 401 if nobody is logged in. On a class and its method both count.
 *
 * @example \@RequireRole('admin')
 * @example \@RequireRole({ any: ['admin', 'support'] })
 */
export const RequireRole = (...roles: readonly [AnyOrAll] | readonly string[]) =>
  requiring({ kind: 'roles', ...namesOf('RequireRole', roles) });

/**
 * Only sessions with these permissions, all of them if several are given: as `@RequireRole`. Permissions
 * are compared as they are; for wildcards and conditions use the option `policy`.
 *
 * @example \@RequirePermission('orders:write')
 * @example \@RequirePermission({ any: ['orders:write', 'orders:admin'] })
 */
export const RequirePermission = (...permissions: readonly [AnyOrAll] | readonly string[]) =>
  requiring({ kind: 'permissions', ...namesOf('RequirePermission', permissions) });

/**
 * Only sessions whose last login (`authenticate`) was not longer ago: 401 with
 * `code: 'SESSION_STEP_UP_REQUIRED'` for others (OWASP ASVS 7.5.1). Activity does not count, nor does
 * `elevate`.
 *
 * @example \@RequireFresh('5m')
 */
export const RequireFresh = (within: Duration) =>
  requiring({ kind: 'fresh', within: durationOf('RequireFresh', within) });

/**
 * Only sessions in which one of these factors was proven, lately if that is asked for: 401 with
 * `code: 'SESSION_STEP_UP_REQUIRED'` for others (OWASP ASVS 7.5.3).
 *
 * @param factors one, or several of which any will do
 * @example \@RequireFactor('otp')
 * @example \@RequireFactor(['otp', 'hwk'], { within: '5m' })
 */
export const RequireFactor = (
  factors: string | readonly string[],
  { within }: { within?: Duration } = {},
) =>
  requiring({
    kind: 'factor',
    factors: mustBeNames('RequireFactor', [factors].flat()),
    ...(within !== undefined && { within: durationOf('RequireFactor', within) }),
  });

/**
 * Only sessions whose proven factors reach an authenticator assurance level of NIST SP 800-63B: 401 with
 * `code: 'SESSION_STEP_UP_REQUIRED'` for others. What amounts to a level is the option `assurance`.
 *
 * @example \@RequireAssurance(2)
 */
export const RequireAssurance = (level: 1 | 2 | 3) => {
  if (![1, 2, 3].includes(level))
    throw new TypeError('@RequireAssurance: use a level of 1, 2 or 3');
  return requiring({ kind: 'assurance', level });
};

/** Adds to what a class or a method requires already. */
function requiring(requirement: SessionRequirement): MethodDecorator & ClassDecorator {
  const add = (target: object, _?: unknown, method?: TypedPropertyDescriptor<unknown>) => {
    const place = (method?.value ?? target) as object;
    const others = (Reflect.getMetadata(REQUIREMENTS, place) ?? []) as SessionRequirement[];
    Reflect.defineMetadata(REQUIREMENTS, [requirement, ...others], place);
  };
  return applyDecorators(
    add as MethodDecorator & ClassDecorator,
    SetMetadata(ALLOW_ANONYMOUS, false),
    UseGuards(SessionGuard),
  );
}

function namesOf(decorator: string, given: readonly (AnyOrAll | string)[]): AnyOrAll {
  const [first, ...more] = given;
  if (typeof first !== 'object' || first === null) {
    return { all: mustBeNames(decorator, given as string[]) };
  }
  const { any, all } = first as { any?: readonly string[]; all?: readonly string[] };
  // One of two would be left out, and nobody would notice.
  if (more.length > 0 || (any && all)) {
    throw new TypeError(`@${decorator}: give names, or one object with either any or all of them`);
  }
  return any ? { any: mustBeNames(decorator, any) } : { all: mustBeNames(decorator, all) };
}

/** What is required of nobody would let everybody pass. */
function mustBeNames(decorator: string, names?: readonly string[]): readonly string[] {
  const fits =
    Array.isArray(names) &&
    names.length > 0 &&
    names.every((name) => typeof name === 'string' && name !== '');
  if (fits) return [...names];
  throw new TypeError(`@${decorator}: give at least one name, and none that is empty`);
}

function durationOf(decorator: string, within: Duration): number {
  const milliseconds = toMilliseconds(within);
  if (milliseconds !== undefined && milliseconds > 0) return milliseconds;
  throw new TypeError(`@${decorator}: use a duration such as '5m', or milliseconds, above 0`);
}
