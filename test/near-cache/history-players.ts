import { Controller, Get, HttpCode, Post, UnauthorizedException } from '@nestjs/common';
import { setTimeout as delay } from 'node:timers/promises';
import {
  Consistency,
  RequireSession,
  Session,
  SessionConflictError,
  SessionService,
  SessionStoreUnavailableError,
} from 'nestjs-distributed-session';
import type { TestApp } from '../support/app.js';
import { HttpClient } from '../support/http-client.js';
import { Line, type Read } from './history.js';

const contentsOf = (session: Session) => ({
  count: session.get('count') ?? 0,
  grants: Number(session.roles[0]),
  handle: session.handle,
});

/** What browsers ask for. */
@RequireSession()
@Controller()
export class Counter {
  @Get('near') near(@Session() session: Session) {
    return contentsOf(session);
  }

  @Consistency('strong') @Get('strong') strong(@Session() session: Session) {
    return contentsOf(session);
  }

  @Post('raise') @HttpCode(200) async raise(@Session() session: Session) {
    session.increment('count');
    // It was ended meanwhile: nothing was written.
    if (!(await session.save())) throw new UnauthorizedException();
    return contentsOf(session);
  }

  @Post('regenerate') @HttpCode(204) async regenerate(@Session() session: Session) {
    await session.regenerate();
  }

  @Post('logout') @HttpCode(204) async logout(@Session() session: Session) {
    await session.destroy();
  }
}

interface Login {
  readonly line: Line;
  readonly token: string;
}

/** The nodes, and all that was ever done on them. */
export class World {
  readonly lines: Line[] = [];
  readonly clients: readonly HttpClient[];
  readonly services: readonly SessionService[];
  /** Whether Redis may be out of reach now and then. */
  faulty = false;

  constructor(apps: readonly TestApp[]) {
    this.clients = apps.map(({ port }) => new HttpClient(port));
    this.services = apps.map(({ app }) => app.get(SessionService));
  }

  close(): void {
    for (const one of this.clients) one.close();
  }

  /** Logs somebody in, and says what came of it. */
  async login(principal: string, node: number): Promise<Login> {
    const line = new Line(principal);
    this.lines.push(line);
    const service = this.services[node]!;
    const session = await this.#patiently(() => service.create({ principal, roles: ['0'] }));
    line.acked = performance.now();
    line.handle = session.handle;
    return { line, token: service.tokenOf(session) };
  }

  async #patiently<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!this.faulty || !(error instanceof SessionStoreUnavailableError)) throw error;
        await delay(20);
      }
    }
  }
}

/** Browsers that share the cookie of one login. */
export class Household {
  #login: Promise<Login> | undefined;

  constructor(
    readonly world: World,
    readonly principal: string,
  ) {}

