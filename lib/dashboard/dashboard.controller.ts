import {
  Body,
  Controller,
  Get,
  Headers,
  HttpStatus,
  Inject,
  NotFoundException,
  BadRequestException,
  Post,
  Query,
  Req,
  Res,
  SetMetadata,
  Sse,
  UseFilters,
  UseGuards,
  VERSION_NEUTRAL,
  type HttpServer,
  type MessageEvent,
  type Type,
} from '@nestjs/common';
import { HttpAdapterHost } from '@nestjs/core';
import type { Observable } from 'rxjs';
import { PASSIVE_SESSION, SESSION_NAME } from '../session.constants.js';
import {
  addressesOf,
  respond,
  writeHeaders,
  type AnswerOptions,
  type DashboardRequest,
} from './dashboard-answers.js';
import { guardsOf } from './dashboard-guards.js';
import { DashboardOutageFilter } from './dashboard-outage.filter.js';
import type { DashboardOptions } from './dashboard.options.js';
import { Visitor, type DashboardVisitor } from './dashboard-visitor.js';
import { EventFeed } from './event-feed.js';
import { PAGE_SCRIPT } from './page-script.js';
import { PAGE_STYLE } from './page-style.js';
import { pageOf } from './page-view.js';
import { peopleView, type ViewContext } from './people-view.js';
import { SearchReferences } from './search-references.js';
import { SessionDashboard, type People } from './session-dashboard.js';
import { saidOf, type Done } from './words.js';

/** Events that the page has from the start. */
const AT_FIRST = 20;
/** The longest principal that is looked for. */
const LONGEST = 1_024;

type Fields = Readonly<Record<string, unknown>> | undefined;

/** Asked for by the script: no activity of the visitor. */
const Unasked = () => SetMetadata(PASSIVE_SESSION, true);

