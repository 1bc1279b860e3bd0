import { ApolloDriver, type ApolloDriverConfig } from '@nestjs/apollo';
import { Injectable } from '@nestjs/common';
import { Args, GraphQLModule, Int, Mutation, Query, Resolver, Subscription } from '@nestjs/graphql';
import {
  AllowAnonymous,
  Logout,
  PassiveSession,
  Principal,
  RequireRole,
  RequireSession,
  Session,
  SessionForbiddenError,
  SessionService,
  SkipSession,
  UseSession,
} from 'nestjs-distributed-session';

/** What subscriptions are told, and how many there are. */
@Injectable()
export class Ticker {
  readonly open = new Set<{ push: (n: number) => void; ended: boolean }>();

  /** One that says nothing until it is told, and is told when nobody listens any more. */
  listen(): AsyncIterableIterator<{ ticks: number }> {
    const queue: number[] = [];
    let wake: () => void = () => undefined;
    const entry = {
      ended: false,
      push: (n: number) => {
        queue.push(n);
        wake();
      },
    };
    this.open.add(entry);
    const close = () => {
      entry.ended = true;
      this.open.delete(entry);
      wake();
      return Promise.resolve({ done: true as const, value: undefined });
    };
    return {
      [Symbol.asyncIterator]() {
        return this;
      },
      async next() {
        while (!entry.ended) {
          const n = queue.shift();
          if (n !== undefined) return { done: false, value: { ticks: n } };
          await new Promise<void>((resolve) => (wake = resolve));
        }
        return { done: true, value: undefined };
      },
      return: close,
    };
  }

  tell(n: number): void {
    for (const one of this.open) one.push(n);
  }
}

@Resolver()
export class ShopResolver {
  constructor(
    private readonly ticker: Ticker,
    private readonly sessions: SessionService,
  ) {}

  @Query(() => String, { nullable: true })
  who(@Principal() principal?: string) {
    return principal;
  }

  @RequireSession()
  @Query(() => String)
  me(@Principal() principal: string) {
    return principal;
  }

  @RequireRole('admin')
  @Query(() => String)
  audit() {
    return 'nothing happened';
  }

  @Query(() => Int)
  views(@Session() session: Session) {
    return session.get('views') ?? 0;
  }

  @Query(() => String, { nullable: true })
  current() {
    return this.sessions.current()?.principal;
  }

  @PassiveSession()
  @Query(() => String, { nullable: true })
  peek(@Principal() principal?: string) {
    return principal;
  }

  @UseSession('admin')
  @RequireSession()
  @Query(() => String)
  staff(@Principal() principal: string) {
    return principal;
  }

  @SkipSession()
  @Query(() => String)
  open() {
    return 'yes';
  }

  @Query(() => String)
  refused() {
    throw new SessionForbiddenError();
  }

  @Mutation(() => Int)
  view(@Session() session: Session) {
    return session.increment('views');
  }

  @Mutation(() => Int)
  viewAndFail(@Session() session: Session): number {
    session.increment('views');
    throw new Error('afterwards');
  }

  @Mutation(() => Boolean)
  async login(@Session() session: Session, @Args('name') name: string) {
    await session.authenticate(name, { roles: name === 'root' ? ['admin'] : [] });
    return true;
  }

  @Mutation(() => Boolean)
  async loginAsStaff(@Session.of('admin') session: Session, @Args('name') name: string) {
    await session.authenticate(name);
    return true;
  }

  @Mutation(() => Boolean)
  async elevate(@Session() session: Session) {
    await session.elevate('otp');
    return true;
  }

  @Mutation(() => Boolean)
  async renew(@Session() session: Session) {
    await session.regenerate();
    return true;
  }

  @Mutation(() => Boolean)
  async leave(@Session() session: Session) {
    await session.destroy();
    return true;
  }

  @Logout()
  @Mutation(() => Boolean)
  logout() {
    return true;
  }

  @RequireSession()
  @Subscription(() => Int)
  ticks() {
    return this.ticker.listen();
  }

  @RequireSession()
  @Subscription(() => Int, { name: 'ticksTooLate' })
  async ticksTooLate(@Session() session: Session) {
    await this.sessions.revoke(session.handle);
    return this.ticker.listen();
  }

  @AllowAnonymous()
  @Subscription(() => Int, { name: 'ticks2', resolve: ({ ticks }: { ticks: number }) => ticks })
  publicTicks() {
    return this.ticker.listen();
  }
}

/** With what a user writes, and nothing more. */
export const graphql = () =>
  GraphQLModule.forRoot<ApolloDriverConfig>({
    driver: ApolloDriver,
    autoSchemaFile: true,
    graphiql: false,
    subscriptions: { 'graphql-ws': true },
  });
