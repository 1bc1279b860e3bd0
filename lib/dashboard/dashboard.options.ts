import type { CanActivate, ExecutionContext, ModuleMetadata, Type } from '@nestjs/common';
import { toMilliseconds, type Duration } from '../core/duration.js';
import { SessionOptionsError } from '../core/session.errors.js';
import type { Session } from '../core/session.js';

/** Options of `SessionDashboardModule`. */
export interface SessionDashboardOptions {
  /** Name of the sessions that it shows and ends, as `forFeature` has given it. @default those of `forRoot` */
  name?: string;
  /** Where the page is, each dashboard's elsewhere. A global prefix of the application comes before it. @default 'admin/sessions' */
  path?: string;
  /**
   * Who may see it and end sessions there: all of these have to let a request pass. What they inject has to be
   * global, or come by {@link imports}. One of these or {@link allow} is needed.
   */
  guards?: readonly (Type<CanActivate> | CanActivate)[];
  /**
   * Of those who are logged in, who may: asked with each request, beside {@link guards}, about the session as the
   * store has it.
   *
   * @example allow: (session) => session.roles.includes('admin')
   */
  allow?: (session: Session, context: ExecutionContext) => boolean | Promise<boolean>;
  /** Modules that provide what {@link guards} need. @default none */
  imports?: ModuleMetadata['imports'];
  /** By which sessions its visitors are known: a name that `forFeature` has given. @default those of `forRoot` */
  session?: string;
  /** How often an open page asks for new figures, at least `'1s'`: each time costs one command beside that of the guard. @default '5s' */
  refreshEvery?: Duration;
}

/** The options as they are in force. */
export interface DashboardOptions {
  readonly name: string | undefined;
  readonly path: string;
  readonly guards: readonly (Type<CanActivate> | CanActivate)[];
  readonly allow: SessionDashboardOptions['allow'];
  readonly session: string | undefined;
  /** Milliseconds. */
  readonly refreshEvery: number;
}

export const DASHBOARD_OPTIONS = Symbol('options of the session dashboard');

const PATH = /^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/;

/** @throws SessionOptionsError (`SESSION_OPTIONS_INVALID`) */
export function resolveDashboardOptions(options: SessionDashboardOptions): DashboardOptions {
  const { path = 'admin/sessions', guards = [], allow, refreshEvery = '5s' } = options;
  const { name, session } = options;
  const problems: string[] = [];
  if (name !== undefined && (typeof name !== 'string' || name === '')) {
    problems.push(
      "SessionDashboardModule: name is one that SessionModule.forFeature was given, such as 'staff'; leave it out for the sessions of forRoot",
    );
  }
  const trimmed = typeof path === 'string' ? path.replace(/^\/|\/$/g, '') : '';
  if (!PATH.test(trimmed)) {
    problems.push("SessionDashboardModule: path is a path such as 'admin/sessions'");
  }
  const every = toMilliseconds(refreshEvery) ?? 0;
  if (every < 1_000) {
    problems.push("SessionDashboardModule: refreshEvery is a duration of at least '1s'");
  }
  if (!Array.isArray(guards) || !guards.every(isGuard)) {
    problems.push('SessionDashboardModule: guards is a list of guards, classes or instances');
  } else if (guards.length === 0 && typeof allow !== 'function') {
    problems.push(
      'SessionDashboardModule would be open to everybody: give it `guards`, such as [SessionGuard, AdminGuard], or `allow: (session) => session.roles.includes("admin")`',
    );
  }
  if (problems.length > 0) throw new SessionOptionsError(problems);
  return { name, path: trimmed, guards, allow, session, refreshEvery: every };
}

const isGuard = (guard: unknown): boolean =>
  typeof guard === 'function' ||
  typeof (guard as Partial<CanActivate> | undefined)?.canActivate === 'function';