/** Of each path a class of its own: Nest keeps it with the class. */
export function controllerAt(options: DashboardOptions): Type {
  const { path, session, refreshEvery } = options;

  @SetMetadata(SESSION_NAME, session)
  @UseFilters(DashboardOutageFilter)
  @UseGuards(...guardsOf(options))
  @Controller({ path, version: VERSION_NEUTRAL })
  class SessionDashboardController {
    constructor(
      @Inject(HttpAdapterHost) private readonly adapterHost: HttpAdapterHost,
      @Inject(SessionDashboard) private readonly dashboard: SessionDashboard,
      @Inject(EventFeed) private readonly feed: EventFeed,
      @Inject(SearchReferences) private readonly references: SearchReferences,
    ) {}

    @Get()
    async page(
      @Req() request: DashboardRequest,
      @Res() response: unknown,
      @Visitor() visitor: DashboardVisitor,
      @Query() query: Fields,
    ): Promise<void> {
      const { dashboard, feed } = this;
      const addresses = addressesOf(request, options);
      if (addresses.base === '') return this.#lead(response, addresses.home, query);
      const [figures, people, counted] = await Promise.all([
        dashboard.figures(),
        this.#peopleOf(query, visitor),
        query?.count === '1' ? dashboard.count() : undefined,
      ]);
      const text = pageOf({
        ...addresses,
        ...ofSearch(query, people),
        name: options.name,
        visitor,
        now: figures.now,
        refreshEvery,
        figures,
        events: feed.isOn ? feed.recent(AT_FIRST) : undefined,
        counted,
        people,
        said: saidOf(query?.done),
      });
      this.#answer(response, text);
    }

    @Unasked()
    @Get('people')
    async people(
      @Req() request: DashboardRequest,
      @Res() response: unknown,
      @Visitor() visitor: DashboardVisitor,
      @Query() query: Fields,
    ): Promise<void> {
      const people = await this.#peopleOf(query, visitor);
      if (!people) throw new BadRequestException('Say whose sessions: ?of=…, as the page does');
      const { home } = addressesOf(request, options);
      // It is put into the page, and its addresses are relative to that.
      const base = `${home.slice('../'.length)}/`;
      const context = { base, visitor, now: this.dashboard.now(), ...ofSearch(query, people) };
      this.#answer(response, peopleView(people, context).text);
    }

    @Unasked()
    @Get('figures')
    async figures(@Res() response: unknown): Promise<void> {
      this.#answer(response, JSON.stringify(await this.dashboard.figures()), JSON_TYPE);
    }

    @Unasked()
    @Sse('events')
    events(
      @Query() query: Fields,
      @Headers('last-event-id') last: string | undefined,
    ): Observable<MessageEvent> {
      if (!this.feed.isOn) throw new NotFoundException();
      const after = last ?? query?.after;
      return this.feed.stream(typeof after === 'string' ? after : undefined);
    }

    @Unasked()
    @Get('page.css')
    style(@Res() response: unknown): void {
      this.#answer(response, PAGE_STYLE, { type: 'text/css' });
    }

    @Unasked()
    @Get('page.js')
    script(@Res() response: unknown): void {
      this.#answer(response, PAGE_SCRIPT, { type: 'text/javascript' });
    }

    /** Changes nothing; by POST, as names are not for addresses. */
    @Post('search')
    search(
      @Req() request: DashboardRequest,
      @Res() response: unknown,
      @Visitor() visitor: DashboardVisitor,
      @Body() body: Fields,
    ): void {
      const principal = body?.principal;
      if (principal === undefined) throw new BadRequestException(INCOMPLETE);
      const of = isPrincipal(principal) ? this.references.make(principal, visitor.seed) : undefined;
      if (isOfScript(request)) return this.#answer(response, JSON.stringify({ of }), JSON_TYPE);
      this.#lead(response, addressesOf(request, options).home, { of });
    }

    @Post('end')
    async end(
      @Req() request: DashboardRequest,
      @Res() response: unknown,
      @Visitor() visitor: DashboardVisitor,
      @Body() body: Fields,
    ): Promise<void> {
      const principal = principalIn(body);
      const handle = body?.handle;
      if (typeof handle !== 'string') throw new BadRequestException(INCOMPLETE);
      const done = await this.dashboard.end(principal, handle, visitor);
      const of = this.references.make(principal, visitor.seed);
      this.#done(request, response, { of, done });
    }

    @Post('end-all')
    async endAll(
      @Req() request: DashboardRequest,
      @Res() response: unknown,
      @Visitor() visitor: DashboardVisitor,
      @Body() body: Fields,
    ): Promise<void> {
      const principal = principalIn(body);
      const done = await this.dashboard.endAll(principal, visitor);
      const of = this.references.make(principal, visitor.seed);
      this.#done(request, response, { of, done });
    }

    async #peopleOf(query: Fields, visitor: DashboardVisitor): Promise<People | undefined> {
      const { of, browse } = query ?? {};
      if (of !== undefined) {
        const principal = this.references.read(of, visitor.seed);
        return principal === undefined ? CLOSED : this.dashboard.search(principal);
      }
      return browse === '1' ? this.dashboard.browse() : undefined;
    }

    /** A script is told at once; a form is led back to the page, which can be loaded again and does nothing. */
    #done(
      request: DashboardRequest,
      response: unknown,
      { of, done }: { readonly of: string; readonly done: Done },
    ): void {
      if (isOfScript(request)) {
        return this.#answer(response, JSON.stringify({ done, said: saidOf(done) }), JSON_TYPE);
      }
      this.#lead(response, addressesOf(request, options).home, { of, done });
    }

    #lead(response: unknown, home: string, query: Fields): void {
      const kept = WORDS.map((word) => [word, query?.[word]]).filter(([, value]) => isText(value));
      const search = new URLSearchParams(kept as [string, string][]).toString();
      writeHeaders(this.#adapter, response);
      this.#adapter.redirect(response, HttpStatus.SEE_OTHER, search ? `${home}?${search}` : home);
    }

    #answer(response: unknown, text: string, how?: AnswerOptions): void {
      respond(this.#adapter, response, text, how);
    }

    get #adapter(): HttpServer {
      return this.adapterHost.httpAdapter;
    }
  }
  return SessionDashboardController;
}

/** What the page's address may say. */
const WORDS = ['of', 'browse', 'count', 'done'] as const;

const isText = (value: unknown): value is string => typeof value === 'string';

const JSON_TYPE: AnswerOptions = { type: 'application/json' };

const isOfScript = ({ headers }: DashboardRequest): boolean =>
  String(headers.accept).includes('application/json');

/** What addresses of a search that could be read have in them. */
const ofSearch = (query: Fields, people: People | undefined): Pick<ViewContext, 'of'> => ({
  of: people?.searched === undefined ? undefined : String(query?.of),
});

/** Of somebody else's address, or one from before a login. */
const CLOSED: People = {
  searched: undefined,
  found: [],
  cut: false,
  trouble: 'This address stands for a search of another login: search again.',
};

const INCOMPLETE =
  'The form is incomplete. If the application parses no bodies of forms (application/x-www-form-urlencoded), let it do so for the dashboard.';

const isPrincipal = (text: unknown): text is string =>
  typeof text === 'string' && text !== '' && text.length <= LONGEST;

/** As the page has written it: JSON, or a form would change its line ends. */
function principalIn(body: Fields): string {
  try {
    const principal: unknown = JSON.parse(String(body?.principal));
    if (isPrincipal(principal)) return principal;
  } catch {
    // Not from the page.
  }
  throw new BadRequestException(INCOMPLETE);
}
