import { Controller, Get, ParseArrayPipe, Post } from '@nestjs/common';
import {
  Session,
  SessionService,
  type SessionData,
  type SessionErrorCode,
  type SessionKey,
  type SessionValue,
} from 'nestjs-distributed-session';
import { SessionTesting } from 'nestjs-distributed-session/testing';
import * as v from 'valibot';

// Compiled by types.spec.ts. Each line below `@ts-expect-error` must be refused by the compiler.

interface Line {
  sku: string;
  qty: number;
}

declare module 'nestjs-distributed-session' {
  interface SessionData {
    typedCart?: Line[];
    typedTier?: 'silver' | 'gold';
    typedVisits?: number;
  }
}

type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
const proven = <T extends true>(): T => true as T;

proven<Same<SessionValue<'typedCart'>, Line[] | undefined>>();
proven<Same<SessionValue<'typedTier'>, 'silver' | 'gold' | undefined>>();
proven<Same<SessionValue<'typedVisits'>, number | undefined>>();
proven<Same<SessionValue<'whatever'>, unknown>>();

export function attributes(session: Session): void {
  proven<Same<ReturnType<typeof session.get<'typedCart'>>, Line[] | undefined>>();
  const quantity: number | undefined = session.get('typedCart')?.[0]?.qty;
  const anything: unknown = session.get('whatever');
  session.set('typedCart', [{ sku: 'a', qty: 1 }]);
  session.set('typedTier', 'gold');
  session.set('whatever', { of: 'any kind' });
  session.delete('typedCart');

  // @ts-expect-error: no such tier
  session.set('typedTier', 'bronze');
  // @ts-expect-error: a line has a quantity
  session.set('typedCart', [{ sku: 'a' }]);
  // @ts-expect-error: what is not declared is unknown
  const unknown: string = session.get('whatever');
  // @ts-expect-error: it may not be set
  const certain: Line[] = session.get('typedCart');
  void [quantity, anything, unknown, certain];
}

export function wholeData({ data }: Session): void {
  data.typedCart = [{ sku: 'a', qty: 1 }];
  data.typedCart.push({ sku: 'b', qty: 2 });
  data.typedVisits = (data.typedVisits ?? 0) + 1;
  data.other = 'is unknown';
  // @ts-expect-error: no such tier
  data.typedTier = 'bronze';
  // @ts-expect-error: a quantity is a number
  data.typedCart[0]!.qty = '1';
  // @ts-expect-error: what is not declared is unknown
  const other: string = data.other;
  void other;
}

export async function operations(session: Session): Promise<void> {
  const cart = session.update('typedCart', (lines) => [...(lines ?? []), { sku: 'a', qty: 1 }]);
  proven<Same<typeof cart, Line[] | undefined>>();
  const visits: number = session.increment('typedVisits');
  const messages: unknown[] = session.flash('info');
  const saved: boolean = await session.save({ ifUnchanged: true });
  await session.authenticate('alice', { roles: ['admin'] });
  const same: Session = await session.load();
  // @ts-expect-error: what is computed is a list of lines
  session.update('typedCart', () => 'nothing');
  // @ts-expect-error: the amount is a number
  session.increment('typedVisits', '1');
  // @ts-expect-error: only its own methods give it a principal
  session.principal = 'mallory';
  // @ts-expect-error: nor an id
  session.id = 'x';
  void [visits, messages, saved, same];
}

@Controller()
export class TypedController {
  @Get('cart')
  cart(@Session('typedCart') cart: SessionData['typedCart']): Line[] {
    return cart ?? [];
  }

  @Get('piped')
  piped(@Session('typedCart', new ParseArrayPipe({ optional: true })) cart: Line[]): Line[] {
    return cart;
  }

  @Get('checked')
  checked(@Session('typedVisits', { schema: v.optional(v.number(), 0) }) visits: number): number {
    return visits;
  }

  @Post('login')
  login(@Session() session: Session): Promise<void> {
    return session.authenticate('alice');
  }

  // @ts-expect-error: an attribute has a name
  wrong(@Session(7) value: unknown): unknown {
    return value;
  }
}

export async function outside(sessions: SessionService, testing: SessionTesting): Promise<void> {
  const session = await sessions.create({ data: { typedVisits: 1, other: [] } });
  const found: Session | undefined = await sessions.find(session.handle);
  await sessions.update(session.handle, (current) => current.set('typedTier', 'gold'));
  const { headers } = await testing.login('alice', { data: { typedTier: 'gold' } });
  // @ts-expect-error: no such tier
  await sessions.create({ data: { typedTier: 'bronze' } });
  // @ts-expect-error: no such tier
  await testing.login('alice', { data: { typedTier: 'bronze' } });
  void [found, headers];
}

/** Every code is named here, or this does not compile. */
export function statusOf(code: SessionErrorCode): number {
  switch (code) {
    case 'SESSION_REQUIRED':
    case 'SESSION_STEP_UP_REQUIRED':
    case 'SESSION_DEVICE_UNPROVEN':
      return 401;
    case 'SESSION_FORBIDDEN':
    case 'SESSION_CSRF_REFUSED':
      return 403;
    case 'SESSION_CONFLICT':
    case 'SESSION_LIMIT_REACHED':
      return 409;
    case 'SESSION_TOO_LARGE':
      return 413;
    case 'SESSION_STORE_UNAVAILABLE':
    case 'SESSION_DEVICE_SKIPPED':
    case 'SESSION_UNCONFIRMED':
    case 'SESSION_FORMAT_UNSUPPORTED':
    case 'SESSION_DAMAGED':
      return 503;
    case 'SESSION_OPTIONS_INVALID':
    case 'SESSION_DATA_INVALID':
    case 'SESSION_NOT_SERIALIZABLE':
    case 'SESSION_NOT_LOADED':
    case 'SESSION_ENDED':
    case 'SESSION_UNAVAILABLE':
      return 500;
  }
}

const key: SessionKey = 'typedCart';
const anyKey: SessionKey = 'any other';
void [key, anyKey];