  /** The login that goes on, or a new one instead of one that may have ended. */
  async login(node: number): Promise<Login> {
    const known = this.#login;
    if ((await known)?.line.mayHaveEnded && this.#login === known) this.#login = undefined;
    return (this.#login ??= this.world.login(this.principal, node));
  }
}

/** What a browser does how often, in parts of 1, each together with those before it; the rest are logouts. */
export interface Habits {
  readonly near: number;
  readonly strong: number;
  readonly raise: number;
  readonly regenerate: number;
}

/** Reads that are tried with a cookie that was ended. */
const AFTER_THE_END = 12;

/** A browser that sends one request after the other, each to any node. */
export class Browser {
  #cookies: ReadonlyMap<string, string> = new Map();
  #line: Line | undefined;
  #own = 0;
  #left = AFTER_THE_END;

  constructor(
    private readonly household: Household,
    private readonly random: () => number,
    private readonly habits: Habits,
  ) {}

  async step(): Promise<void> {
    const line = this.#line;
    if (!line) return this.join();
    if (line.mayHaveEnded) {
      await this.read(this.random() < 0.7 ? 'near' : 'strong');
      if (--this.#left <= 0) this.#line = undefined;
      return;
    }
    const { near, strong, raise, regenerate } = this.habits;
    const kind = this.random();
    if (kind < near) return this.read('near');
    if (kind < strong) return this.read('strong');
    if (kind < raise) return this.raise();
    if (kind < regenerate) return void (await this.#send(this.#node, 'POST', '/regenerate'));
    return this.logout();
  }

  async join(): Promise<void> {
    const { line, token } = await this.household.login(this.#node);
    this.#cookies = new Map([['session', token]]);
    this.#line = line;
    this.#own = 0;
    this.#left = AFTER_THE_END;
  }

  async read(kind: Read['kind'], node = this.#node): Promise<void> {
    const line = this.#joined;
    const { status, json } = await this.#send(node, 'GET', `/${kind}`, kind);
    if (status === 200) line.handle = json['handle'] as string;
  }

  /** What is there in the end, if nobody has ended it. */
  async last(): Promise<void> {
    if (this.#line && !this.#line.mayHaveEnded) await this.read('strong');
  }

  async raise(node = this.#node): Promise<void> {
    const line = this.#joined;
    line.raises.push(performance.now());
    const { status, json, begin, end } = await this.#send(node, 'POST', '/raise');
    if (status !== 200) return;
    const value = json['count'] as number;
    line.writes.push({ register: 'count', value, begin, acked: end, node });
    this.#own = Math.max(this.#own, value);
  }

  async logout(node = this.#node): Promise<void> {
    const line = this.#joined;
    // Others may see it before this one knows.
    line.endings.push({ begin: performance.now() });
    const { status, begin, end } = await this.#send(node, 'POST', '/logout');
    if (status === 204) line.endings.push({ begin, acked: end, node });
  }

  async #send(node: number, method: string, path: string, kind: Read['kind'] = 'strong') {
    const line = this.#joined;
    const own = this.#own;
    const client = this.household.world.clients[node]!.another(this.#cookies);
    const begin = performance.now();
    const { status, text } = await client.send(method, path);
    const end = performance.now();
    // Who has a cookie of old goes on with that.
    if (client.jar.size > 0) this.#cookies = client.jar;
    const json = status === 200 ? (JSON.parse(text) as Record<string, unknown>) : {};
    // Whatever is written is written on what Redis has: its answer tells as much as a strong read.
    const seen = status === 200 ? (json as unknown as Read['seen']) : undefined;
    line.reads.push({ kind, node, begin, end, status, seen, own });
    if (status >= 300 && status !== 503) line.refused = true;
    return { status, json, begin, end };
  }

  get #joined(): Line {
    return this.#line!;
  }

  get #node(): number {
    return Math.floor(this.random() * this.household.world.services.length);
  }
}

/** Ends and changes sessions of others, one after the other; each principal has one administrator. */
export class Administrator {
  readonly #grants = new Map<string, number>();

  constructor(
    private readonly world: World,
    private readonly households: readonly Household[],
    private readonly random: () => number,
  ) {}

  async step(): Promise<void> {
    const node = Math.floor(this.random() * this.world.services.length);
    const { principal } = this.#any;
    const kind = this.random();
    try {
      if (kind < 0.5) await this.#raise(await this.#any.login(node), node);
      else if (kind < 0.8) await this.#grant(principal, node);
      else if (kind < 0.92) await this.#revoke(await this.#any.login(node), node);
      else await this.#revokeAll(principal, node);
    } catch (error) {
      const isFault = this.world.faulty && error instanceof SessionStoreUnavailableError;
      // Others write to it all the time.
      if (!isFault && !(error instanceof SessionConflictError)) throw error;
    }
  }

  get #any(): Household {
    return this.households[Math.floor(this.random() * this.households.length)]!;
  }

  async #raise({ line }: Login, node: number): Promise<void> {
    const begin = performance.now();
    line.raises.push(begin);
    const session = await this.world.services[node]!.update(line.handle, (one) => {
      one.increment('count');
    });
    const acked = performance.now();
    if (!session) return;
    const value = session.get('count') as number;
    line.writes.push({ register: 'count', value, begin, acked, node });
  }

  async #grant(principal: string, node: number): Promise<void> {
    const value = (this.#grants.get(principal) ?? 0) + 1;
    this.#grants.set(principal, value);
    const begin = performance.now();
    const lines = this.#linesOf(principal).filter((line) => line.acked < begin);
    await this.world.services[node]!.forPrincipal(principal).updateGrants({
      roles: [String(value)],
    });
    const acked = performance.now();
    for (const line of lines) line.writes.push({ register: 'grants', value, begin, acked, node });
  }

  async #revoke({ line }: Login, node: number): Promise<void> {
    const begin = performance.now();
    line.endings.push({ begin });
    const isEnded = await this.world.services[node]!.revoke(line.handle);
    if (isEnded) line.endings.push({ begin, acked: performance.now(), node });
  }

  async #revokeAll(principal: string, node: number): Promise<void> {
    const begin = performance.now();
    const lines = this.#linesOf(principal);
    for (const line of lines) line.endings.push({ begin });
    await this.world.services[node]!.forPrincipal(principal).revokeAll();
    const acked = performance.now();
    for (const line of this.#linesOf(principal)) {
      if (line.acked < begin) line.endings.push({ begin, acked, node });
      else if (!lines.includes(line)) line.endings.push({ begin });
    }
  }

  #linesOf(principal: string): Line[] {
    return this.world.lines.filter((line) => line.principal === principal);
  }
}
