import {
  applyDecorators,
  createParamDecorator,
  Inject,
  SetMetadata,
  UseGuards,
  type PipeTransform,
  type Type,
} from '@nestjs/common';
import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { Session as LiveSession } from '../core/session.js';
import { CONSISTENCIES, type SessionConsistency } from '../core/consistency.js';
import { STORE_FAILURE_POLICIES, type StoreFailurePolicy } from '../core/store-failure.js';
import {
  ALLOW_ANONYMOUS,
  CONSISTENCY,
  getSessionServiceToken,
  ON_STORE_FAILURE,
  PASSIVE_SESSION,
  SESSION_NAME,
  SESSION_STORE,
  SKIP_SESSION,
} from '../session.constants.js';
import { laneOf, mustBeSaved, sessionAtHand, sessionOf } from './session-of.js';
import { SessionGuard } from './session.guard.js';

type Pipe = Type<PipeTransform> | PipeTransform;

/** As Nest 12's own parameter decorators take them. */
export interface SessionParamOptions {
  /** What the value must look like; needs Nest 12. */
  schema?: StandardSchemaV1;
  pipes?: Pipe[];
}

/** The session of the current request: see the `Session` decorator of the same name. */
export interface Session extends LiveSession {}

/** Of each name a decorator of its own: Nest keeps the argument of a decorator for keys and pipes. */
const namedSessionParam = (name?: string) =>
  createParamDecorator((key: string | undefined, context) => {
    const take = (session: LiveSession) => {
      mustBeSaved(context);
      return key === undefined ? session : session.get(key);
    };
    const session = sessionAtHand(context, name);
    return session ? take(session) : sessionOf(context, name).then(take);
  });

const sessionParam = namedSessionParam();

/**
 * Injects the session, or one of its attributes; pipes and Standard Schemas work as with `@Body()`.
 *
 * @example cart(@Session() session: Session) { session.set('cart', []); }
 * @example cart(@Session('cart') cart: Cart | undefined) { return cart ?? []; }
 */
export function Session(...args: SessionParamArguments): ParameterDecorator {
  return injecting(sessionParam, args);
}

/**
 * Injects the session that `SessionModule.forFeature` has named, or one of its attributes.
 *
 * @example users(@Session.of('admin') session: Session) { return session.principal; }
 */
Session.of = (name: string, ...args: SessionParamArguments): ParameterDecorator =>
  injecting(namedSessionParam(name), args);

type SessionParamArguments = (string | Pipe | SessionParamOptions)[];

function injecting(
  param: ReturnType<typeof namedSessionParam>,
  args: SessionParamArguments,
): ParameterDecorator {
  const inject = (param as (...args: unknown[]) => ParameterDecorator)(...args);
  return (target, method, index) => {
    inject(target, method, index);
    forgetDesignType(target, method, index);
  };
}

/**
 * `Session` names both this decorator and a type. tsc knows the difference; swc writes the decorator
 * down as the parameter's class, and a ValidationPipe would then try to make an instance of it.
 */
function forgetDesignType(target: object, method: string | symbol | undefined, index: number) {
  if (method === undefined) return;
  const types = Reflect.getMetadata('design:paramtypes', target, method) as unknown[] | undefined;
  if (types?.[index] === Session) types[index] = Object;
}

/** Injects the session's id: a secret, do not return or log it. */
export const SessionId = createParamDecorator(
  async (_: unknown, context) => (await sessionOf(context)).id,
);

/** Injects the principal, `undefined` for an anonymous session. */
export const Principal = createParamDecorator(
  async (_: unknown, context) => (await sessionOf(context)).principal,
);

/**
 * Injects the accounts of this browser, where the option `accounts` allows for several.
 *
 * @example list(@Accounts() accounts: SessionAccounts) { return accounts.list(); }
 */
export const Accounts = createParamDecorator((_: unknown, context) => laneOf(context).accounts);

/**
 * This route goes by the sessions that `SessionModule.forFeature` has named: what is injected, what guards
 * judge.
 *
 * @example \@UseSession('admin') \@RequireSession() \@Controller('admin')
 */
export const UseSession = (name: string): MethodDecorator & ClassDecorator =>
  SetMetadata(SESSION_NAME, name);

/** Injects the `SessionService` of the sessions that `SessionModule.forFeature` has named. */
export const InjectSessionService = (name: string): ParameterDecorator & PropertyDecorator =>
  Inject(getSessionServiceToken(name));

/** Only authenticated sessions: 401 with `code: 'SESSION_REQUIRED'` for others. */
export const RequireSession = (): MethodDecorator & ClassDecorator =>
  applyDecorators(SetMetadata(ALLOW_ANONYMOUS, false), UseGuards(SessionGuard));

/** Lets requests without an authenticated session pass a `SessionGuard` that stands further out. */
export const AllowAnonymous = () => SetMetadata(ALLOW_ANONYMOUS, true);

/** Requests of this route are no activity: they do not extend the session. For polling. */
export const PassiveSession = () => SetMetadata(PASSIVE_SESSION, true);

/**
 * What becomes of requests of this route whose session cannot be read because the store does not answer:
 * as the option `onStoreFailure`, whose value it takes the place of. Where `loading` is `'eager'` the
 * session is read before the route is known: there the option counts.
 *
 * @example \@OnStoreFailure('anonymous') \@Get('news')
 */
export const OnStoreFailure = (policy: StoreFailurePolicy): MethodDecorator & ClassDecorator => {
  if (!STORE_FAILURE_POLICIES.includes(policy)) {
    throw new TypeError(`@OnStoreFailure: use one of ${STORE_FAILURE_POLICIES.join(', ')}`);
  }
  return SetMetadata(ON_STORE_FAILURE, policy);
};

/**
 * What requests of this route make of the copies that the option `nearCache` keeps: `'near'`, a copy on their node
 * will do, which may be some milliseconds behind what another node has written; `'strong'`, the store is asked.
 *
 * @default `'strong'` for what requires roles, permissions, freshness, factors or an assurance level, or is judged by `policy`,
 * and for all methods but GET and HEAD; else `'near'`
 * @example \@Consistency('strong') \@Get('balance')
 */
export const Consistency = (consistency: SessionConsistency): MethodDecorator & ClassDecorator => {
  if (!CONSISTENCIES.includes(consistency)) {
    throw new TypeError(`@Consistency: use one of ${CONSISTENCIES.join(', ')}`);
  }
  return SetMetadata(CONSISTENCY, consistency);
};

/** This route has no session: none is read, written or sent. */
export const SkipSession = () => SetMetadata(SKIP_SESSION, true);

/** Injects the store that the module uses. */
export const InjectSessionStore = (): ParameterDecorator & PropertyDecorator =>
  Inject(SESSION_STORE);
